"""Reward terms, one small function each, and the mix that weighs them."""
