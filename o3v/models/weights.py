"""A state dictionary as a Hugging Face folder; the model itself is only built on torch's meta device.

Names and shapes are checked there, types are converted weight by weight, tied weights are written once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError, DataError, StorageError
from o3v.models.load import ModelSpec, appearing_folder
from o3v.models.lora import LoraSettings, adapter_scale, adapter_state, has_adapter, merged_state

if TYPE_CHECKING:
    from torch import Tensor

    from o3v.models.policy import Policy

log = logging.getLogger(__name__)

EXPORT_DTYPES = ("float32", "bfloat16", "float16")
_SHARD_GB = 5.0
_SHOWN = 3
_BESIDE = ("*.json", "*.txt", "*.jinja", "*.model")
_OWN = {"config.json", "training.json", "adapter_config.json"}


@dataclass(frozen=True)
class FolderSettings:
    """How a model is written.

    Attributes:
        dtype: of every weight, one of `EXPORT_DTYPES`.
        max_shard_gb: largest size of one safetensors file, in 10^9 bytes; one weight is never split.
        sampling: see `o3v.models.generation.generation_config`; None keeps what the base's folder says.
        texts: name -> content of further files.
    """

    dtype: str
    max_shard_gb: float
    sampling: Mapping[str, Any] | None
    texts: Mapping[str, str]

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if not self.max_shard_gb > 0:
            raise ConfigError(f"max_shard_gb={self.max_shard_gb} is not allowed, expected more than 0")


def check_dtype(name: str) -> None:
    """Refuse a number type that no folder is written in. Raises ConfigError."""
    if name not in EXPORT_DTYPES:
        raise ConfigError(f"dtype={name!r} is not allowed; allowed are auto, {', '.join(EXPORT_DTYPES)}")


def read_spec(values: Mapping[str, Any]) -> ModelSpec:
    """The preset out of a run's resolved configuration (its key `model`).

    Only the known class is made of it, whatever `_target_` says; keys that an older run has not are null, and nothing
    is downloaded.

    Raises:
        ConfigError: a value that is not allowed, or no preset at all.
    """
    lora = values.get("lora") or {}
    try:
        adapter = LoraSettings(
            int(lora.get("rank", 0)), int(lora.get("alpha", 1)), tuple(lora.get("target_modules") or ())
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.lora={lora!r} of the run's configuration cannot be read ({error})") from error
    given = {field.name: values.get(field.name) for field in fields(ModelSpec)}
    given |= {"lora": adapter, "download": False, "linear": values.get("linear") or "auto"}
    unknown = sorted(set(values) - set(given) - {"_target_"})
    if unknown:
        raise ConfigError(f"model of the run's configuration has keys that no preset has: {unknown}")
    return ModelSpec(**given)  # type: ignore[arg-type]  # checked by the class


def read_weights(folder: Path) -> dict[str, Tensor]:
    """State dictionary of a Hugging Face folder, in the types that it was written in.

    Raises:
        DataError: the folder's weights cannot be read.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype="auto", trust_remote_code=False, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: its weights cannot be read ({str(error).splitlines()[0]})") from error
    return dict(model.state_dict())


def write_weights(state: Mapping[str, Tensor], base: Path, folder: Path, settings: FolderSettings) -> None:
    """Write a plain state dictionary as a Hugging Face folder.

    Args:
        state: every weight of the model under the library's names, each whole; tied ones once or as often as they like.
        base: Hugging Face folder whose architecture, processor and chat template the model has.
        folder: appears when it is whole, in the place of what stood there.
        settings: types, sizes, further files.

    Raises:
        DataError: a weight is missing, unknown, of another shape, or tied to one with other values.
        StorageError: the folder cannot be written, or there is not enough room.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from o3v.models.generation import write_generation_config

    transformers_logging.disable_progress_bar()
    model = folder_model(base, settings.dtype)
    whole = fitting_state(state, model)
    check_room(folder, whole.values(), settings.dtype)
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False, local_files_only=True)
    with appearing_folder(folder) as aside:
        _save(model, whole, aside, settings)
        _copy_beside(base, aside)
        write_generation_config(aside, tokenizer, settings.sampling)
        _write_texts(aside, settings.texts)


def save_gathered(
    policy: Policy,
    state: Mapping[str, Tensor],
    folder: Path,
    sampling: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """As `o3v.models.load.save_policy`, for weights that were put together from the parts of several processes.

    Args:
        policy: whose weights, with the folder that it was loaded from.
        state: every weight, adapters apart, under the names of `policy.model`.
        folder: as for `write_weights`.
        sampling: as for `o3v.models.load.save_policy`.
        texts: likewise.
    """
    plain = merged_state(state, adapter_scale(policy)) if has_adapter(policy) else state
    dtype = str(policy.model.config.dtype).removeprefix("torch.")
    write_weights(plain, Path(policy.model.name_or_path), folder, FolderSettings(dtype, _SHARD_GB, sampling, texts))


def write_adapter(
    state: Mapping[str, Tensor], spec: ModelSpec, base: str, folder: Path, texts: Mapping[str, str]
) -> None:
    """Write the adapters of a state dictionary as a folder that peft loads onto the base.

    Args:
        state: with "X.lora_A.NAME.weight" and "X.lora_B.NAME.weight".
        spec: says how the adapters are scaled.
        base: repository or folder of the model that the adapters belong to; named in the folder.
        folder: appears when it is whole.
        texts: name -> content of further files.

    Raises:
        ConfigError: the state has no adapters.
        StorageError: the folder cannot be written.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    found = {name: value.detach().float().cpu().contiguous() for name, value in adapter_state(state).items()}
    if not found:
        raise ConfigError("adapter_only=true: the checkpoint has no adapters; leave it out to write the whole model")
    layers = sorted({name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in found})
    config = LoraConfig(
        r=spec.lora.rank,
        lora_alpha=spec.lora.alpha,
        lora_dropout=0.0,
        target_modules=layers,
        base_model_name_or_path=base,
        inference_mode=True,
    )
    check_room(folder, found.values(), "float32")
    with appearing_folder(folder) as aside:
        save_file(found, aside / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(aside))
        _write_texts(aside, texts)


