"""What is known of a trained model: its run's settings, the data it was given, how training went, its scores.

Everything is read from the folders that runs write; nothing is computed anew. The record is plain JSON, so that it can
travel with the weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from o3v.errors import DataError
from o3v.tracking.journal import METRICS, read_lines
from o3v.tracking.run import RunFolder

log = logging.getLogger(__name__)

_DATA, _TASK, _TRAIN = "train/data/", "train/data/task/", "train/"
_SHOWN = ("loss", "reward", "kl", "clip_frac", "entropy", "grad_norm", "parse_ok", "completion_length", "target_tokens")
_PACKAGES = ("torch", "transformers", "lightning", "peft", "deepspeed")


def run_record(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's folder says.

    Args:
        run: its folder; what is not there is left out.
        config: its resolved configuration.

    Returns:
        `run`, `signature`, `commit`, `packages`, `objective`, `rewards`, `init_from`, `batches`, `mix` (source or task
        -> samples and share), `summary` (metric -> last value) and `finished`.

    Raises:
        DataError: a broken file.
    """
    files = RunFolder(run)
    git, environment = files.read_json("git.json") or {}, files.read_json("environment.json") or {}
    steps = [line["values"] for _, line in read_lines(run / METRICS)]
    done = files.done()
    return {
        "run": run.name,
        "signature": run.name.rpartition("-")[2],
        "finished": done is not None,
        "result": {key: value for key, value in (done or {}).items() if _is_shown(key, value)},
        "commit": git.get("commit"),
        "packages": {key: v for key, v in environment.get("packages", {}).items() if key in _PACKAGES},
        "objective": _in_one_line(config.get("objective")),
        "rewards": dict((config.get("reward") or {}).get("weights", {})) if _is_rl(config) else {},
        "init_from": config.get("init_from"),
        "global_batch": config.get("global_batch"),
        "seed": config.get("seed"),
        "mix": {"source": _shares(steps, _DATA, _TASK), "task": _shares(steps, _TASK, None)},
        "summary": _summary(steps),
    }


def find_scores(run: Path) -> list[dict[str, Any]]:
    """Finished evaluations of a run's exported model among the runs beside it.

    An evaluation belongs to it when its `checkpoint` is the run's folder or that folder's model, by the folder's name,
    which ends with the run's signature: so it is found after all folders have moved.

    Returns:
        One entry an evaluation, by benchmark and folder: `folder`, `title`, `label`, and `columns`: name -> value, low
        and high of the 95 % interval, n.
    """
    found = [_score(folder, config) for folder, config in _evaluations(run)]
    return sorted((one for one in found if one is not None), key=lambda one: (one["title"], one["folder"]))


def _evaluations(run: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for report in run.absolute().parent.glob("*/report.json"):
        folder = report.parent
        if not (folder / "DONE.json").is_file() or not (folder / "config.yaml").is_file():
            continue
        config = yaml.load((folder / "config.yaml").read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if isinstance(config, dict) and _is_of(config.get("checkpoint"), run.absolute().name):
            yield folder, config


def _is_of(checkpoint: object, name: str) -> bool:
    parts = Path(str(checkpoint or "")).parts
    return name in (parts[-1:] + parts[-2:-1] if parts[-1:] == ("model",) else parts[-1:])


def _score(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    label = str(config.get("label"))
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
        row = report["results"][label]
        columns = {name: {key: of.get(key) for key in ("value", "low", "high", "n")} for name, of in row.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        log.warning("%s: its report cannot be read (%s); left out", folder, error)
        return None
    return {"folder": folder.name, "title": report.get("title", ""), "label": label, "columns": columns}


def _is_rl(config: Mapping[str, Any]) -> bool:
    return "sft" not in str((config.get("objective") or {}).get("_target_", "")).lower()


def _in_one_line(node: object) -> str | None:
    """Settings of a group as one line: the class and its plain values."""
    if not isinstance(node, Mapping):
        return None
    values = [f"{key}={value}" for key, value in node.items() if isinstance(value, str | int | float) and key[0] != "_"]
    return f"{str(node.get('_target_', '')).rpartition('.')[2]}({', '.join(values)})"


def _shares(steps: list[dict[str, Any]], start: str, but: str | None) -> dict[str, dict[str, float]]:
    """Samples given out, by what follows `start` in the newest counts."""
    for values in reversed(steps):
        counts = {
            name.removeprefix(start): float(value)
            for name, value in values.items()
            if name.startswith(start) and not (but is not None and name.startswith(but))
        }
        if counts:
            total = sum(counts.values()) or 1.0
            return {name: {"samples": count, "share": count / total} for name, count in counts.items()}
    return {}


def _summary(steps: list[dict[str, Any]]) -> dict[str, float]:
    """Last value of what tells how training went, and the CPU seconds of all steps."""
    found: dict[str, float] = {}
    for values in steps:
        for name, value in values.items():
            short = name.removeprefix(_TRAIN)
            if name.startswith(_TRAIN) and (short in _SHOWN or _is_reward(short)):
                found[short] = value
    return found


def _is_reward(name: str) -> bool:
    return name.startswith("reward/") and not name.endswith("_std")


def _is_shown(key: str, value: object) -> bool:
    return isinstance(value, int | float) and not key.startswith("store/")


def read_record(path: Path) -> dict[str, Any]:
    """A record that was written with weights; empty where there is none. Raises DataError where it is broken."""
    found = RunFolder(path.parent).read_json(path.name)
    if found is not None and not isinstance(found, dict):
        raise DataError(f"{path}: is no record of a model")
    return found or {}
