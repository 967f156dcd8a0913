"""What a stage will cost before it starts: `python -m o3v.plan experiment=NAME [model=... trainer=... cluster=...]`.

No weights and no data are needed. A plan that cannot fit ends with exit code 2 and the nearest change that would.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.planning.case import Lengths, PlanCase

log = logging.getLogger(__name__)


@command(config_name="plan")
def main(cfg: DictConfig) -> float | None:
    """Compose, count, tell; returns the expected peak in GiB a device."""
    from rich.console import Console

    from o3v.planning.changes import check_fits
    from o3v.planning.memory import plan_memory
    from o3v.planning.report import plan_notes, plan_tables, plan_values
    from o3v.planning.sizes import read_sizes

    case = planned(cfg)
    sizes = read_sizes(case.spec, cfg.vocab_size)
    memory = plan_memory(case, sizes)
    values = plan_values(case, sizes, memory)
    console = Console()
    for shown in (*plan_tables(values), *plan_notes(values)):
        console.print(shown, highlight=False)
    limit = cfg.gpu_memory_gib * (1 - cfg.margin)
    if case.on_gpu:
        own = {"layout": "auto", "gpus": None}
        check_fits(case, sizes, limit, [name for name, usual in own.items() if cfg[name] != usual])
        console.print(f"fits: {memory.peak / 2**30:.1f} of {limit:.1f} GiB, highest in the {memory.moment}")
    if cfg.out is not None:
        from pathlib import Path

        from o3v.replay.files import write_json

        write_json(Path(cfg.out), values)
    return memory.peak / 2**30


def planned(cfg: DictConfig) -> PlanCase:
    """The step that a configuration describes; imports neither the trainer nor any data's media."""
    from o3v.config import build, resolve
    from o3v.planning.case import PlanCase
    from o3v.planning.engines import engine_of, find_engine, plain_name
    from o3v.training.layouts import check_sharded
    from o3v.training.world import world_size

    plain, spec, objective = resolve(cfg), build(cfg, "model"), build(cfg, "objective")
    trainer, rl = plain["trainer"], objective.needs_rollout
    devices = world_size(trainer["lightning"]) if cfg.gpus is None else cfg.gpus
    follows = cfg.layout == "auto"
    engine = engine_of(trainer["layout"], trainer["lightning"], devices) if follows else plain_name(cfg.layout)
    find_engine(engine)
    check_sharded(engine, spec.quantization, None)
    return PlanCase(
        spec=spec,
        engine=engine,
        devices=devices,
        kind="rl" if rl else "sft",
        kl=rl and bool(objective.kl_coef),
        group_size=plain["rollout"]["group_size"] if rl else 1,
        prompts=trainer["prompts_per_device"],
        minibatches=objective.minibatches if rl else 1,
        updates_per_rollout=objective.updates_per_rollout if rl else 1,
        prompt_pass=trainer["prompt_pass"],
        prompts_per_pass=trainer["prompts_per_pass"],
        lengths=_lengths(cfg, plain, "rl" if rl else "sft"),
        on_gpu=trainer["lightning"]["accelerator"] != "cpu" if follows else engine != "cpu",
        keep_whole=trainer["keep_whole"],
    )


def _lengths(cfg: DictConfig, plain: dict[str, Any], kind: str) -> Lengths:
    """Given lengths win; else the data's largest sample, or the reader's bound."""
    from dataclasses import replace

    from o3v.config import build
    from o3v.models.family import find_family
    from o3v.planning.lengths import Asked, largest_lengths

    factor = find_family(plain["model"]["family"]).factor
    asked = Asked(kind, plain["data"]["max_new_tokens"], cfg.text_tokens, cfg.key_frames, factor)
    found = largest_lengths(build(cfg, "data.dataset"), build(cfg, "data.reader"), asked, cfg.data.lengths_folder)
    given = {name: cfg[name] for name in ("prompt", "completion", "frames") if cfg[name] is not None}
    return replace(found, **given, source="given, else " + found.source) if given else found


if __name__ == "__main__":
    main()
