"""Completions drawn from a policy."""
