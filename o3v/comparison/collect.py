"""What the runs of a study left: their states, answers, reports and curves, read from the run folders.

A store that is not on this disk (MLflow) is first copied into folders of the same shape by `o3v.tracking.read_runs`, so
that both give the same comparison.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from o3v.benchmarks.records import Record
from o3v.benchmarks.shards import read_folder
from o3v.comparison.study import DeclaredStudy
from o3v.errors import DataError
from o3v.tracking.journal import METRICS, read_lines
from o3v.tracking.mlflow_store import stored_name
from o3v.tracking.run import RunFolder

State = Literal["finished", "running", "interrupted", "failed", "not started"]

STATES: tuple[State, ...] = ("finished", "running", "interrupted", "failed", "not started")

Curve = tuple[tuple[int, float], ...]
"""(step, value) by step."""


@dataclass(frozen=True)
class RunState:
    """How far one run has come.

    Attributes:
        state: see `STATES`; a run that was killed without a word looks like a running one, so `told` has its age.
        told: what is known beyond the state, one sentence or "".
    """

    state: State
    told: str


@dataclass(frozen=True)
class Unfinished:
    """A run that is missing from the comparison.

    Attributes:
        key: of the run.
        stage: of the run.
        arms, seeds: who would use it.
        state, told: see `RunState`.
    """

    key: str
    stage: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    state: State
    told: str


@dataclass(frozen=True)
class Collected:
    """A study's results.

    Attributes:
        study: as declared.
        source: where they were read: `folders` or an address.
        states: key -> state, all runs.
        records: key of a finished evaluation -> its answers by id.
        reports: key of a finished evaluation -> its report.json, {} where there is none.
        curves: key -> metric -> points; runs that have not finished have those that there are.
        settings: key of a finished evaluation -> its configuration, {} where there is none.
    """

    study: DeclaredStudy
    source: str
    states: Mapping[str, RunState]
    records: Mapping[str, tuple[Record, ...]]
    reports: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, Mapping[str, Curve]]
    settings: Mapping[str, Mapping[str, Any]]

    def evaluations(self, benchmark: str, arm: str) -> dict[int, str]:
        """Seed -> key of the finished evaluation of an arm; seeds without one are left out."""
        found = {}
        for seed in self.study.seeds:
            for key in self.study.members.get((arm, seed), ()):
                if self.study.runs[key].benchmark == benchmark and key in self.records:
                    found[seed] = key
        return found

    def unfinished(self) -> list[Unfinished]:
        """Every run without a result, in the order of the study, with who waits for it."""
        found = []
        for key, run in self.study.runs.items():
            state = self.states[key]
            if state.state == "finished":
                continue
            users = [member for member, keys in self.study.members.items() if key in keys]
            arms = tuple(dict.fromkeys(arm for arm, _ in users))
            seeds = tuple(dict.fromkeys(seed for _, seed in users))
            found.append(Unfinished(key, run.stage, arms, seeds, state.state, state.told))
        return found

    def benchmarks(self) -> list[str]:
        """Benchmarks that the study declares, in order, whether or not an answer is there."""
        return list(dict.fromkeys(run.benchmark for run in self.study.runs.values() if run.benchmark is not None))


def collect(
    study: DeclaredStudy, patterns: Sequence[str], folders: Mapping[str, Path] | None = None, source: str = "folders"
) -> Collected:
    """Read a study's runs.

    Args:
        study: whose runs.
        patterns: of the metrics whose curves are wanted, as in a shell (`train/reward/*`).
        folders: key -> where a run's files lie; None for the places where they were written.
        source: named in the result.

    Raises:
        DataError: a broken file of a finished run; names file and line.
    """
    places = {key: (folders or {}).get(key, run.folder) for key, run in study.runs.items()}
    states = {key: run_state(places[key]) for key in study.runs}
    finished = [key for key, run in study.runs.items() if run.benchmark and states[key].state == "finished"]
    records = {key: _records(places[key]) for key in finished}
    return Collected(
        study=study,
        source=source,
        states=states,
        records=records,
        reports={key: RunFolder(places[key]).read_json("report.json") or {} for key in finished},
        curves={key: read_curves(places[key], patterns) for key, run in study.runs.items() if run.benchmark is None},
        settings={key: _settings(places[key]) for key in finished},
    )


def run_state(folder: Path) -> RunState:
    """How far the run in a folder has come, from what it has written itself."""
    files = RunFolder(folder)
    if files.done() is not None:
        return RunState("finished", "")
    if not folder.is_dir():
        return RunState("not started", "")
    status = (files.read_json("status.json") or {}).get("status")
    told = _progress(files)
    if status == "failed":
        return RunState("failed", told)
    if status == "interrupted":
        return RunState("interrupted", told)
    return RunState("running", told)


def read_curves(folder: Path, patterns: Sequence[str]) -> dict[str, Curve]:
    """Metrics of a run by step whose names fit a pattern, under the names that MLflow stores.

    Raises:
        DataError: a broken line.
    """
    points: dict[str, dict[int, float]] = {}
    wanted: dict[str, bool] = {}
    for _, line in read_lines(folder / METRICS):
        for key, value in line["values"].items():
            name = stored_name(key)
            if name not in wanted:
                wanted[name] = any(fnmatchcase(name, pattern) for pattern in patterns)
            if wanted[name]:
                points.setdefault(name, {})[int(line["step"])] = float(value)
    return {name: tuple(sorted(found.items())) for name, found in points.items()}


def _records(folder: Path) -> tuple[Record, ...]:
    found = tuple(read_folder(folder).values())
    if not found:
        raise DataError(f"{folder}: the evaluation is finished, but its answers (records.jsonl) are gone")
    return found


def _settings(folder: Path) -> dict[str, Any]:
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return found if isinstance(found, dict) else {}


def _progress(files: RunFolder) -> str:
    """What progress.json says, with its age."""
    progress = files.read_json("progress.json")
    if not isinstance(progress, dict) or not {"done", "total", "unit", "time_s"} <= progress.keys():
        return ""
    age_min = max(0.0, time.time() - float(progress["time_s"])) / 60
    return f"{progress['done']} of {progress['total']} {progress['unit']}, last sign {_age(age_min)} ago"


def _age(minutes: float) -> str:
    """A length of time in words.

    >>> _age(0.2), _age(12.4), _age(150), _age(5000)
    ('less than a minute', '12 min', '2.5 h', '3.5 days')
    """
    if minutes < 1:
        return "less than a minute"
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 60 * 48 else f"{minutes / 1440:.1f} days"
