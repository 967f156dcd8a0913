"""How a run reads its media: `data.reader`, behind the frame store where `store` describes one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from o3v.video.reader import Reader


def clip_reader(cfg: DictConfig) -> Reader:
    """The reader of a configuration.

    Args:
        cfg: data.reader, and store (absent or null: none).

    Raises:
        ConfigError: a value of either that is not allowed.
        StorageError: the store's folder cannot be written.
    """
    from o3v.config import build
    from o3v.video.stored import StoredReader

    reader, store = build(cfg, "data.reader"), build(cfg, "store")
    return reader if store is None else StoredReader(reader, store)


def store_metrics(reader: Reader) -> dict[str, float]:
    """What the reader's store did so far in this process and its loader workers, as `store/hits` and so on."""
    from o3v.video.stored import StoredReader

    return reader.store.metrics() if isinstance(reader, StoredReader) else {}


def save_store_metrics(reader: Reader, folder: Path, shard: int) -> None:
    """Leave a worker's counts in the folder of an evaluation; nothing without a store."""
    metrics = store_metrics(reader)
    if metrics:
        (folder / f"store-{shard}.json").write_text(json.dumps(metrics, indent=1))


def saved_store_metrics(folder: Path) -> dict[str, float]:
    """Sums over the workers of an evaluation, of their last start; empty without a store."""
    total: Counter[str] = Counter()
    for file in folder.glob("store-*.json"):
        total.update(json.loads(file.read_text()))
    return dict(total)
