"""Tests of o3v.video."""
