"""Model presets: where weights lie and how they are loaded. Nothing is downloaded unless a preset asks for it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError, StorageError
from o3v.models.availability import QUANTIZATIONS, attention_for, check_quantization
from o3v.models.family import Family, find_family
from o3v.models.lora import LoraSettings, add_adapter, has_adapter, merged_weights
from o3v.models.published import cached_folders, download, find_published
from o3v.models.saving import without_deepspeed

if TYPE_CHECKING:
    from o3v.models.policy import Policy

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
_DTYPES = ("float32", "bfloat16", "float16")
_LINEAR = ("auto", "torch", "onednn")


@dataclass(frozen=True)
class ModelSpec:
    """A model preset (conf/model).

    Attributes:
        family: `qwen2_5_vl` or `qwen3_vl`.
        path: Hugging Face folder; relative names are looked up below `root`, then below the project's own assets.
        root: folder that holds downloaded models.
        dtype: float32, bfloat16 or float16.
        attention: transformers' name of the vision tower's attention, for example sdpa or flash_attention_2; auto for
            the quickest that is there.
        linear: products of linear layers on a CPU: "torch", "onednn", or "auto" for the quicker one.
        gradient_checkpointing: trade a second forward for activation memory.
        train_vision: False freezes the vision tower. With adapters everything else is frozen, the tower included.
        lora: adapters in place of training the whole model.
        quantization: "nf4" keeps the frozen language model in 4 bits (QLoRA, arXiv:2305.14314; wants adapters, a GPU
            and bitsandbytes); null: weights as they are.
        published: name of the published model whose sizes these are (`o3v.models.published`); null for tiny ones.
        download: fetch weights that are nowhere on this machine from the Hugging Face hub.
        architecture: sizes of a tiny model, used when it is made from nothing (`o3v.pretrain`); null for real models.
    """

    family: str
    path: str
    root: str
    dtype: str
    attention: str
    linear: str
    gradient_checkpointing: bool
    train_vision: bool
    lora: LoraSettings
    quantization: str | None
    published: str | None
    download: bool
    architecture: dict[str, Any] | None

    def __post_init__(self) -> None:
        find_family(self.family)
        for key, allowed in (("dtype", _DTYPES), ("linear", _LINEAR)):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"model.{key}={getattr(self, key)!r} is not allowed; allowed are {list(allowed)}")
        self.lora.check(self.family)
        self._check_quantization()
        if self.published is not None and find_published(self.published).model_type != self.family:
            raise ConfigError(f"model.published={self.published!r} is no {self.family}, which model.family says")
        if self.download and self.published is None:
            raise ConfigError("model.download=true: model.published is null, so there is nothing to fetch it by")

    def _check_quantization(self) -> None:
        if self.quantization is None:
            return
        if self.quantization not in QUANTIZATIONS:
            allowed = f"null and {', '.join(QUANTIZATIONS)}"
            raise ConfigError(f"model.quantization={self.quantization!r} is not allowed; allowed are {allowed}")
        if not self.lora.rank:
            raise ConfigError(f"model.quantization={self.quantization!r} needs adapters: set model.lora.rank above 0")

    def check(self, folder: str | Path | None) -> None:
        """Look that the weights are there, before anything heavy is loaded. Raises ConfigError.

        Args:
            folder: as for `load_policy`.
        """
        check_quantization(self.quantization)
        attention_for(self.attention)
        _check_family(self, self.source(folder))

    def source(self, folder: str | Path | None) -> Path:
        """The Hugging Face folder that `load_policy` reads: of an earlier run, else the preset's own. Raises as it."""
        return self.find() if folder is None else _exported(Path(folder))

    def find(self) -> Path:
        """The folder of the weights: below `root`, among the project's own, or in the Hugging Face cache.

        Raises:
            ConfigError: no such folder; the message names every place that was looked at.
            StorageError: `download` is set, and it failed.
        """
        places = self.places()
        for place in places:
            if (place / "config.json").is_file():
                return place
        if self.download and self.published is not None:
            return download(find_published(self.published).repository)
        searched = ", ".join(str(p.absolute()) for p in places)
        raise ConfigError(f"model.path={self.path!r}: no config.json found; looked in {searched}. {self._remedy()}")

    def places(self) -> list[Path]:
        """Folders in which the weights are looked for, in this order."""
        own = [Path(self.root) / self.path, ASSETS / self.path]
        return own if self.published is None else own + cached_folders(find_published(self.published).repository)

    def _remedy(self) -> str:
        """How weights that are not there are come by."""
        if self.architecture is None:
            fetch = "" if self.published is None else ", or set model.download=true"
            return f"Put the model there or set paths.model_root{fetch}. Nothing is downloaded by itself."
        return f"Make it with python -m o3v.pretrain model={self.path}, and give the folder of that run as init_from."


