"""Runs, metrics, tables and artifacts: the only package that knows mlflow, and imports it only when a run starts.

Read in this order: `run.py` (what a run is), `journal.py` (its record on disk), `tracker.py` (who is told),
`mlflow_store.py` (how MLflow is told).
"""
