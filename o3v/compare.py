"""Compare the arms of a study: `python -m o3v.compare study=NAME`.

Means over seeds with intervals, paired differences to the baseline clustered by seed and video, training curves, the
same questions side by side, and what did not finish; as text, CSV, LaTeX, JSON and one page. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from o3v.comparison.collect import Collected
    from o3v.comparison.examples import Example
    from o3v.comparison.report import Report
    from o3v.study import Study

SOURCES = ("folders", "mlflow")


@command(config_name="compare")
def main(cfg: DictConfig) -> float | None:
    """Collect, compute, show, write; returns the first difference to the baseline."""
    from o3v.study import read_study

    check(cfg)
    study = read_study(cfg.study, study_overrides(cfg))
    report = run(cfg, study)
    show(report)
    say_files(publish(cfg, study, report))
    return first_difference(report)


def check(cfg: DictConfig) -> None:
    """Reject values out of range, before anything is read. Raises ConfigError."""
    from o3v.errors import ConfigError

    if cfg.source not in SOURCES:
        raise ConfigError(f"source={cfg.source}: allowed are {', '.join(SOURCES)}")
    for key, least in (("exchanges", 1), ("examples.disagree", 0), ("examples.random", 0)):
        value = _value(cfg, key)
        if value < least:
            raise ConfigError(f"{key}={value}: must be at least {least}")


def study_overrides(cfg: DictConfig) -> list[str]:
    """What the study is read with: `select`, and the folders of this command."""
    from o3v.compose import override
    from o3v.config import resolve

    paths = resolve(cfg)["paths"]
    return [*(override(f"paths.{key}", value) for key, value in paths.items() if "???" not in str(value)), *cfg.select]


def run(cfg: DictConfig, study: Study) -> Report:
    """The comparison of a study."""
    from o3v.comparison.curves import build_charts
    from o3v.comparison.differences import Rules
    from o3v.comparison.report import make_report
    from o3v.comparison.tables import build_table

    collected = read_results(cfg, study)
    metrics = cfg.metrics if cfg.metrics is not None else study.metrics
    rules = Rules(None if metrics is None else list(metrics), list(cfg.lower_is_better), cfg.exchanges)
    tables, examples, notes = [], [], []
    for name in collected.benchmarks():
        if not any(collected.evaluations(name, arm) for arm in study.arms):
            notes.append(f"{name}: no evaluation has finished")
            continue
        benchmark = benchmark_of(study, name)
        table = build_table(collected, name, benchmark, rules)
        tables.append(table)
        if cfg.page:
            found, told = examples_of(cfg, collected, name, benchmark, table.metrics)
            examples += found
            notes += told
    charts = build_charts(collected, list(cfg.curves)) if cfg.page else []
    return make_report(collected, command_line(cfg), tables, charts, examples, notes)


def read_results(cfg: DictConfig, study: Study) -> Collected:
    """Results of the runs, from their folders or from MLflow."""
    from o3v.comparison.collect import collect
    from o3v.config import build

    patterns = list(cfg.curves) if cfg.page else []
    if cfg.source == "folders":
        return collect(study, patterns)
    from o3v.errors import ConfigError
    from o3v.tracking.mlflow_tracker import MlflowSettings
    from o3v.tracking.read_runs import fetch_runs

    settings = build(cfg, "logger")
    if not isinstance(settings, MlflowSettings):
        raise ConfigError("source=mlflow: needs logger=mlflow")
    folders = fetch_runs(settings, list(study.runs), out_folder(cfg, study) / "mlflow", patterns)
    return collect(study, patterns, folders, "MLflow")


def benchmark_of(study: Study, name: str) -> Any:
    """The benchmark of a study, as its evaluations build it."""
    from o3v.compose import compose_command
    from o3v.config import build

    of = next(one for one in study.runs.values() if one.benchmark == name)
    return build(compose_command(of.command, of.overrides, check=False), "benchmark")


def examples_of(
    cfg: DictConfig, collected: Collected, name: str, benchmark: Any, metrics: tuple[str, ...]
) -> tuple[list[Example], list[str]]:
    """Examples of one benchmark, and why they are without their questions, where they are."""
    from o3v.comparison.examples import Choice, build_examples, draw_evidence, no_picture
    from o3v.errors import UserError

    choice = Choice(cfg.examples.disagree, cfg.examples.random, cfg.examples.seed)
    if choice.disagree + choice.random == 0:
        return [], []
    notes = []
    try:
        questions = {question.id: question for question in benchmark.questions()}
    except UserError as error:
        questions = {}
        notes.append(f"{name}: the examples are without questions and pictures, {error}")
    draw = draw_evidence if cfg.examples.pictures else no_picture
    return build_examples(collected, name, benchmark, metrics, choice, questions, draw), notes


def command_line(cfg: DictConfig) -> str:
    """The command that makes the same comparison."""
    select = f" select=[{','.join(cfg.select)}]" if cfg.select else ""
    return f"python -m o3v.compare study={cfg.study}{select}"


def show(report: Report) -> None:
    """The tables and notes on the terminal."""
    from rich.console import Console

    from o3v.comparison.text import grids, notes, print_whole

    console = Console()
    console.print(f"{report.title} ({report.name})", style="bold", markup=False, highlight=False)
    console.print(report.question, markup=False, highlight=False, soft_wrap=True)
    for grid in grids(report):
        print_whole(console, grid.rich())
    for line in notes(report):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)


def out_folder(cfg: DictConfig, study: Study) -> Path:
    """Where the files go."""
    from pathlib import Path

    return study.folder / "compare" if cfg.out is None else Path(cfg.out)


def publish(cfg: DictConfig, study: Study, report: Report) -> Mapping[str, Path]:
    """Writes the files, the record where it is asked for, and tells MLflow's run of the study; returns the files."""
    from o3v.cli import conf_folder
    from o3v.comparison.page import page_of
    from o3v.comparison.record import write_files, write_record

    files = write_files(report, page_of(report) if cfg.page else None, out_folder(cfg, study))
    if cfg.record:
        folder = conf_folder().parent / "experiments" / study.name
        write_record(report, folder)
        files = {**files, "record": folder}
    _track(cfg, study, files)
    return files


def say_files(files: Mapping[str, Path]) -> None:
    """Where everything is."""
    from rich.console import Console

    for path in files.values():
        Console().print(f"- {path}", markup=False, highlight=False, soft_wrap=True)


def first_difference(report: Report) -> float | None:
    """The first difference to the baseline, None where there is none."""
    cells = (table.arms[arm].get(metric) for table in report.tables for metric in table.metrics for arm in table.arms)
    return next((cell.difference.spread.value for cell in cells if cell is not None and cell.difference), None)


def _track(cfg: DictConfig, study: Study, files: Mapping[str, Path]) -> None:
    """Copies the files to the study's run in MLflow, where it has one; a failure is told, not raised."""
    from o3v.config import build
    from o3v.tracking.mlflow_tracker import MlflowSettings
    from o3v.tracking.read_runs import log_to_study
    from o3v.tracking.run import RunFolder

    settings = build(cfg, "logger")
    if isinstance(settings, MlflowSettings):
        log_to_study(settings, RunFolder(study.folder), [path for path in files.values() if path.is_file()], "compare")


def _value(cfg: DictConfig, key: str) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.select(cfg, key)


if __name__ == "__main__":
    main()
