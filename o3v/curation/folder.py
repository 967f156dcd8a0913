"""The folder of a curation: what each stage let through and decided, each file written whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from o3v.curation.items import Candidate, Decision, from_plain, to_plain
from o3v.errors import DataError
from o3v.tracking.journal import read_lines
from o3v.tracking.run import write_atomically

DECISIONS = "decisions.jsonl"


@dataclass(frozen=True)
class CurationFolder:
    """Files of one curation.

    Attributes:
        path: the folder: `stages/`, `replies/`, `decisions.jsonl`, `summary.json`, `data/`, `report/`.
        stages: names in the order in which they run.
    """

    path: Path
    stages: tuple[str, ...]

    def begin(self, stage: str) -> None:
        """Forget what this stage and those after it had written: it no longer follows from what comes before."""
        for later in self.stages[self.stages.index(stage) :]:
            for file in (self._passed(later), self._decided(later)):
                file.unlink(missing_ok=True)

    def write(self, stage: str, candidates: Iterable[Candidate], decisions: Sequence[Decision]) -> None:
        """Keep a stage's result. Raises StorageError."""
        write_atomically(self._decided(stage), _lines(asdict(decision) for decision in decisions))
        write_atomically(self._passed(stage), _lines(to_plain(candidate) for candidate in candidates))
        write_atomically(self.path / DECISIONS, _lines(asdict(decision) for decision in self.decisions()))
        write_atomically(self.path / "summary.json", json.dumps(self.summary(), indent=2) + "\n")

    def candidates_before(self, stage: str) -> list[Candidate]:
        """What the stage before let through.

        Raises:
            DataError: that stage has not run.
        """
        before = self.stages[self.stages.index(stage) - 1]
        return self.candidates_after(before)

    def candidates_after(self, stage: str) -> list[Candidate]:
        """What a stage let through. Raises DataError where it has not run."""
        if not self._passed(stage).is_file():
            raise DataError(f"{self._passed(stage)} does not exist: run stage={stage} before, or stage=all")
        return [from_plain(plain) for _, plain in read_lines(self._passed(stage))]

    def decisions(self) -> list[Decision]:
        """Those of all stages that have run, stage by stage, in the order of the rows."""
        done = [stage for stage in self.stages if self._decided(stage).is_file()]
        return [Decision(**plain) for stage in done for _, plain in read_lines(self._decided(stage))]

    def summary(self) -> dict[str, Any]:
        """Rows after each stage, and decisions by stage, verdict and reason."""
        done = [stage for stage in self.stages if self._passed(stage).is_file()]
        return {
            "rows": {stage: sum(1 for _ in read_lines(self._passed(stage))) for stage in done},
            "reasons": count_reasons(self.decisions()),
        }

    def _passed(self, stage: str) -> Path:
        return self.path / "stages" / f"{self.stages.index(stage)}-{stage}.jsonl"

    def _decided(self, stage: str) -> Path:
        return self.path / "stages" / f"{self.stages.index(stage)}-{stage}.decisions.jsonl"


def count_reasons(decisions: Sequence[Decision]) -> dict[str, dict[str, int]]:
    """Stage -> `verdict: reason` -> how often, most frequent first.

    >>> count_reasons([Decision("a", "boxes", "changed", "box too large", {}), Decision("a", "boxes", "kept", "", {})])
    {'boxes': {'changed: box too large': 1, 'kept': 1}}
    """
    counted: dict[str, Counter[str]] = {}
    for decision in decisions:
        name = f"{decision.verdict}: {decision.reason}" if decision.reason else decision.verdict
        counted.setdefault(decision.stage, Counter())[name] += 1
    return {
        stage: dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))) for stage, found in counted.items()
    }


def _lines(objects: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(one, sort_keys=True) + "\n" for one in objects)
