"""The generated world as conf/data/shapes.yaml describes it."""

from __future__ import annotations

from pathlib import Path

import yaml

from o3v.data.shapes import ShapesWorld


def _configured() -> ShapesWorld:
    path = Path(__file__).parents[2] / "conf" / "data" / "shapes.yaml"
    values = yaml.safe_load(path.read_text())["dataset"]["world"]
    values.pop("_target_")
    return ShapesWorld(**values)


FULL = _configured()
