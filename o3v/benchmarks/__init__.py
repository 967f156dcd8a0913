"""Benchmarks: one file each, and what they share.

`metrics.py` V-STaR's numbers; `statistics.py` clustered intervals and paired differences; `records.py` one scored
answer; `runner.py` answers a benchmark and can be interrupted; `baselines.py` answers that need no model;
`report.py` several results side by side.
"""
