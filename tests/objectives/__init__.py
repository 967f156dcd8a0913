"""Tests of o3v.objectives."""
