"""A tracker that remembers what it was told."""

from __future__ import annotations

from o3v.tracking.tracker import NullTracker


class Told(NullTracker):
    """Keeps metrics by step, tables and files."""

    def __init__(self):
        self.by_step = {}
        self.tables = {}
        self.files = []

    def metrics(self, values, step):
        self.by_step.setdefault(step, {}).update(values)

    def table(self, name, rows, step):
        self.tables.setdefault(name, {})[step] = list(rows)

    def artifact(self, path, folder):
        self.files.append((folder, path.name))
