"""The files beside an exported model's weights: model card, record, and the run's resolved configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from o3v.errors import DataError
from o3v.models.weights import parameter_count
from o3v.tracking.model_card import CARD, RECORD, card_text
from o3v.tracking.model_record import find_scores, read_record, run_record
from o3v.training.exporting import CONFIG, ended_run

if TYPE_CHECKING:
    from o3v.training.exporting import Source


def card_files(source: Source, told: Mapping[str, Any]) -> dict[str, str]:
    """Name -> content.

    Args:
        source: what is exported.
        told: what the export itself adds to the record, see `o3v.tracking.model_card.card_text`; null keeps what an
            earlier export has said.

    Raises:
        DataError: what an earlier export has left is not what one writes.
    """
    record = _record(source) | {key: value for key, value in told.items() if value is not None}
    record |= {"config_file": CONFIG} if source.config else {}
    try:
        files = {CARD: card_text(record), RECORD: _json(record)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{source.checkpoint.path / RECORD}: is no record of a model ({error!r})") from error
    if not source.config:
        return files
    return files | {CONFIG: yaml.safe_dump(dict(source.config), sort_keys=False, allow_unicode=True)}


def final_files(run: Path) -> dict[str, str]:
    """The same for a run that has just ended, before its model is written and its result is known.

    Args:
        run: its folder.

    Raises:
        ConfigError: there is no configuration, or the folder that the run started from is gone.
    """
    source = ended_run(run)
    told = {"dtype": source.dtype, "parameters": parameter_count(source.base), "finished": True}
    return card_files(source, told)


def _record(source: Source) -> dict[str, Any]:
    """Of the run's folder, else what an earlier export has written into the folder."""
    run, checkpoint = source.checkpoint.run, source.checkpoint
    if run is None:
        found = read_record(checkpoint.path / RECORD) if checkpoint.kind == "folder" else {}
        return {"family": _family(source.base)} | found
    done, total = _place(source)
    is_end = checkpoint.kind == "folder" or (total is not None and done == total)
    return run_record(run, source.config) | {
        "family": _family(source.base),
        "base_model": source.repository,
        "progress": "the end of the run" if is_end else f"after batch {done} of {total}",
        "scores": find_scores(run) if is_end else [],
    }


def _place(source: Source) -> tuple[int | None, int | None]:
    """Batches done at the checkpoint, and of the whole run."""
    from o3v.training.state import SEAL, read_place

    path = source.checkpoint.path
    if source.checkpoint.kind == "folder" or (path.is_dir() and not (path / SEAL).is_file()):
        return None, None
    place = read_place(path)
    return place.get("batches_done"), place.get("total_batches")


def _family(base: Path) -> str:
    return str(json.loads((base / "config.json").read_text(encoding="utf-8"))["model_type"])


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
