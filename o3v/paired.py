"""Compare two result files: `python -m o3v.paired a=FILE b=FILE benchmark=vstar`.

Paired differences on the common questions, with an interval by video, p-values, and what makes the two less
comparable. Needs no model and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from o3v.benchmarks.pairs import Comparison


@command(config_name="paired")
def main(cfg: DictConfig) -> float | None:
    """Compare, show, write; returns the first difference."""
    from pathlib import Path

    from rich.console import Console

    compared = run(cfg)
    console = Console()
    console.width = max(console.width, 110)  # a table that is cut says nothing; a narrow terminal wraps it
    console.print(compared.grid().rich())
    for line in compared.told():
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    if cfg.out is not None:
        write(compared, Path(cfg.out))
        console.print(f"- written to {cfg.out}", markup=False, highlight=False, soft_wrap=True)
    return next((test.difference.mean for test in compared.columns.values()), None)


def run(cfg: DictConfig) -> Comparison:
    """The comparison that a configuration describes."""
    from pathlib import Path

    from o3v.benchmarks.pairs import RecordScores, compare_files
    from o3v.config import build
    from o3v.errors import ConfigError

    for key in ("resamples", "exchanges"):
        if cfg[key] < 1:
            raise ConfigError(f"{key}={cfg[key]}: must be at least 1")
    benchmark = build(cfg, "benchmark") or RecordScores(cfg.resamples, cfg.seed)
    columns = None if cfg.columns is None else list(cfg.columns)
    return compare_files(Path(cfg.a), Path(cfg.b), benchmark, columns, cfg.exchanges)


def write(compared: Comparison, folder: Path) -> None:
    """Writes paired.json and paired.md. Raises StorageError."""
    import json

    from o3v.errors import StorageError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "paired.json").write_text(json.dumps(compared.to_json(), indent=2) + "\n", encoding="utf-8")
        (folder / "paired.md").write_text(compared.markdown(), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder}: cannot write ({error.strerror or error})") from error


if __name__ == "__main__":
    main()
