"""What conf/compare.yaml may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import ClusterConfig, PathsConfig


@dataclass
class ExamplesConfig:
    """Questions shown with every arm's answer.

    Attributes:
        disagree: those on which the arms' scores differ most.
        random: drawn from the others.
        seed: of the draw.
        pictures: draw the cited frames; needs the benchmark's media.
    """

    disagree: int = MISSING
    random: int = MISSING
    seed: int = MISSING
    pictures: bool = MISSING


@dataclass
class CompareConfig:
    """Root of conf/compare.yaml.

    Attributes:
        study: name of a file of conf/experiment.
        select: overrides of the study.
        source: folders or mlflow.
        metrics: columns, null for the study's, and where it has none the benchmark's.
        lower_is_better: metrics of which less is more.
        exchanges: of the exchange test, at most.
        curves: patterns of the metrics whose curves are drawn.
        examples: see `ExamplesConfig`.
        page: make index.html.
        record: write into experiments/ too.
        out: folder of the files, null for `compare` in the study's folder.
    """

    study: str = MISSING
    select: list[str] = MISSING
    source: str = MISSING
    metrics: list[str] | None = MISSING
    lower_is_better: list[str] = MISSING
    exchanges: int = MISSING
    curves: list[str] = MISSING
    examples: ExamplesConfig = MISSING
    page: bool = MISSING
    record: bool = MISSING
    out: str | None = MISSING
    paths: PathsConfig = MISSING
    cluster: ClusterConfig = MISSING
    logger: Any = None


@dataclass
class BenchCoverageConfig:
    """Root of conf/bench_coverage.yaml.

    Attributes:
        kinds: what is drawn, see `o3v.comparison.simulate.KINDS`.
        seeds, videos: how many; every combination is simulated.
        spreads: pairs of standard deviations of seed and video, the rest's being 1.
        repeats: simulated studies a case.
        seed: of the draws.
        out: results.json, null for none.
    """

    kinds: list[str] = MISSING
    seeds: list[int] = MISSING
    videos: list[int] = MISSING
    spreads: list[list[float]] = MISSING
    repeats: int = MISSING
    seed: int = MISSING
    out: str | None = MISSING