def load_policy(spec: ModelSpec, folder: str | Path | None = None) -> Policy:
    """Load model and processor, ready for inference (evaluation mode, gradients as the spec says).

    With `lora.rank` above 0 the model has new adapters, which change nothing before they are trained.

    Args:
        spec: the preset.
        folder: run of an earlier stage, or its exported model; None loads the preset's own weights.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging as transformers_logging

    from o3v.models.policy import Policy

    transformers_logging.disable_progress_bar()
    place = spec.source(folder)
    family = _check_family(spec, place)
    import torch

    check_quantization(spec.quantization)
    model = AutoModelForImageTextToText.from_pretrained(
        place,
        dtype=getattr(torch, spec.dtype),
        attn_implementation=attention_for(spec.attention),
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        **_quantized(spec),
    )
    processor = AutoProcessor.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    processor.tokenizer.padding_side = "left"
    policy = _prepare(Policy(model, processor, family), spec)
    if spec.lora.rank:
        add_adapter(policy, spec.lora)
    return policy


def make_policy(spec: ModelSpec, tokenizer: Any, seed: int) -> Policy:
    """A randomly initialised tiny model of the spec's architecture around a tokenizer.

    Raises:
        ConfigError: the spec has no architecture, or adapters: a random model has nothing worth keeping.
    """
    from o3v.models.policy import Policy
    from o3v.models.tiny import build_config, build_model, build_processor

    if spec.architecture is None:
        raise ConfigError(f"model.architecture is null: {spec.path} cannot be made from nothing, only loaded")
    if spec.lora.rank:
        raise ConfigError(f"model.lora.rank={spec.lora.rank}: a model made from nothing is trained whole; allowed is 0")
    family = find_family(spec.family)
    config = build_config(family, spec.architecture, tokenizer)
    model = build_model(config, spec.architecture["init_std"], seed)
    return _prepare(Policy(model, build_processor(family, tokenizer), family), spec)


def save_policy(
    policy: Policy,
    folder: str | Path,
    sampling: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a Hugging Face folder (safetensors, configuration, processor) that plain transformers loads.

    Adapters are built into the written weights; the policy itself keeps them apart and can go on learning. The folder
    appears only when it is whole; what stood there before is replaced.

    Args:
        policy: what is written.
        folder: the Hugging Face folder.
        sampling: how its completions were drawn, see `o3v.models.generation.generation_config`; None keeps the
            settings that the model was loaded with, with the tokens that end and fill a turn.
        texts: name -> content of further files, a model card for example.

    Raises:
        StorageError: the folder cannot be written, for example on a full disk.
    """
    from o3v.models.generation import write_generation_config

    weights = merged_weights(policy) if has_adapter(policy) else None
    with appearing_folder(Path(folder)) as aside:
        with _as_whole(policy.model):
            policy.model.save_pretrained(aside, safe_serialization=True, state_dict=weights)
        policy.processor.save_pretrained(aside)
        write_generation_config(aside, policy.processor.tokenizer, sampling)
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")


@contextmanager
def appearing_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target to write into, which takes the target's place when the block is done.

    Raises:
        StorageError: the folder cannot be written, for example on a full disk; what stood there before is kept.
    """
    from safetensors import SafetensorError

    aside = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        with without_deepspeed():
            yield aside
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{target}: the model cannot be written ({error}); free space and start again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _prepare(policy: Policy, spec: ModelSpec) -> Policy:
    from o3v.models.last_layer import trim_last_layer
    from o3v.models.linear import set_linear_kernel
    from o3v.models.passes import ATTENTION
    from o3v.models.vision_attention import VISION_ATTENTION

    model = policy.model
    model.eval()
    model.model.language_model.config._attn_implementation = ATTENTION
    if attention_for(spec.attention) == "sdpa":
        model.model.visual.config._attn_implementation = VISION_ATTENTION
    trim_last_layer(model.model)
    set_linear_kernel(model, spec.linear)
    if not spec.train_vision:
        model.model.visual.requires_grad_(False)
    if spec.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return policy


def _quantized(spec: ModelSpec) -> dict[str, Any]:
    """Keywords under which the language model's frozen layers are kept in 4 bits; head and vision tower stay whole."""
    if spec.quantization is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, spec.dtype),
        llm_int8_skip_modules=["lm_head", "model.visual"],
    )
    return {"quantization_config": four_bits, "device_map": {"": torch.cuda.current_device()}}


@contextmanager
def _as_whole(model: Any) -> Iterator[None]:
    """For the time of the block, a model says nothing of its weights having been quantised: whole ones are written."""
    kept = {name: vars(model).pop(name) for name in ("hf_quantizer", "quantization_method") if name in vars(model)}
    configuration = vars(model.config).pop("quantization_config", None)
    try:
        yield
    finally:
        vars(model).update(kept)
        if configuration is not None:
            model.config.quantization_config = configuration


def _exported(folder: Path) -> Path:
    """The exported model in a folder, or in the folder of a run."""
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    raise ConfigError(f"{folder}: no model there (config.json); give the folder of a finished run or its model folder")


def _check_family(spec: ModelSpec, place: Path) -> Family:
    found = json.loads((place / "config.json").read_text())["model_type"]
    if found != spec.family:
        raise ConfigError(f"model.family={spec.family!r}, but {place}/config.json is of model_type {found!r}")
    return find_family(found)
