"""Measurements: `python -m o3v.bench WHAT key=value ...`; the first word says what is measured.

A further one is a function here under `@command(config_name="bench_WHAT")`, its file conf/bench_WHAT.yaml and the
schema of that file in o3v.config.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.bench_curation import curation
from o3v.bench_plan import plan
from o3v.bench_scale import scale
from o3v.bench_video import video
from o3v.cli import EXIT_USER_ERROR, command, say
from o3v.config_check import unknown

if TYPE_CHECKING:
    from o3v.measure.case import StepCase
    from o3v.measure.report import Report
    from o3v.models.load import ModelSpec

log = logging.getLogger(__name__)


@command(config_name="bench_step")
def step(cfg: DictConfig) -> float | None:
    """What one GSPO step costs: the arms against each other and against the floor; returns shared over floor time."""
    from o3v.config import resolve
    from o3v.measure.case import check_arms

    plain = resolve(cfg)
    check_arms(plain["arms"])
    case = step_case(cfg)
    report = _measure(case, _gates(cfg), plain["arms"], plain["repeats"])
    from o3v.measure.report import show, write_report

    file = write_report(report, plain["out"], ["python", "-m", "o3v.bench", "step", *sys.argv[1:]])
    show(report)
    log.info("%s, and the plot beside it", file)
    return report.arm("shared")["later_over_floor"] if "shared" in report.arms else None


def _measure(case: StepCase, gates: list[ModelSpec], arms: list[str], repeats: int) -> Report:
    """Exactness first: without it there are no figures."""
    import torch

    from o3v.measure.exactness import check_exactness
    from o3v.measure.report import Report
    from o3v.measure.worker import measure_arm

    torch.set_num_threads(case.threads)
    report = Report(case, tuple(check_exactness(gates, case.sampling, case.seed)))
    for number in range(repeats):  # arms alternate, so that a slow minute of the machine hits all of them
        for arm in arms:
            log.info("arm %s, process %d of %d", arm, number + 1, repeats)
            report = report.added(measure_arm(arm, case))
    return report


def _gates(cfg: DictConfig) -> list[ModelSpec]:
    """The small models on which exactness is looked at."""
    from o3v.config import build

    return [build(cfg, f"gates.{name}") for name in cfg.gates]


def step_case(cfg: DictConfig) -> StepCase:
    """The case that a configuration of conf/bench_step.yaml describes."""
    from o3v.config import build
    from o3v.measure.case import StepCase

    return StepCase(
        spec=build(cfg, "model"),
        vocab_size=cfg.vocab_size,
        prompt=cfg.prompt,
        sampling=build(cfg, "rollout"),
        objective=build(cfg, "objective"),
        image_px=cfg.image_px,
        micro_batch=cfg.group_size if cfg.micro_batch is None else cfg.micro_batch,
        prompt_pass=cfg.prompt_pass,
        steps=cfg.steps,
        count=cfg.count,
        threads=cfg.threads,
        lr=cfg.lr,
        seed=cfg.seed,
    )


@command(config_name="bench_gpu_step")
def gpu_step(cfg: DictConfig) -> float | None:
    """What the parts of a GSPO step cost on a GPU, by every decoder and training pass; returns nothing."""
    from o3v.config import build, resolve
    from o3v.measure.gpu import GpuCase, measure_gpu
    from o3v.measure.gpu_report import show, write

    plain = resolve(cfg)
    case = GpuCase(
        spec=build(cfg, "model"),
        sampling=build(cfg, "rollout"),
        **{name: plain[name] for name in ("vocab_size", "sizes", "image_px", "most_frames", "exact_size")},
        **{name: plain[name] for name in ("repeats", "decoders", "training", "seed")},
    )
    for result in measure_gpu(case):
        log.info("%s", write(result, plain["out"], ["python", "-m", "o3v.bench", "gpu_step", *sys.argv[1:]]))
        show(result)
    return None


@command(config_name="bench_padding")
def padding(cfg: DictConfig) -> float | None:
    """Tokens lost to padding under groupings of the mix; returns the share of tokens that the widest window saves."""
    from pathlib import Path

    from o3v.config import build, resolve
    from o3v.measure.padding import PaddingCase, padding_rows, padding_text
    from o3v.replay.files import write_json

    plain = resolve(cfg)
    names = ("rows", "devices", "prompts_per_device", "windows", "factor", "seed")
    rows = padding_rows(PaddingCase(**{name: plain[name] for name in names}, reader=build(cfg, "reader")))
    log.info("padding of one epoch:\n%s", padding_text(rows))
    if cfg.out is not None:
        write_json(Path(cfg.out), {"case": plain, "rows": rows})
    return rows[-1]["saved"]


@command(config_name="bench_check")
def check(cfg: DictConfig) -> float | None:
    """How long the check of a data set takes, and what it makes of damage; returns the second check's seconds."""
    from pathlib import Path

    from o3v.config import resolve
    from o3v.datacheck.measure import CheckCase, measure_check, write_results

    plain = resolve(cfg)
    case = CheckCase(**{name: plain[name] for name in CheckCase.__dataclass_fields__})
    results = measure_check(case, Path(plain["work"]), ["python", "-m", "o3v.bench", "check", *sys.argv[1:]])
    log.info("%s", write_results(results, Path(plain["out"])))
    for part in ("first", "second", "damaged_rows", "damaged_files"):
        log.info("%s: %s", part, results[part])
    return float(results["second"]["seconds"]["median"])


@command(config_name="bench_coverage")
def coverage(cfg: DictConfig) -> float | None:
    """How often the intervals of a comparison hold the truth; returns the least share of those in use."""
    from o3v.comparison.coverage import cases_of, measure, show, write
    from o3v.config import resolve

    plain = resolve(cfg)
    found = measure(cases_of(plain), plain["repeats"], plain["seed"])
    show(found)
    if plain["out"] is not None:
        write(found, plain, plain["out"], ["python", "-m", "o3v.bench", "coverage", *sys.argv[1:]])
    return min(shares["in_use"] for _, shares in found)


COMMANDS: dict[str, Callable[[], None]] = {
    "step": step,
    "gpu_step": gpu_step,
    "video": video,
    "check": check,
    "curation": curation,
    "padding": padding,
    "coverage": coverage,
    "plan": plan,
    "scale": scale,
}
"""First word of the command line -> what it runs."""


def main() -> None:
    """Hand the command line, without its first word, to what that word names."""
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in COMMANDS:
        del sys.argv[1]
        COMMANDS[word]()
    elif word in {"--help", "-h"}:
        sys.stdout.write(_usage())
    else:
        say(unknown(f"python -m o3v.bench {word}", word, COMMANDS, "measurement"))
        sys.exit(EXIT_USER_ERROR)


def _usage() -> str:
    lines = [f"  python -m o3v.bench {word} --help    {_first_line(run)}" for word, run in COMMANDS.items()]
    return "\n".join(["Measurements, each with its own configuration:", "", *lines, ""])


def _first_line(run: Callable[[], None]) -> str:
    return (run.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main()
