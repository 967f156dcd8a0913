"""Runs, metrics, tables and artifacts: the only package that knows mlflow, and imports it only when a run starts.

Read in this order: `run.py` (what a run is), `journal.py` and `outbox.py` (its record on disk), `tracker.py` (who is
told), `sender.py` (the thread that sends), `delivery.py` (what it sends, and how far it is), `mlflow_store.py` and
`mlflow_database.py` (how MLflow is told), `study_runs.py` (the runs above the stages).
"""
