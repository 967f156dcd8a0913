"""Tests of o3v.rollout."""
