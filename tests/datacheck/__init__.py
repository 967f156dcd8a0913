"""Tests of o3v/datacheck."""
