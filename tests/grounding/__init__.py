"""Tests of o3v.grounding."""
