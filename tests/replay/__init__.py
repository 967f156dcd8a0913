"""Tests of o3v.replay."""
