"""Score a model on a benchmark: `python -m o3v.evaluate benchmark=shapes checkpoint=outputs/gspo-SIGNATURE`.

Answers are appended record by record; the same command started again goes on where it stopped. `workers=N` answers
with N processes on this machine; `shard=K/N` is one of N that are started by hand or by a cluster, of which the last to
end writes the table. `predictions=FILE` scores saved answers and needs no model: the records.jsonl of a run (or its
folder), or a file in the benchmark's own format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from o3v.benchmarks.exam import Exam
    from o3v.benchmarks.records import Record
    from o3v.benchmarks.report import Report
    from o3v.benchmarks.shards import Shard
    from o3v.runs import Run

WHERE = ("workers", "shard")
"""Keys that say how a run is spread over processes, not what it computes."""


@command(config_name="evaluate", stoppable=True)
def main(cfg: DictConfig) -> float | None:
    """Answer, score, compare with the trivial baselines; returns the mean total reward, or the first number shown."""
    from pathlib import Path

    from rich.console import Console
    from rich.markdown import Markdown

    result = run(cfg)
    report = Path(result["folder"]) / "report.md"
    if report.is_file():
        Console().print(Markdown(report.read_text()), soft_wrap=True)
    return result.get("reward/total", result.get("headline"))


def run(cfg: DictConfig) -> dict[str, Any]:
    """The evaluation of a configuration: done now, continued, or its result if it is finished."""
    from o3v.benchmarks.shards import read_shard
    from o3v.config import build
    from o3v.runs import open_run
    from o3v.training.world import check_one_task

    if cfg.predictions is not None:
        from o3v.saved import score_saved

        return score_saved(cfg)
    _check_workers(cfg)
    if cfg.shard is None:
        check_one_task()
    build(cfg, "voting").check(cfg.rollout.temperature)
    build(cfg, "model").check(cfg.checkpoint)
    build(cfg, "benchmark").check()
    if cfg.shard is not None:
        return _run_shard(cfg, read_shard(cfg.shard))
    opened = open_run(cfg.name, identity_of(cfg), build(cfg, "logger"), again=cfg.again)
    return opened.result if opened.result is not None else opened.complete(lambda: evaluate(cfg, opened))


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration that names the run: without `WHERE`, the judge by its name, not by its address."""
    from o3v.config import build, resolve

    judge = build(cfg, "judge")
    plain = {key: value for key, value in resolve(cfg).items() if key not in WHERE}
    return plain | {"judge": judge.name if judge is not None else None}


