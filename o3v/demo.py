"""The demo: `make demo` or `python -m o3v.demo`.

For each seed: SFT from the shipped base weights, GSPO from that SFT, and, for comparison, SFT alone for the CPU time of
both; each is evaluated on scenes that no training row shows. Every stage is an ordinary run of `o3v.train` or
`o3v.evaluate`, so a killed demo continues and a finished stage is not repeated.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from o3v.benchmarks.records import Record
    from o3v.benchmarks.report import Report

log = logging.getLogger(__name__)

COLUMNS = ("reward/total", "acc", "tiou", "box_iou", "claim_iou_strict", "mAM", "mLGM", "parsed")
"""Of the printed table; report.json has all."""

TRIVIAL = ("all_whole", "all_constant")
"""Baselines that answer everything: whole video and full frame, and the constants that fit the training rows best."""


@dataclass(frozen=True)
class Chain:
    """Stages that follow each other in one process.

    Attributes:
        seed: of every stage; None for the evaluation of the base weights, which no seed changes.
        overrides: stage (common, sft, gspo, evaluation) -> overrides of its run.
        output_dir: below which all runs stand.
    """

    seed: int | None
    overrides: dict[str, list[str]]
    output_dir: str

    @property
    def name(self) -> str:
        """For files and the screen."""
        return "base" if self.seed is None else f"seed-{self.seed}"

    @property
    def summary(self) -> Path:
        """What the chain ended with: the folders of its evaluations."""
        return Path(self.output_dir) / "demo" / f"{self.name}.json"


@command(config_name="demo")
def main(cfg: DictConfig) -> float | None:
    """Run all seeds side by side, then print what was learned."""
    from o3v.config import resolve

    plain = resolve(cfg)
    output_dir = plain["paths"]["output_dir"]
    stages = {name: plain[name] for name in ("common", "sft", "gspo", "evaluation")}
    chains = [Chain(seed, stages, output_dir) for seed in (None, *plain["seeds"])]
    started = time.monotonic()
    _write_data(chains[0])
    _run_chains(chains)
    _show(chains, time.monotonic() - started)
    return None


def run_chain(chain: Chain) -> None:
    """All stages of a chain, in order; what is finished is skipped. Writes the summary."""
    from o3v.tracking.run import RunFolder

    done = {"evaluations": {"base": _evaluate(chain, "base", None)}} if chain.seed is None else _run_seed(chain)
    RunFolder(chain.summary.parent).write_json(chain.summary.name, done)


def _run_seed(chain: Chain) -> dict[str, Any]:
    """SFT, GSPO on it, SFT for the CPU time of both; then what each has learned."""
    sft = _train(chain, "sft", [])
    gspo = _train(chain, "gspo", [f"init_from={sft['model']}"])
    share = (sft["cpu_s"] + gspo["cpu_s"]) / sft["cpu_s"]
    batches = round(sft["batches"] * share)
    longer = _train(chain, "sft", [f"trainer.batches={batches}", "name=sft_longer"])
    folders = {
        f"SFT, seed {chain.seed}": _evaluate(chain, "sft", sft["model"]),
        f"SFT + GSPO, seed {chain.seed}": _evaluate(chain, "gspo", gspo["model"]),
        f"SFT of equal CPU time, seed {chain.seed}": _evaluate(chain, "sft_longer", longer["model"]),
    }
    seconds = {"sft": sft["cpu_s"], "gspo": gspo["cpu_s"], "sft_longer": longer["cpu_s"]}
    return {"evaluations": folders, "cpu_s": seconds}


def _train(chain: Chain, stage: str, more: list[str]) -> dict[str, Any]:
    """A training run's result."""
    from o3v import train

    cfg = _compose("train", chain, [*chain.overrides[stage], *more, f"seed={chain.seed}"])
    return train.run(cfg)


def _evaluate(chain: Chain, name: str, model: str | None) -> str:
    """Folder of an evaluation."""
    from o3v import evaluate

    checkpoint = "null" if model is None else model
    cfg = _compose("evaluate", chain, [*chain.overrides["evaluation"], f"name=eval_{name}", f"checkpoint={checkpoint}"])
    return evaluate.run(cfg)["folder"]


def _compose(root: str, chain: Chain, overrides: list[str]) -> DictConfig:
    """A configuration as the command line would compose it, without a progress bar."""
    from o3v.compose import compose_command, override

    places = ["trainer.lightning.enable_progress_bar=false", override("paths.output_dir", chain.output_dir)]
    return compose_command(root, [*chain.overrides["common"], *overrides, *places])


def _write_data(chain: Chain) -> None:
    """Write the generated world's files before several processes want them."""
    from o3v.config import build

    cfg = _compose("evaluate", chain, [])
    for part in ("data.dataset", "data.heldout"):
        build(cfg, part).write()


