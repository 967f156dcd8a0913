"""Score a model on a benchmark: `python -m o3v.evaluate benchmark=shapes checkpoint=outputs/gspo-SIGNATURE`.

Answers are appended record by record; the same command started again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.benchmarks.records import Record, Scorer
    from o3v.benchmarks.report import Report
    from o3v.models.policy import Policy
    from o3v.rollout.sampler import Sampling
    from o3v.runs import Run
    from o3v.types import Prompt


@command(config_name="evaluate")
def main(cfg: DictConfig) -> float | None:
    """Answer, score, compare with the trivial baselines; returns the mean total reward."""
    from pathlib import Path

    from rich.console import Console
    from rich.markdown import Markdown

    result = run(cfg)
    Console().print(Markdown((Path(result["folder"]) / "report.md").read_text()), soft_wrap=True)
    return result.get("reward/total")


def run(cfg: DictConfig) -> dict[str, Any]:
    """The evaluation of a configuration: done now, continued, or its result if it is finished."""
    from o3v.config import build, resolve
    from o3v.runs import open_run

    build(cfg, "model").check(cfg.checkpoint)
    opened = open_run(cfg.name, resolve(cfg), build(cfg, "logger"), again=cfg.again)
    return opened.result if opened.result is not None else opened.complete(lambda: evaluate(cfg, opened))


def evaluate(cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Run the benchmark with a model and beside the baselines; returns the model's means."""
    from rich.console import Console

    from o3v.benchmarks.report import build_report, write_report
    from o3v.benchmarks.runner import run_benchmark
    from o3v.benchmarks.shapes import SHOWN

    benchmark, baselines = open_benchmark(cfg)
    console = Console(stderr=True) if cfg.trainer.lightning.enable_progress_bar else None
    records = run_benchmark(
        benchmark.samples(), _respondent(cfg, run), _scorer(cfg, benchmark), run.records, cfg.batch_size, console
    )
    results = baselines | {cfg.label: records}
    report = build_report(cfg.label, results, benchmark, [(cfg.label, name) for name in baselines])
    write_report(report, run.folder.path, SHOWN)
    _track(run, report, records, cfg.label)
    values = {name: estimate.value for name, estimate in report.results[cfg.label].items()}
    return {"folder": str(run.folder.path)} | {name: value for name, value in values.items() if value == value}


def open_benchmark(cfg: DictConfig) -> tuple[Any, dict[str, list[Record]]]:
    """The benchmark on held-out samples, and the records of the trivial baselines, fitted on the training rows."""
    from o3v.benchmarks.baselines import BASELINES, baseline_records, fit_constants
    from o3v.config import build
    from o3v.video.decode import probe

    benchmark = build(cfg, "benchmark", dataset=build(cfg, "data.heldout"))
    samples, score = benchmark.samples(), _scorer(cfg, benchmark)
    constants = fit_constants(build(cfg, "data.dataset").samples())
    lengths = {s.id: probe(s.video_path).duration_s if s.video_path else 0.0 for s in samples}
    baselines = {name: baseline_records(name, samples, constants, lambda s: lengths[s.id], score) for name in BASELINES}
    return benchmark, baselines


def _scorer(cfg: DictConfig, benchmark: Any) -> Scorer:
    """The benchmark's scores and the rewards at the end of training."""
    from o3v.benchmarks.records import with_rewards
    from o3v.config import build

    return with_rewards(benchmark.score, build(cfg, "reward"), 1.0)


def _respondent(cfg: DictConfig, run: Run) -> Any:
    import torch

    from o3v.benchmarks.records import Identity
    from o3v.benchmarks.runner import Respondent
    from o3v.config import build
    from o3v.data.prepare import Preparer
    from o3v.models.load import load_policy

    settings = build(cfg, "trainer")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    policy = load_policy(build(cfg, "model"), cfg.checkpoint)
    if settings.lightning["accelerator"] == "gpu":
        policy.model.to("cuda")
    return Respondent(
        Preparer(build(cfg, "data.reader"), policy.family),
        respond_with(policy, build(cfg, "rollout"), cfg.seed),
        Identity(cfg.checkpoint or cfg.model.path, run.folder.path.name, cfg.seed),
    )


def respond_with(policy: Policy, sampling: Sampling, seed: int) -> Callable[[Sequence[Prompt]], list[str]]:
    """Prompts -> one text each, by this model; what a prompt is answered does not depend on its neighbours."""
    from o3v.errors import ConfigError
    from o3v.rollout.sampler import sample_completions

    if sampling.group_size != 1:
        raise ConfigError(f"rollout.group_size={sampling.group_size}: a question is answered once; allowed is 1")

    def respond(prompts: Sequence[Prompt]) -> list[str]:
        encoded = policy.encode(prompts).to(policy.device)
        return list(sample_completions(policy, encoded, sampling, [seed] * len(prompts)).texts)

    return respond


def _track(run: Run, report: Report, records: Sequence[Record], label: str) -> None:
    run.tracker.metrics({f"eval/{name}": e.value for name, e in report.results[label].items()}, 0)
    rows: list[Mapping[str, Any]] = [
        {"sample": r.sample_id, "task": r.task, "text": r.text, **r.scores} for r in records
    ]
    run.tracker.table("answers", rows, 0)
    for name in ("records.jsonl", "report.json", "report.md"):
        run.tracker.artifact(run.folder.path / name, "")


if __name__ == "__main__":
    main()
