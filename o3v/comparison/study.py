"""What a comparison asks of a declared study; `o3v.study.Study` is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class DeclaredRun(Protocol):
    """One run of a study: a training, or one benchmark on what a training made."""

    @property
    def key(self) -> str:
        """Name of its folder, unique in the study."""

    @property
    def stage(self) -> str:
        """The stage that it belongs to (`sft`, `rl`, `eval_shapes`)."""

    @property
    def command(self) -> str:
        """`train` or `evaluate`."""

    @property
    def folder(self) -> Path:
        """Where it writes."""

    @property
    def benchmark(self) -> str | None:
        """Name of the benchmark, None for a training."""


class DeclaredStudy(Protocol):
    """Arms, seeds and their runs."""

    @property
    def name(self) -> str:
        """Name of its file in conf/experiment."""

    @property
    def title(self) -> str:
        """One line."""

    @property
    def question(self) -> str:
        """What it asks."""

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, in order."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms, in order."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages in order, evaluations included."""

    @property
    def runs(self) -> Mapping[str, Any]:
        """Key -> `DeclaredRun`."""

    @property
    def members(self) -> Mapping[tuple[str, int], tuple[str, ...]]:
        """(arm, seed) -> keys of its runs, in order of the stages."""

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Columns of the comparison; None: the benchmark's own."""

    @property
    def published(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Figures of the literature, arm -> benchmark -> metric -> value, in percent as papers print them."""

    @property
    def folder(self) -> Path:
        """Folder of the study's own files."""