def evaluate(cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Run the benchmark with a model and beside the baselines; returns the model's means."""
    from o3v.benchmarks.exam import exam_of
    from o3v.config import build, resolve
    from o3v.workers import run_workers

    exam = exam_of(build(cfg, "benchmark"))
    if cfg.workers > 1:
        run_workers(answer_shard, resolve(cfg), cfg.workers, run.folder.path, len(exam.questions), _console(cfg))
    else:
        _answer(cfg, exam, run.folder.path, _console(cfg), None)
    return finish(cfg, run)


def finish(cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Judge, write the table, tell the tracker; every question is answered."""
    from o3v.benchmarks.exam import exam_of
    from o3v.benchmarks.shards import merge, read_folder
    from o3v.config import build

    benchmark, folder = build(cfg, "benchmark"), run.folder.path
    exam = exam_of(benchmark)
    records, judged = judge_answers(cfg, benchmark, exam.questions, list(read_folder(folder).values()))
    merge(folder, records)
    report, result = write_table(cfg, benchmark, exam, records, folder, judged.get("judge"))
    _write_rollouts(run, exam, records)
    _write_scaling(cfg, benchmark, records, folder)
    _track(run, report, records, cfg.label)
    return result | judged


def open_benchmark(cfg: DictConfig) -> tuple[Any, dict[str, list[Record]]]:
    """The configured benchmark, and the records of its trivial answers."""
    from o3v.benchmarks.exam import baseline_results, exam_of
    from o3v.config import build

    benchmark = build(cfg, "benchmark")
    return benchmark, baseline_results(benchmark, exam_of(benchmark))


def judge_answers(
    cfg: DictConfig, benchmark: Any, questions: Sequence[Any], records: Sequence[Record]
) -> tuple[list[Record], dict[str, Any]]:
    """Records with the judge's scores, and what a result says about judging; as they are where nothing needs one."""
    from o3v.benchmarks.judge.judging import judge_records
    from o3v.config import build

    judge = build(cfg, "judge")
    if judge is None or not hasattr(benchmark, "judge_column"):
        return list(records), {}
    done = judge_records(benchmark, questions, records, judge)
    told = {"judge": done.judge, "judged": done.judged, "judge_unreadable": done.unreadable}
    return list(done.records), told if done.judged else {}


def write_table(
    cfg: DictConfig, benchmark: Any, exam: Exam | None, records: Sequence[Record], folder: Path, judge: str | None
) -> tuple[Report, dict[str, Any]]:
    """report.json and report.md in the folder; returns the report and the means as a run's result.

    Args:
        cfg: names the row.
        benchmark: gives columns.
        exam: for the trivial answers; None leaves them out.
        records: of the row.
        folder: to write to.
        judge: named in the title; None where nothing was judged.
    """
    from o3v.benchmarks.exam import baseline_results
    from o3v.benchmarks.report import build_report, write_report

    baselines = baseline_results(benchmark, exam) if exam is not None else {}
    results = baselines | {cfg.label: list(records)}
    title = f"{cfg.label} on {benchmark.name} ({benchmark.definition}{f', judge: {judge}' if judge else ''})"
    report = build_report(title, results, benchmark, [(cfg.label, name) for name in baselines])
    own = benchmark.grids(report.results[cfg.label]) if hasattr(benchmark, "grids") else []
    write_report(report, folder, benchmark.shown, own)
    means = {name: e.value for name, e in report.results[cfg.label].items() if e.value == e.value}
    headline = next((means[name] for name in benchmark.shown if name in means), None)
    return report, {"folder": str(folder), "headline": headline} | means


def answer_shard(config: Mapping[str, Any], shard: str) -> None:
    """One worker's share in a process of its own; called by `run_workers`."""
    import os

    import torch
    from omegaconf import OmegaConf

    from o3v.benchmarks.exam import exam_of
    from o3v.benchmarks.shards import read_shard
    from o3v.config import build, register_schemas

    register_schemas()
    cfg, mine = OmegaConf.create(dict(config)), read_shard(shard)
    if not isinstance(cfg, DictConfig):
        raise TypeError("a configuration is a mapping")
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // mine.count))
    if torch.cuda.is_available():
        torch.cuda.set_device(mine.index % torch.cuda.device_count())
    _answer(cfg, exam_of(build(cfg, "benchmark")), _folder(cfg), None, mine)


def _run_shard(cfg: DictConfig, shard: Shard) -> dict[str, Any]:
    """Answer one worker's share; the worker that finds every question answered also writes the table."""
    import fcntl

    from o3v.benchmarks.exam import exam_of
    from o3v.config import build
    from o3v.runs import open_run
    from o3v.tracking.run import RunFolder

    folder = RunFolder(_folder(cfg))
    finished = folder.done()
    if finished is not None:
        return finished
    folder.create()
    exam = exam_of(build(cfg, "benchmark"))
    if len(_answer(cfg, exam, folder.path, _console(cfg), shard)) < len(exam.questions):
        return {"folder": str(folder.path)}
    with (folder.path / ".finish.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {"folder": str(folder.path)}  # another worker is writing the table
        opened = open_run(cfg.name, identity_of(cfg), build(cfg, "logger"), again=False)
        return opened.result if opened.result is not None else opened.complete(lambda: finish(cfg, opened))


def _folder(cfg: DictConfig) -> Path:
    from pathlib import Path

    from o3v.tracking.run import run_signature

    identity = {key: value for key, value in identity_of(cfg).items() if key != "again"}
    return Path(cfg.paths.output_dir) / f"{cfg.name}-{run_signature(identity)}"


def _answer(cfg: DictConfig, exam: Exam, folder: Path, console: Console | None, shard: Shard | None) -> list[Record]:
    """Answer what is left; the model is loaded only if there is something."""
    from o3v.benchmarks.runner import run_benchmark
    from o3v.benchmarks.shards import ALONE, read_folder
    from o3v.reading import clip_reader, save_store_metrics
    from o3v.respond import respondent_of

    done = read_folder(folder)
    mine = (shard or ALONE).pick(exam.questions)
    if all(question.id in done for question in mine):
        return list(done.values())
    reader = clip_reader(cfg)
    respondent = respondent_of(cfg, reader, folder, shard or ALONE)
    records = run_benchmark(exam, respondent, folder, cfg.batch_size, console, shard or ALONE)
    save_store_metrics(reader, folder, (shard or ALONE).index)
    return records


def _check_workers(cfg: DictConfig) -> None:
    from o3v.errors import ConfigError

    if cfg.workers < 1:
        raise ConfigError(f"workers={cfg.workers}: must be at least 1")
    if cfg.shard is not None and (cfg.workers > 1 or cfg.again):
        raise ConfigError(f"shard={cfg.shard}: is one worker of a run in progress; leave out workers= and again=")


def _console(cfg: DictConfig) -> Console | None:
    from rich.console import Console

    return Console(stderr=True) if cfg.trainer.lightning.enable_progress_bar else None


def _write_rollouts(run: Run, exam: Exam, records: Sequence[Record]) -> None:
    """Answers to samples of a data set, for `o3v.rescore`."""
    from o3v.replay.answers import answered_rollouts
    from o3v.replay.files import write_lines

    if any("sample" in question.truth for question in exam.questions):
        write_lines(run.rollouts, answered_rollouts(exam.questions, records))


def _write_scaling(cfg: DictConfig, benchmark: Any, records: Sequence[Record], folder: Path) -> None:
    """Score against the number of paths, where a vote was held."""
    from o3v.config import build

    voter = build(cfg, "voting")
    if voter.paths > 1:
        from o3v.benchmarks.voting.table import report_scaling

        scored = {name for record in records for name in record.scores}
        column = next(name for name in ("acc", *benchmark.shown, *sorted(scored)) if name in scored)
        report_scaling(folder, cfg.label, column, voter.rule, benchmark.resamples, cfg.seed)


def _track(run: Run, report: Report, records: Sequence[Record], label: str) -> None:
    from o3v.reading import saved_store_metrics

    scores = {f"eval/{name}": e.value for name, e in report.results[label].items()}
    store = {f"eval/{name}": value for name, value in saved_store_metrics(run.folder.path).items()}
    run.tracker.metrics(scores | store, 0)
    rows: list[Mapping[str, Any]] = [
        {"sample": r.sample_id, "task": r.task, "text": r.text, **r.scores} for r in records
    ]
    run.tracker.table("answers", rows, 0)
    for name in ("records.jsonl", "report.json", "report.md"):
        run.tracker.artifact(run.folder.path / name, "")


if __name__ == "__main__":
    main()
