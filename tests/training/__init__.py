"""Tests of o3v.training."""
