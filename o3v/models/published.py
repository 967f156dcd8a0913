"""Published models by name: their sizes, how many parameters they have, and where their weights may lie.

The sizes are those of each repository's config.json, kept as data beside this file, so that a preset can be composed,
built without memory and planned where no weights are.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from o3v.errors import ConfigError, StorageError

log = logging.getLogger(__name__)

ARCHITECTURES: Final = Path(__file__).parent / "architectures"
_WANTED: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja")
_TRUE: Final = {"1", "on", "yes", "true"}


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        name: of its file in `ARCHITECTURES`.
        model_type: transformers' name of the family.
        repository: on the Hugging Face hub.
        parameters: `total` (tied weights once), `vision` (the tower with its mergers) and `language` (the language
            model with its input embeddings, without the head) of the published weights.
        tie_word_embeddings: whether the head is the input embeddings.
        text: sizes of the language model, in the words of the family's configuration class.
        vision: sizes of the vision tower.
    """

    name: str
    model_type: str
    repository: str
    parameters: dict[str, int]
    tie_word_embeddings: bool
    text: dict[str, Any]
    vision: dict[str, Any]


def published_names() -> tuple[str, ...]:
    """Names that `model.published` may have.

    >>> "qwen2_5_vl_7b" in published_names()
    True
    """
    return tuple(sorted(path.stem for path in ARCHITECTURES.glob("*.json")))


@cache
def find_published(name: str) -> Published:
    """The published model of a name.

    Raises:
        ConfigError: there is none; names those that are.

    >>> find_published("qwen3_vl_8b").parameters["total"]
    8767123696
    """
    if name not in published_names():
        raise ConfigError(f"model.published={name!r} is not known; allowed are {list(published_names())}, or null")
    return Published(name, **json.loads((ARCHITECTURES / f"{name}.json").read_text()))


def cached_folders(repository: str) -> list[Path]:
    """Folders of the Hugging Face cache in which a repository's weights lie, or would: newest first.

    Follows HF_HUB_CACHE and HF_HOME as the hub's own library does. Where nothing is cached, the place itself.
    """
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    snapshots = [path for path in place.glob("*") if any(path.glob("*.safetensors"))]
    return sorted(snapshots, key=lambda path: path.stat().st_mtime, reverse=True) or [place]


def download(repository: str) -> Path:
    """Fetch a repository into the Hugging Face cache; the folder of the weights.

    Raises:
        ConfigError: HF_HUB_OFFLINE is set.
        StorageError: it cannot be fetched; says why.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        raise ConfigError(f"model.download=true, but HF_HUB_OFFLINE is set: {repository} cannot be fetched")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    log.info("downloading %s into the Hugging Face cache", repository)
    try:
        return Path(snapshot_download(repository, allow_patterns=list(_WANTED)))
    except (OSError, HfHubHTTPError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StorageError(f"model.download=true: {repository} cannot be fetched ({reason})") from error
