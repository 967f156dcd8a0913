"""Faulty samples are skipped, counted and listed; too many of them stop the run."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from o3v.errors import DataError, StorageError

SHOWN = 5
"""Faults quoted in an error message."""


@dataclass(frozen=True)
class Fault:
    """One sample that could not be used.

    Attributes:
        sample_id: the sample, or the row's number where it has no name.
        source: where the sample comes from; `?` where even that is unreadable.
        where: the kind: `row` (does not validate), `missing media`, `decode`, or another short word of the caller.
        reason: what is wrong, naming the field and the value.
    """

    sample_id: str
    source: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.sample_id} ({self.source}, {self.where}): {self.reason}"


def count_faults(faults: Sequence[Fault]) -> dict[str, int]:
    """Faults by kind and source, most frequent first.

    >>> count_faults([Fault("1", "gqa", "row", "x"), Fault("2", "gqa", "row", "y"), Fault("3", "timerft", "row", "z")])
    {'row/gqa': 2, 'row/timerft': 1}
    """
    return dict(Counter(f"{fault.where}/{fault.source}" for fault in faults).most_common())


def check_share(faults: Sequence[Fault], n_samples: int, max_share: float, place: str) -> None:
    """Stop when more than `max_share` of `n_samples` are faulty.

    Args:
        faults: one a sample.
        n_samples: how many samples there are, good and faulty.
        max_share: 0 stops at the first fault, 1 never.
        place: where to look: the annotation file, the list of faults.

    Raises:
        DataError: with the counts by kind and source and the first faults.
    """
    if len(faults) <= max_share * n_samples:
        return
    counts = ", ".join(f"{name} {count}" for name, count in count_faults(faults).items())
    first = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
    raise DataError(
        f"{place}: {len(faults)} of {n_samples} samples are faulty, above max_fault_share={max_share}: "
        f"{counts}. The first:{first}"
    )


class FaultLog:
    """Counts faults while a run reads its data and appends each to a JSON-lines file.

    A sample is counted once however often it fails. Lines are appended in one write, so several ranks may share the
    file; each counts its own.
    """

    def __init__(self, path: Path, max_share: float, n_samples: int) -> None:
        """Start with no fault; the file is made at the first one.

        Args:
            path: the JSON-lines file; lines of an earlier start of the run stay.
            max_share: share of `n_samples` above which `record` stops the run, 0 to 1.
            n_samples: samples that this process may meet.
        """
        self.path = path
        self.max_share = max_share
        self.n_samples = n_samples
        self._faults: dict[str, Fault] = {}

    def record(self, fault: Fault) -> None:
        """Count and list a fault.

        Raises:
            DataError: the share of faulty samples is now above `max_share`.
            StorageError: the file cannot be written.
        """
        if fault.sample_id in self._faults:
            return
        self._faults[fault.sample_id] = fault
        self._append(json.dumps(asdict(fault)) + "\n")
        check_share(tuple(self._faults.values()), self.n_samples, self.max_share, str(self.path))

    @property
    def share(self) -> float:
        """Faulty samples over all samples."""
        return len(self._faults) / max(self.n_samples, 1)

    @property
    def counts(self) -> Mapping[str, int]:
        """Faults by `kind/source`."""
        return count_faults(tuple(self._faults.values()))

    @property
    def by_source(self) -> Mapping[str, int]:
        """Faults by source, in alphabetical order."""
        return dict(sorted(Counter(fault.source for fault in self._faults.values()).items()))

    def _append(self, line: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise StorageError(f"{self.path}: the list of faults cannot be written ({error.strerror})") from error
