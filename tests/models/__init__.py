"""Tests of o3v.models."""
