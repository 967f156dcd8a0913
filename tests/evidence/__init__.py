"""Tests of o3v.evidence."""
