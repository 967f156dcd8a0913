"""Tests of the frame store."""
