"""Make rows with evidence out of videos: `python -m o3v.curate rows=FILE media_root=FOLDER annotator=endpoint`.

Filters sources, lets a model propose key frames, boxes and reasoning, verifies them, and writes an STGR file and a
report. Every decision is recorded; nothing is asked twice, so the same command goes on after a stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from o3v.curation.asking import Asking
    from o3v.curation.folder import CurationFolder
    from o3v.curation.items import Outcome
    from o3v.curation.pipeline import Curation


@command(config_name="curate")
def main(cfg: DictConfig) -> float | None:
    """Run the wanted stages; returns the number of rows after the last of them."""
    from o3v.curation.pipeline import check_stages

    running = check_stages(list(cfg.stages), cfg.stage)
    curation = curation_of(cfg)
    for stage in running:
        curation.run(stage, _watched)
    return _finish(cfg, curation, running[-1])


def curation_of(cfg: DictConfig) -> Curation:
    """The curation of a configuration; makes its folder, loads and asks nothing.

    Raises:
        ConfigError: a value that is not allowed.
        StorageError: the folder cannot be written.
    """
    from pathlib import Path

    from o3v.config import build, resolve
    from o3v.curation.folder import CurationFolder
    from o3v.curation.pipeline import Curation, Rows
    from o3v.tracking.run import RunFolder

    path = Path(cfg.out or f"{cfg.paths.output_dir}/curation/{Path(cfg.rows).stem}")
    rows = Rows(Path(cfg.rows), cfg.layout, Path(cfg.media_root))
    RunFolder(path).create()
    RunFolder(path).write_config(resolve(cfg))
    asking = _asking(cfg, "annotator", path)
    return Curation(
        folder=CurationFolder(path, tuple(cfg.stages)),
        rows=rows,
        source_filter=build(cfg, "filter"),
        limits=build(cfg, "limits"),
        box_check=build(cfg, "box_check"),
        consistency=build(cfg, "consistency"),
        asking=asking,
        verifying=asking if cfg.verifier is None else _asking(cfg, "verifier", path),
        prompts=build(cfg, "prompts"),
        reader=build(cfg, "reader"),
        view=build(cfg, "view"),
        sentence_view=build(cfg, "sentence_view"),
        publisher=build(cfg, "publish", root=path / "data", media_root=rows.media_root),
        workers=cfg.workers,
    )


def _asking(cfg: DictConfig, group: str, path: Path) -> Asking:
    from o3v.config import build
    from o3v.curation.asking import Asking
    from o3v.endpoint.kept import KeptFiles

    kept = KeptFiles(str(path / "replies"))
    return Asking(build(cfg, group), kept, cfg.ask_failed_again, cfg.max_failures)


def _finish(cfg: DictConfig, curation: Curation, last: str) -> float:
    """Report, and what a user wants to see at the end."""
    import logging

    from rich.console import Console

    from o3v.config import build
    from o3v.curation.report import Report

    folder = curation.folder
    page = Report(folder, build(cfg, "report"), curation.reader, curation.rows.media_root).write()
    console = Console()
    _show(console, folder)
    count = len(folder.candidates_after(last))
    if not count:
        logging.getLogger(__name__).warning("no row was kept; the report says why")
    console.print(f"report    {page}\ndecisions {folder.path / 'decisions.jsonl'}", markup=False, highlight=False)
    if last == folder.stages[-1] and count:
        console.print(f"rows      {curation.publisher.root / 'json_data'}", markup=False, highlight=False)
    asked = sum(one.asked for one in {id(one): one for one in (curation.asking, curation.verifying)}.values())
    console.print(f"questions asked in this run: {asked}", markup=False, highlight=False)
    return float(count)


def _show(console: Console, folder: CurationFolder) -> None:
    """Counts by stage and reason."""
    from rich.table import Table

    summary = folder.summary()
    table = Table("stage", "rows left", "decisions")
    for stage, reasons in summary["reasons"].items():
        said = ", ".join(f"{name} {count}" for name, count in reasons.items())
        table.add_row(stage, str(summary["rows"].get(stage, "")), said)
    console.print(table)


def _watched(outcomes: Iterable[Outcome], total: int, stage: str) -> Iterable[Outcome]:
    from rich.console import Console
    from rich.progress import track

    return track(outcomes, description=stage, total=total, console=Console(stderr=True))


if __name__ == "__main__":
    main()
