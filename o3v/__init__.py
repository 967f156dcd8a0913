"""Grounded video reasoning: train, evaluate and compare video models that answer with evidence."""

__version__ = "0.1.0"
