"""What conf/study.yaml may hold; every file of conf/experiment that declares a study fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import ClusterConfig, PathsConfig


@dataclass
class StageConfig:
    """A stage that every run of an arm goes through.

    Attributes:
        command: train or evaluate.
        overrides: of that command.
        seeded: whether the study's seeds reach it; one that is not seeded is one run for all seeds, where the stages
            before it are.
        resources: keys of conf/cluster that differ for this stage.
    """

    command: str = MISSING
    overrides: list[str] = MISSING
    seeded: bool = MISSING
    resources: dict[str, Any] = MISSING


@dataclass
class StudyConfig:
    """Root of conf/study.yaml.

    Attributes:
        title, question: one line each, for tables and pages.
        baseline: arm that the others are compared with.
        seeds: of every arm.
        common: overrides of every stage.
        stage: what a stage is where its entry in `stages` says nothing.
        stages: name -> the stage, in order; each starts from the weights of the one before.
        evaluation: what all evaluations share.
        benchmarks: name -> overrides of its evaluation, which comes last.
        arms: name -> stage -> further overrides; `all` and `evaluation` mean several stages; null leaves a stage out.
        metrics: columns of the comparison, null for the benchmark's own.
        published: arm -> benchmark -> metric -> a figure of the literature.
    """

    title: str = MISSING
    question: str = MISSING
    baseline: str = MISSING
    seeds: list[int] = MISSING
    common: list[str] = MISSING
    stage: StageConfig = MISSING
    stages: Any = MISSING
    evaluation: StageConfig = MISSING
    benchmarks: Any = MISSING
    arms: Any = MISSING
    metrics: list[str] | None = MISSING
    published: Any = MISSING
    paths: PathsConfig = MISSING
    logger: Any = None
    cluster: ClusterConfig = MISSING
