"""The weights out of a checkpoint of any engine, whole and on the host, under the library's names.

Nothing that a file says is executed: files of torch are read as plain tensors and values, and those of engines that
hold further objects are read by something that knows those and no others (pickled data can name any function).
"""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from o3v.errors import ConfigError, DataError
from o3v.training.checkpoints import Checkpoint, Kind

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_MODULE = "model."
"""What `GroundingModule` puts before the library's names."""

_PLAIN: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_DESCRIPTIONS: Final = "Metadata MetadataIndex TensorStorageMetadata ChunkStorageMetadata BytesStorageMetadata"
_METADATA: Final = {
    "torch.distributed.checkpoint.metadata": {
        *_DESCRIPTIONS.split(),
        "TensorProperties",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath", "PurePosixPath"},
}


def read_checkpoint(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """State dictionary of a checkpoint's model, adapters as they were trained.

    Raises:
        DataError: the checkpoint is damaged, or holds things that no run of this project writes.
        ConfigError: the engine that wrote it is not installed.
    """
    from o3v.models.weights import read_weights
    from o3v.training.state import SEAL, read_place

    readers: dict[Kind, Callable[[Path], Mapping[str, Tensor]]] = {
        "folder": read_weights,
        "file": _read_file,
        "distributed": _read_distributed,
        "parts": _read_parts,
        "deepspeed": _read_deepspeed,
    }
    with _told(checkpoint.path):
        if (checkpoint.path / SEAL).is_file():
            read_place(checkpoint.path)  # are all files there, and as long as they were?
        found = readers[checkpoint.kind](checkpoint.path)
    return dict(found) if checkpoint.kind == "folder" else model_names(found)


def model_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a training module's model under the model's own names.

    >>> model_names({"model.lm_head.weight": 1, "model.model.norm.weight": 2})
    {'lm_head.weight': 1, 'model.norm.weight': 2}

    Raises:
        DataError: there are none, or others beside them.
    """
    others = [name for name in state if not name.startswith(_MODULE)]
    if others or not state:
        raise DataError(
            f"{others[0] if others else 'an empty state'}: is no weight of {_MODULE[:-1]} in a training module"
        )
    return {name.removeprefix(_MODULE): value for name, value in state.items()}


def _read_file(path: Path) -> dict[str, Tensor]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return dict(content["state_dict"])


def _read_distributed(path: Path) -> dict[str, Tensor]:
    """The weights alone, without the optimizer; in one process, whatever the number that wrote them."""
    import torch
    from torch.distributed.checkpoint import FileSystemReader, load
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    _check_metadata(path / ".metadata")
    reader = FileSystemReader(path)
    parts = reader.read_metadata().state_dict_metadata
    start = "state_dict."
    state = {
        name: torch.empty(part.size, dtype=part.properties.dtype)
        for name, part in parts.items()
        if name.startswith(start) and isinstance(part, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is meant
        load(state, storage_reader=reader, no_dist=True)
    return {name.removeprefix(start): value for name, value in state.items()}


def _read_parts(path: Path) -> dict[str, Tensor]:
    """Every stretch of every trained weight in its place, see `o3v.training.zero_state`."""
    import torch
    from safetensors import safe_open

    whole: dict[str, Tensor] = {}
    filled: Counter[str] = Counter()
    for part in sorted(path.glob("part-*.safetensors")):
        with safe_open(part, "pt") as file:
            for name, one in json.loads(file.metadata()["stretches"]).items():
                weight = whole.setdefault(name, torch.empty(one["shape"]))
                weight.view(-1).narrow(0, one["start"], one["numel"]).copy_(file.get_tensor(f"{name}|master"))
                filled[name] += one["numel"]
    for name, weight in whole.items():
        if filled[name] != weight.numel():
            raise DataError(f"{path}: has {filled[name]} of the {weight.numel()} numbers of {name}; a file is missing")
    return whole


def _read_deepspeed(path: Path) -> dict[str, Tensor]:
    """By DeepSpeed's own tool, from its float32 weights; frozen ones as they are."""
    try:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    except ImportError as error:
        raise ConfigError(
            f"{path}: is a state of DeepSpeed, which is missing: pip install -e '.[deepspeed]'"
        ) from error
    tag = next(path.glob("*/*_model_states.pt")).parent.name
    quiet = io.StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet), _plain_loading():
        return dict(get_fp32_state_dict_from_zero_checkpoint(str(path), tag=tag))


@contextmanager
def _plain_loading() -> Iterator[None]:
    """Lets DeepSpeed's tool, which would execute what a file says, read plain values and the few classes it writes."""
    import torch
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(_PLAIN)
    os.environ[_PLAIN] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        if before is None:
            del os.environ[_PLAIN]
        else:
            os.environ[_PLAIN] = before


class _Metadata(pickle.Unpickler):
    """Knows only what describes tensors; anything else is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        """A class or constant by its name."""
        import torch

        if name in _METADATA.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"would import {module}.{name}, which no state needs")


def _check_metadata(path: Path) -> None:
    with path.open("rb") as handle:
        _Metadata(handle).load()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Damage as a `DataError` that names the checkpoint."""
    try:
        yield
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: the checkpoint cannot be read ({reason})") from error
