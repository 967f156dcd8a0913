"""`python -m o3v.bench curation`: the command o3v.curate on the generated world, whole and with each stage left out."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.measure.curation import World

log = logging.getLogger(__name__)

STAGES = ("filter", "propose", "boxes", "verify", "consistency", "sentences", "write")
LEFT_OUT = ("boxes", "verify", "consistency", "sentences")
NO_CHECKS = ("filter", "propose", "write")


@command(config_name="bench_curation")
def curation(cfg: DictConfig) -> float | None:
    """What each stage of curation catches where every error is known; returns the precision of the kept rows."""
    from o3v.config import build
    from o3v.measure.curation import write_world
    from o3v.tracking.run import RunFolder

    folder, work = RunFolder(Path(cfg.out)), Path(cfg.work)
    folder.create()
    shutil.rmtree(work, ignore_errors=True)  # replies of an earlier measurement
    world = write_world(build(cfg, "world"), work / "world", cfg.clips, cfg.seed)
    arms: dict[str, Any] = {}
    with _served(cfg, 0.0) as url:
        arms["all stages"] = _arm(cfg, world, url, "all", STAGES)
        for stage in LEFT_OUT:
            arms[f"without {stage}"] = _arm(cfg, world, url, f"without_{stage}", _without(stage))
        arms["no check"] = _arm(cfg, world, url, "no_check", NO_CHECKS)
    with _served(cfg, cfg.verifier_error) as url:
        arms[f"verifier wrong {cfg.verifier_error:.0%}"] = _arm(cfg, world, url, "erring", STAGES)
    local = _local(cfg, work)
    folder.write_json("results.json", _results(cfg, arms, local))
    _show(arms)
    return arms["all stages"]["precision"]


def _without(stage: str) -> tuple[str, ...]:
    return tuple(name for name in STAGES if name != stage)


@contextmanager
def _served(cfg: DictConfig, verifier_error: float) -> Iterator[str]:
    """Address of a scripted annotator."""
    from o3v.curation.language import BoxLanguage
    from o3v.endpoint.loopback import said, serving
    from o3v.measure.oracle import Oracle

    oracle = Oracle(
        tuple(cfg.world.colours), BoxLanguage("thousand", "xyxy"), dict(cfg.faults), verifier_error, cfg.seed
    )
    with serving(lambda body, before: (200, said(oracle.reply(body["messages"])), {})) as served:
        yield served.url


def _arm(cfg: DictConfig, world: World, url: str, name: str, stages: Sequence[str]) -> dict[str, Any]:
    """One curation of the same rows, measured."""
    from o3v.measure.curation import injected_in, measured

    endpoint = [f"annotator.client.url={url}", "annotator.client.model=oracle", "annotator.boxes.unit=thousand"]
    begin, known = time.perf_counter(), Path(cfg.work) / "all" / "replies"
    if name not in ("all", "erring"):
        shutil.copytree(known, Path(cfg.work) / name / "replies")  # the same questions have the same replies
    folder = _curate(cfg, world, name, [*endpoint, f"stages=[{','.join(stages)}]"])
    seconds = time.perf_counter() - begin
    injected = injected_in(folder.path / "replies")
    kept = folder.candidates_after(stages[-1])
    result = measured(world, kept, folder.decisions(), injected)
    return result | folder.summary() | {"seconds": round(seconds)}


def _curate(cfg: DictConfig, world: World, name: str, overrides: Sequence[str]) -> Any:
    """Run the command; its folder."""
    from o3v.compose import compose_command, override
    from o3v.curate import curation_of, main

    places = {"rows": str(world.rows), "media_root": str(world.rows.parent), "out": str(Path(cfg.work) / name)}
    given = [override(key, value) for key, value in places.items()]
    composed = compose_command("curate", [*given, "reader.max_pixels=100352", "workers=2", *overrides])
    main.__wrapped__(composed)  # type: ignore[attr-defined]
    return curation_of(composed).folder


def _local(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """The tiny local model proposes and the scripted one verifies; then it verifies itself."""
    from o3v.config import build
    from o3v.measure.curation import measured, write_world

    if not cfg.local_clips:
        return None
    world = write_world(build(cfg, "world"), folder / "local_world", cfg.local_clips, cfg.seed + 1)
    local = ["annotator=local", "rollout.max_new_tokens=96"]
    results: dict[str, Any] = {}
    with _served(cfg, 0.0) as url:
        oracle = ["annotator@verifier=endpoint", f"verifier.client.url={url}", "verifier.client.model=oracle"]
        for name, verifier in (("scripted verifier", oracle), ("its own verifier", [])):
            run = _curate(cfg, world, f"local_{name.split()[0]}", [*local, *verifier])
            kept = run.candidates_after(STAGES[-1])
            counts = measured(world, kept, run.decisions(), {})
            results[name] = {key: counts[key] for key in ("kept", "right", "precision", "precision_95")}
            results[name] |= run.summary()
    return results


def _results(cfg: DictConfig, arms: Mapping[str, Any], local: Mapping[str, Any] | None) -> dict[str, Any]:
    import platform
    import sys

    from o3v.config import resolve

    settings = {key: value for key, value in resolve(cfg).items() if key not in ("paths", "out", "work")}
    machine = f"{platform.machine()}, CPython {platform.python_version()}"
    given = [part for part in sys.argv[1:] if not part.startswith("work=")]  # a place, no setting
    command_line = ["python", "-m", "o3v.bench", "curation", *given]
    return {"command": command_line, "machine": machine, "settings": settings, "arms": arms, "local": local}


def _show(arms: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stages", "proposed", "kept", "right", "precision", "95 %", "sound kept")
    for name, arm in arms.items():
        cells = [arm[key] for key in ("proposed", "kept", "right", "precision", "precision_95", "sound_proposals_kept")]
        table.add_row(name, *map(str, cells))
    Console().print(table)
