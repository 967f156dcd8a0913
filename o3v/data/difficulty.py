"""How hard samples are: pass rates by sample, from the rows or from a file, and bands of them for the mix."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from o3v.errors import ConfigError, DataError
from o3v.types import Sample

UNKNOWN = "unknown"
"""Band of the samples without a pass rate."""


@dataclass(frozen=True)
class Difficulty:
    """Bands of pass rates, the share of attempts at a sample that were right (0 to 1).

    Attributes:
        upper: band -> largest pass rate in it, ascending, the last 1: {hard: 0.25, medium: 0.75, easy: 1}.
        file: JSON object of sample id -> pass rate, as `python -m o3v.pass_rates` writes it; wins over the field
            `pass_rate` of a row. None: the rows alone.
    """

    upper: Mapping[str, float]
    file: str | None

    def __post_init__(self) -> None:
        """Reject bands that leave a gap, stand in no order, or take the name of the samples without a pass rate."""
        limits = list(self.upper.values())
        if not limits or sorted(set(limits)) != limits or limits[-1] != 1 or limits[0] < 0:
            raise ConfigError(f"mix.difficulty.upper={dict(self.upper)}: wanted pass rates that ascend to 1")
        if UNKNOWN in self.upper:
            raise ConfigError(f"mix.difficulty.upper.{UNKNOWN}: the name is that of samples without a pass rate")

    @property
    def names(self) -> tuple[str, ...]:
        """Every band."""
        return (*self.upper, UNKNOWN)

    def bands(self, samples: Sequence[Sample]) -> list[str]:
        """The band of each sample.

        Raises:
            DataError: the file cannot be read, holds something else, or knows none of the samples.
        """
        scores = {} if self.file is None else read_numbers(Path(self.file), 0.0, 1.0)
        known = [scores.get(sample.id, sample.pass_rate) for sample in samples]
        if scores and not any(sample.id in scores for sample in samples):
            raise DataError(f"{self.file}: {len(scores)} pass rates, but none for a sample of this data set")
        return [self.band(rate) for rate in known]

    def band(self, pass_rate: float | None) -> str:
        """The band of a pass rate.

        >>> bands = Difficulty({"hard": 0.25, "easy": 1.0}, None)
        >>> bands.band(0.25), bands.band(0.3), bands.band(None)
        ('hard', 'easy', 'unknown')
        """
        if pass_rate is None:
            return UNKNOWN
        return next(name for name, limit in self.upper.items() if pass_rate <= limit)


def read_numbers(path: Path, low: float, high: float) -> dict[str, float]:
    """Numbers by sample id from a JSON object.

    Args:
        path: the file.
        low: smallest number allowed.
        high: largest number allowed.

    Raises:
        DataError: the file is missing, no JSON object, or holds another value; names it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: wanted a JSON object of sample id -> number, found a {type(values).__name__}")
    for sample_id, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            limits = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
            raise DataError(f"{path}: {sample_id}={value!r}, wanted a number of {limits}")
    return {str(sample_id): float(value) for sample_id, value in values.items()}
