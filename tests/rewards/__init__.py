"""Tests of o3v.rewards."""