def _run_chains(chains: list[Chain]) -> None:
    """One process a chain; stops all when one fails.

    Raises:
        UserError: a chain failed; names its log.
    """
    from o3v.errors import UserError

    processes = {chain.name: _start(chain) for chain in chains}
    try:
        _watch(processes, chains)
        failed = [chain for chain in chains if processes[chain.name].exitcode]
    finally:
        for process in processes.values():
            process.terminate()
    for chain in failed:
        raise UserError(f"the stages of {chain.name} failed; the last lines of {_log_file(chain)} say why")


def _start(chain: Chain) -> BaseProcess:
    process = get_context("spawn").Process(target=_in_process, args=(chain,), name=chain.name)
    process.start()
    return process


def _log_file(chain: Chain) -> Path:
    return chain.summary.with_suffix(".log")


def _in_process(chain: Chain) -> None:
    """A chain in its own process, its output in a file; ends when the demo itself is gone."""
    import sys

    from o3v.config import register_schemas
    from o3v.workers import end_with_parent

    end_with_parent()
    _log_file(chain).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout = sys.stderr = _log_file(chain).open("a", buffering=1)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    register_schemas()
    run_chain(chain)


def _watch(processes: dict[str, BaseProcess], chains: list[Chain]) -> None:
    """Show what each chain is doing until all have ended or one has failed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {chain.name: progress.add_task(chain.name, total=None, state="starting") for chain in chains}
        while any(process.is_alive() for process in processes.values()):
            if any(process.exitcode for process in processes.values()):
                return
            for chain in chains:
                progress.update(bars[chain.name], state=_last_line(_log_file(chain)))
            time.sleep(1.0)


def _last_line(path: Path) -> str:
    """What a chain said last, without its date."""
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1][-100:].split(": ", 1)[-1] if lines else "starting"


def _show(chains: list[Chain], seconds: float) -> None:
    """Print the tables, write the report, draw one answer."""
    import json

    from rich.console import Console

    from o3v.benchmarks.records import read_records
    from o3v.benchmarks.report import write_report

    summaries = [json.loads(chain.summary.read_text()) for chain in chains]
    folders = {name: path for summary in summaries for name, path in summary["evaluations"].items()}
    results = {name: read_records(Path(path) / "records.jsonl") for name, path in folders.items()}
    seeds = chains[1:]
    report = _report(seeds, results)
    folder = seeds[0].summary.parent
    write_report(report, folder, COLUMNS)
    console = Console(width=180)
    console.print(report.results_grid(COLUMNS).rich())
    console.print(report.differences_grid(("reward/total",)).rich())
    picture = _draw(seeds[0], results[f"SFT + GSPO, seed {seeds[0].seed}"], folder)
    for chain, summary in zip(seeds, summaries[1:], strict=True):
        spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in summary["cpu_s"].items())
        console.print(f"{chain.name}: CPU time of training: {spent}")
    console.print(f"{seconds:.0f} s in all; report {folder}/report.md, evidence {picture}, runs: make ui")


def _report(chains: list[Chain], results: dict[str, list[Record]]) -> Report:
    """Everything side by side; differences of stages, and of the last stage to each trivial baseline."""
    from o3v.benchmarks.report import build_report
    from o3v.evaluate import open_benchmark

    benchmark, baselines = open_benchmark(_compose("evaluate", chains[0], []))
    pairs = []
    for chain in chains:
        sft, gspo = f"SFT, seed {chain.seed}", f"SFT + GSPO, seed {chain.seed}"
        pairs += [(sft, "base"), (gspo, sft), (gspo, f"SFT of equal CPU time, seed {chain.seed}")]
        pairs += [(model, name) for model in (sft, gspo) for name in TRIVIAL]
    return build_report("generated world, held-out scenes", baselines | results, benchmark, pairs)


def _draw(chain: Chain, records: list[Record], folder: Path) -> Path:
    """Picture and film of the first answer about a video that tells objects apart, right or wrong."""
    from o3v.config import build
    from o3v.data.prepare import Preparer
    from o3v.evidence.draw import evidence_picture
    from o3v.evidence.film import evidence_film
    from o3v.grounding.parse import parse_completion
    from o3v.models.family import find_family
    from o3v.types import Task

    cfg = _compose("evaluate", chain, [])
    record = next(r for r in records if r.task == str(Task.TEMPORAL_SPATIAL))
    sample = next(s for s in build(cfg, "data.heldout").samples() if s.id == record.sample_id)
    prompt = Preparer(build(cfg, "data.reader"), find_family(cfg.model.family))(sample)
    completion = parse_completion(record.text, prompt.box_scale)
    path = folder / "evidence.png"
    evidence_picture(prompt.clip, completion, sample.question, sample).save(path)
    evidence_film(prompt.clip, completion, sample.question, path.with_suffix(".mp4"), sample)
    return path


if __name__ == "__main__":
    main()
