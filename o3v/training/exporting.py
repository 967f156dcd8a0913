"""From any checkpoint to the weights of a plain model: read, complete with frozen weights, build adapters in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError, DataError
from o3v.training.checkpoints import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from o3v.models.load import ModelSpec

log = logging.getLogger(__name__)

SHARD_GB = 5.0
"""Largest file of weights, where nothing else is asked for."""

CONFIG = "training.yaml"
"""Resolved configuration of the run, in an exported folder."""


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        checkpoint: the weights.
        config: resolved configuration of the run that trained them; empty for a Hugging Face folder of unknown origin.
        spec: the run's model preset; None likewise.
        base: Hugging Face folder with architecture, processor and frozen weights.
    """

    checkpoint: Checkpoint
    config: Mapping[str, Any]
    spec: ModelSpec | None
    base: Path

    @property
    def scale(self) -> float:
        """Factor of the adapters' output."""
        return self.spec.lora.alpha / self.spec.lora.rank if self.spec is not None and self.spec.lora.rank else 0.0

    @property
    def repository(self) -> str | None:
        """Of the published model that the run's preset is, on the Hugging Face hub."""
        from o3v.models.published import find_published

        published = None if self.spec is None else self.spec.published
        return None if published is None else find_published(published).repository

    @property
    def base_name(self) -> str:
        """What adapters of the run are loaded onto: the published model where the run began with it, else a folder."""
        return str(self.base) if self.config.get("init_from") or self.repository is None else self.repository

    @property
    def dtype(self) -> str:
        """Number type of the run's preset; float32 where no run is known."""
        return self.spec.dtype if self.spec is not None else "float32"


def find_source(path: Path, base: Path | None) -> Source:
    """The checkpoint at a path with all that it needs; nothing heavy is loaded.

    Args:
        path: a run's folder, one of its states, or a Hugging Face folder.
        base: Hugging Face folder that stands for the one that the run started from; None finds that.

    Raises:
        ConfigError: no checkpoint, no configuration beside a state, or no base folder; says what is looked for.
    """
    from o3v.models.weights import read_spec

    checkpoint = find_checkpoint(path)
    config = _config_of(checkpoint)
    if checkpoint.kind == "folder":
        spec = read_spec(config["model"]) if config.get("model") else None
        return Source(checkpoint, config, spec, checkpoint.path if base is None else base)
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(
            f"{checkpoint.path}: no config.yaml of its run with a model; a state alone names no architecture"
        )
    spec = read_spec(config["model"])
    return Source(checkpoint, config, spec, _base_of(spec, config, checkpoint.run, base))


def ended_run(run: Path) -> Source:
    """A run's model, which need not be written yet. Raises as `find_source`."""
    from o3v.models.weights import read_spec

    checkpoint = Checkpoint("folder", run / "model", run)
    config = _config_of(checkpoint)
    spec = read_spec(config.get("model") or {})
    return Source(checkpoint, config, spec, _base_of(spec, config, run, None))


def plain_weights(source: Source, dtype: str | None = None) -> dict[str, Tensor]:
    """The state dictionary of a plain model, tied weights once.

    Args:
        source: what is exported.
        dtype: of the weights; None leaves them as they are. They are turned into it one after the other, so that the
            model is not held twice.

    Raises:
        DataError: damage, weights that are missing, adapters that are not whole.
    """
    import torch

    from o3v.models.four_bits import whole_weights
    from o3v.models.lora import merged_state
    from o3v.models.weights import fitting_state, folder_model
    from o3v.training.convert import read_checkpoint

    state = _completed(whole_weights(read_checkpoint(source.checkpoint)), source)
    if any(".lora_" in name for name in state) and not source.scale:
        raise DataError(f"{source.checkpoint.path}: has adapters, and the run's configuration has model.lora.rank=0")
    whole = fitting_state(merged_state(state, source.scale), folder_model(source.base, source.dtype))
    del state
    for name in whole if dtype is not None else ():
        whole[name] = whole[name].detach().to("cpu", getattr(torch, str(dtype)))
    return whole


def export_state(run: Path, folder: Path) -> None:
    """Write the model of a run's newest state, in the type of its preset; `run` is not marked as finished yet."""
    from o3v.models.weights import FolderSettings, write_weights
    from o3v.training.export_card import final_files

    source = find_source(run, None)
    settings = FolderSettings(source.dtype, SHARD_GB, source.config.get("rollout"), final_files(run))
    write_weights(plain_weights(source, source.dtype), source.base, folder, settings)


def trained_adapters(source: Source) -> dict[str, Tensor]:
    """The entries of a checkpoint that belong to adapters, as they were trained."""
    from o3v.training.convert import read_checkpoint

    state = read_checkpoint(source.checkpoint)
    return {name: value for name, value in state.items() if ".lora_" in name}


def _completed(state: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
    """A state with the frozen weights that it leaves out, which are the base's own.

    Only what was frozen may be missing: with adapters everything else, else the vision tower where it did not learn.
    """
    from o3v.models.weights import read_weights

    spec = source.spec
    if spec is None or source.checkpoint.kind == "folder" or (not spec.lora.rank and spec.train_vision):
        return state
    held = {name.replace(".base_layer.", ".") for name in state}
    adapted = {name.partition(".lora_")[0] for name in state if ".lora_" in name}
    added: dict[str, Tensor] = {}
    for name, value in read_weights(source.base).items():
        if name not in held and (spec.lora.rank or name.startswith("model.visual.")):
            layer, _, kind = name.rpartition(".")
            added[f"{layer}.base_layer.{kind}" if layer in adapted else name] = value
    if added and spec.quantization is not None:
        raise ConfigError(
            f"{source.checkpoint.path}: does not hold the base in 4 bits that its adapters learned on; export the "
            "finished run's model, or the adapters alone (adapter_only=true)"
        )
    if added:
        log.info("%d frozen weights are those of %s", len(added), source.base)
    return state | added


def _config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Of the run, else the one that an export has put into the folder; empty where there is none."""
    import yaml

    places = [] if checkpoint.run is None else [checkpoint.run / "config.yaml"]
    for place in [*places, checkpoint.path / CONFIG]:
        if place.is_file():
            try:
                found = yaml.safe_load(place.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise ConfigError(f"{place}: is no YAML ({str(error).splitlines()[0]})") from error
            return dict(found) if isinstance(found, Mapping) else {}
    return {}


def _base_of(spec: ModelSpec, config: Mapping[str, Any], run: Path | None, base: Path | None) -> Path:
    """The folder that the run loaded: that of the stage before, also where all runs have moved together."""
    begun = config.get("init_from")
    if base is not None or begun is None:
        return spec.source(base)
    places = [Path(str(begun))]
    if run is not None:
        places += [run.parent.joinpath(*places[0].parts[-n:]) for n in (1, 2)]
    for place in places:
        if any((folder / "config.json").is_file() for folder in (place, place / "model")):
            return spec.source(place)
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(f"init_from={begun} of the run: no model there; looked at {looked}. Give it as base=FOLDER")
