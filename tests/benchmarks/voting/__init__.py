"""Tests of test-time scaling."""