def folder_model(base: Path, dtype: str) -> Any:
    """The model of a Hugging Face folder on the meta device: names and shapes, no weights."""
    from transformers import AutoConfig

    from o3v.models.meta import meta_model

    return meta_model(AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True), dtype)


def parameter_count(folder: Path) -> int:
    """Parameters of the model of a Hugging Face folder, tied weights once."""
    return sum(weight.numel() for weight in folder_model(folder, "float32").parameters())


def fitting_state(state: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The weights that a model on the meta device needs, each once: tied ones under the name that the model keeps.

    Raises:
        DataError: as `write_weights`.
    """
    expected = dict(model.state_dict(keep_vars=True))
    owners = {id(weight): name for name, weight in reversed(expected.items())}
    owner_of = {name: owners[id(weight)] for name, weight in expected.items()}
    passing = {name for name, _ in model.named_buffers()} - expected.keys()
    _refuse("no weights of the model", [name for name in state if name not in expected and name not in passing])
    whole: dict[str, Tensor] = {}
    for name, value in state.items():
        owner = owner_of.get(name)
        if owner is None:
            continue
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)}, the model's is {tuple(expected[name].shape)}"
            raise DataError(f"{name}: has shape {shapes}; the checkpoint is of another architecture")
        if owner in whole and not _same(whole[owner], value):
            raise DataError(f"{name}: is tied to {owner}, and the checkpoint has other values for it")
        whole.setdefault(owner, value)
    _refuse("missing in the checkpoint", [name for name in dict.fromkeys(owner_of.values()) if name not in whole])
    return whole


def check_room(folder: Path, weights: Iterable[Tensor], dtype: str) -> None:
    """Look that the weights fit onto the disk, before anything is written. Raises StorageError."""
    import torch

    wanted = sum(weight.numel() for weight in weights) * getattr(torch, dtype).itemsize
    place = next(path for path in folder.absolute().parents if path.exists())
    free = shutil.disk_usage(place).free
    if free < wanted * 1.02:
        raise StorageError(f"{folder}: {wanted / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free on {place}")


def _save(model: Any, whole: Mapping[str, Tensor], aside: Path, settings: FolderSettings) -> None:
    """Weights and configuration; floats in the wanted type."""
    import torch

    dtype = getattr(torch, settings.dtype)
    typed = {name: value.detach().to("cpu", dtype) for name, value in whole.items()}
    model.save_pretrained(aside, state_dict=typed, max_shard_size=int(settings.max_shard_gb * 1e9))


def _copy_beside(base: Path, folder: Path) -> None:
    """Processor, tokenizer, chat template and generation settings as they are, in the files that the base has.

    A published folder keeps its names: a library of another version than this one's finds what it looks for.
    """
    for pattern in _BESIDE:
        for path in base.glob(pattern):
            if path.name not in _OWN and not path.name.endswith(".index.json"):
                shutil.copy(path, folder)


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _same(one: Tensor, two: Tensor) -> bool:
    import torch

    return one.data_ptr() == two.data_ptr() or torch.equal(one, two)


def _refuse(what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise DataError(f"{what}: {', '.join(names[:_SHOWN])}{more}; the checkpoint is of another architecture")
