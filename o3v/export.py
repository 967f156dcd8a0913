"""Write any checkpoint as a Hugging Face folder: `python -m o3v.export checkpoint=outputs/gspo-SIGNATURE out=FOLDER`.

Runs, states of every engine and folders that are exported already; plain transformers and vLLM load the result.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from o3v.training.exporting import Source

log = logging.getLogger(__name__)


@command(config_name="export")
def main(cfg: DictConfig) -> float | None:
    """Find, read, write; returns the size of the folder in 10^9 bytes."""
    from pathlib import Path

    from o3v.training.exporting import find_source

    out = Path(cfg.out)
    check_target(out, Path(cfg.checkpoint), cfg.again)
    source = find_source(Path(cfg.checkpoint), None if cfg.base is None else Path(cfg.base))
    log.info("exporting %s, the weights of %s", cfg.checkpoint, source.checkpoint.path)
    (_write_adapter if cfg.adapter_only else _write_whole)(cfg, source, out)
    size_gb = sum(path.stat().st_size for path in out.iterdir()) / 1e9
    log.info("%s: %.3f GB", out, size_gb)
    return size_gb


def check_target(out: Path, checkpoint: Path, again: bool) -> None:
    """Refuse a target that is there, or that is or holds what would be read. Raises ConfigError."""
    from o3v.errors import ConfigError

    if out.exists() and not again:
        raise ConfigError(f"out={out}: is there already; again=true replaces it")
    read, written = checkpoint.resolve(), out.resolve()
    if written == read or written in read.parents or (read in written.parents and written.name in ("model", "states")):
        raise ConfigError(f"out={out}: is, holds or is a part of the checkpoint itself; choose a folder outside of it")
    if out.exists() and not (
        out.is_dir() and ((out / "config.json").is_file() or (out / "adapter_config.json").is_file())
    ):
        raise ConfigError(f"out={out}: is no exported folder, so it is not replaced")


def _write_whole(cfg: DictConfig, source: Source, out: Path) -> None:
    from o3v.models.weights import FolderSettings, check_dtype, write_weights
    from o3v.training.exporting import plain_weights

    dtype = source.dtype if cfg.dtype == "auto" else cfg.dtype
    check_dtype(dtype)
    state = plain_weights(source, dtype)
    texts = _texts(cfg, source, {"dtype": dtype, "parameters": sum(value.numel() for value in state.values())})
    sampling = source.config.get("rollout")
    write_weights(state, source.base, out, FolderSettings(dtype, cfg.max_shard_gb, sampling, texts))


def _write_adapter(cfg: DictConfig, source: Source, out: Path) -> None:
    from o3v.errors import ConfigError
    from o3v.models.weights import write_adapter
    from o3v.training.exporting import trained_adapters

    if source.spec is None or not source.spec.lora.rank:
        raise ConfigError(f"adapter_only=true: {cfg.checkpoint} is of a run without adapters (model.lora.rank=0)")
    state = trained_adapters(source)
    size, base = sum(value.numel() for value in state.values()), source.base_name
    told = {"is_adapter": True, "dtype": "float32", "parameters": size, "base": base}
    write_adapter(state, source.spec, base, out, _texts(cfg, source, told))


def _texts(cfg: DictConfig, source: Source, told: dict[str, Any]) -> dict[str, str]:
    from o3v.training.export_card import card_files

    return card_files(source, told | {"license": cfg.license})


if __name__ == "__main__":
    main()
