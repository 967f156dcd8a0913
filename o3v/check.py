"""Look at a data set before any GPU hour: `python -m o3v.check data=stgr_rl`, or `benchmark=tvgbench`.

Ends with exit code 0 where the share of rows with errors is allowed, 3 where it is not, 2 for a mistake in the command.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from o3v.datacheck.checking import CheckSettings, Outcome
    from o3v.datacheck.leaks import AskedVideos
    from o3v.datacheck.looking import Progress
    from o3v.datacheck.report import Compared
    from o3v.datacheck.row_reading import Limits
    from o3v.datacheck.subjects import Subject
    from o3v.datacheck.tokens import Budget

EXIT_FINDINGS: Final = 3

log = logging.getLogger(__name__)


@command(config_name="check")
def main(cfg: DictConfig) -> float | None:
    """Check what is configured; returns the highest share of rows with errors."""
    from o3v.datacheck.checking import check

    settings = _settings(cfg)
    asked, compared = _asked(cfg)
    subjects = _subjects(cfg, settings.limits)
    shares, passed = [], True
    for subject, budget in subjects:
        with _memory(cfg) as memory, _progress() as progress, _clock() as clock:
            found_in = asked if subject.settings is not None else _no_benchmarks()
            outcome = check(subject, settings, memory, budget, found_in, progress)
        passed &= _report(cfg, outcome, compared, budget, clock())
        shares.append(outcome.error_share)
    if not passed:
        raise SystemExit(EXIT_FINDINGS)
    return max(shares)


def _settings(cfg: DictConfig) -> CheckSettings:
    from o3v.config import build
    from o3v.datacheck.checking import CheckSettings
    from o3v.datacheck.pool import PoolSettings
    from o3v.errors import ConfigError

    if not 0 <= cfg.max_error_share <= 1:
        raise ConfigError(f"max_error_share={cfg.max_error_share}: must be 0 to 1")
    if cfg.largest < 0:
        raise ConfigError(f"largest={cfg.largest}: must be 0 or more")
    pool = PoolSettings(cfg.workers, cfg.limit_s, cfg.memory_gib)
    return CheckSettings(build(cfg, "severity"), build(cfg, "limits"), pool, cfg.media, cfg.decode)


def _subjects(cfg: DictConfig, limits: Limits) -> list[tuple[Subject, Budget | None]]:
    """The data set and the benchmark, as far as they are given."""
    from pathlib import Path

    from o3v.config import build
    from o3v.datacheck.clean import check_target
    from o3v.datacheck.subjects import benchmark_subject, dataset_subject
    from o3v.errors import ConfigError

    has_rows = cfg.data is not None and "dataset" in cfg.data  # some files of conf/data say how frames are read only
    if not has_rows and cfg.benchmark is None:
        raise ConfigError("nothing to check: give data=FILE of conf/data/ or benchmark=FILE of conf/benchmark/")
    found: list[tuple[Subject, Budget | None]] = []
    if has_rows:
        budget = _budget(cfg)
        found.append((dataset_subject(build(cfg, "data.dataset"), limits, budget.tokenizer), budget))
    if cfg.benchmark is not None:
        found.append((benchmark_subject(build(cfg, "benchmark")), None))
    if cfg.clean is not None:
        check_target(Path(cfg.clean), found[0][0].file)
    return found


def _budget(cfg: DictConfig) -> Budget:
    from pathlib import Path

    from o3v.config import build
    from o3v.datacheck.tokens import Budget, find_tokenizer
    from o3v.models.family import find_family

    spec = build(cfg, "model")
    folder = Path(spec.root) / spec.path
    tokenizer = find_tokenizer([folder, *_assets(spec.path)])
    factor = find_family(spec.family).factor
    return Budget(build(cfg, "data.reader"), factor, tokenizer, cfg.data.max_new_tokens, cfg.max_prompt_tokens)


def _assets(path: str) -> list[Any]:
    from o3v.models.load import ASSETS

    return [ASSETS / path]


def _asked(cfg: DictConfig) -> tuple[AskedVideos, Compared]:
    """The media of the benchmarks to compare with; one whose annotations are not here is said to be missing."""
    from o3v.config import build, first_line
    from o3v.config_check import unknown
    from o3v.datacheck.leaks import asked_videos
    from o3v.datacheck.report import Compared
    from o3v.datacheck.subjects import asked_paths
    from o3v.errors import UserError

    for name in cfg.compare_with:
        if name not in cfg.against:
            raise unknown(f"compare_with={name}", name, list(cfg.against), "benchmark")
    paths, missing = {}, {}
    for name in cfg.compare_with if cfg.data is not None else ():
        try:
            paths[name] = asked_paths(build(cfg, f"against.{name}"))
        except UserError as error:
            missing[name] = first_line(error)
    return asked_videos(paths), Compared({name: len(set(found)) for name, found in paths.items()}, missing)


def _no_benchmarks() -> AskedVideos:
    """A benchmark's own questions are no training rows."""
    from o3v.datacheck.leaks import asked_videos

    return asked_videos({})


@contextmanager
def _memory(cfg: DictConfig) -> Iterator[Any]:
    from pathlib import Path

    from o3v.datacheck.memory import Memory

    memory = Memory(None if cfg.memory is None else Path(cfg.memory))
    try:
        yield memory
    finally:
        memory.close()


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar for rows and one for media, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns: Sequence[Any] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield advance


@contextmanager
def _clock() -> Iterator[Any]:
    import time

    begin = time.perf_counter()
    yield lambda: time.perf_counter() - begin


def _report(cfg: DictConfig, outcome: Outcome, compared: Compared, budget: Budget | None, seconds: float) -> bool:
    """Tables, files and the cleaned file; whether the check passed."""
    from pathlib import Path

    from rich.console import Console

    from o3v.datacheck.clean import left_out_path, write_clean
    from o3v.datacheck.report import Report, show

    tokenizer = budget.tokenizer if budget is not None else None
    report = Report(outcome, compared, cfg.max_error_share, tokenizer, cfg.largest, seconds)
    folder = Path(cfg.out) / outcome.subject.name
    report.write(folder)
    show(report, Console())
    log.info("findings and summary in %s", folder)
    if cfg.clean is not None and outcome.subject.file is not None:
        path = Path(cfg.clean)
        kept = write_clean(outcome, path)
        left_out = len(outcome.rows) - kept
        log.info("%s: %d rows kept, %d left out (%s)", path, kept, left_out, left_out_path(path))
    return report.passed


if __name__ == "__main__":
    main()
