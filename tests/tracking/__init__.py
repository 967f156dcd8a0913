"""Tests of o3v.tracking."""
