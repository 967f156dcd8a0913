"""Tests of o3v.benchmarks.vstar."""
