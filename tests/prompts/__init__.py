"""Tests of o3v.prompts."""
