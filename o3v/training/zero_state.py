"""States of a ZeRO run: every process writes the parts that it has, and any number of processes reads them.

A state is a folder. `meta.pt` holds the position in the run. `part-R-N.safetensors` hold float32 masters and optimizer
of process R: of every trained weight, flattened, the stretch that it keeps. Stages 2, 3 and 3 with offload write the
same, so one continues what another began. Frozen weights are not in it: they are those that the run started from.

Differs from the reference: DeepSpeed's own files are pickles, which would be executed when read, and are read only by
as many processes as wrote them.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from o3v.errors import ConfigError

log = logging.getLogger(__name__)

_META = "meta.pt"
_MASTER = "master"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_FILE_BYTES = 2**31
"""A file is closed when it has so many; as many are copied to the host at one time."""


@dataclass(frozen=True)
class Stretch:
    """What this process keeps of one weight.

    Attributes:
        name: of the weight in the module.
        shape: of the whole weight.
        start: place of the stretch's first number in the flattened weight.
        flat: the optimizer's tensor in which it lies, beside others.
        offset: where in it.
        numel: numbers of the stretch.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    flat: Tensor
    offset: int
    numel: int

    def of(self, flat: Tensor) -> Tensor:
        """The stretch within the optimizer's tensor, or within one of its moments."""
        return flat.detach().view(-1).narrow(0, self.offset, self.numel)


@dataclass(frozen=True)
class _Piece:
    """A stretch in a file."""

    file: Path
    start: int
    numel: int
    step: float | None


def write_state(optimizer: Any, folder: Path, content: dict[str, Any], is_first: bool) -> None:
    """Write a state; all processes together.

    Raises:
        OSError: in every process, where one of them could not write.
    """
    failure: Exception | None = None
    try:
        if is_first:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
    except OSError as error:
        failure = error
    _agree(failure)
    try:
        _write_parts(optimizer, folder)
        if is_first:
            torch.save(content, folder / _META)
    except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk in their own words
        failure = error
    _agree(failure)


def read_state(optimizer: Any, folder: Path) -> dict[str, Any]:
    """Read a state into DeepSpeed's optimizer and the weights; returns its position.

    Raises:
        ConfigError: it is of other weights.
    """
    pieces = _pieces(folder)
    stretches = list(_stretches(optimizer))
    _check(stretches, pieces, folder)
    writers = len({path.name.split("-")[1] for path in folder.glob("part-*.safetensors")})
    if writers != torch.distributed.get_world_size():
        log.info("%s: written by %d processes, read by %d", folder, writers, torch.distributed.get_world_size())
    for stretch in stretches:
        _fill(optimizer.optimizer, stretch, pieces[stretch.name])
    _refresh(optimizer)
    return dict(torch.load(folder / _META, map_location="cpu", weights_only=True))


def _stretches(optimizer: Any) -> Iterator[Stretch]:
    """What this process keeps, in the order in which DeepSpeed keeps it."""
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        yield from _stretches_of_stage_3(optimizer)
        return
    for group, flat in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
        for weight in group:
            kept = weight._hp_mapping
            if kept is not None:
                here, there = kept.lp_fragment_address, kept.hp_fragment_address
                name = optimizer.param_names[weight]
                yield Stretch(name, tuple(weight.shape), here.start, flat, there.start, here.numel)


def _stretches_of_stage_3(optimizer: Any) -> Iterator[Stretch]:
    for group, flat in zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True):
        offset = 0
        for weight in group:
            start = weight.partition_numel() * torch.distributed.get_rank()
            numel = min(weight.partition_numel(), weight.ds_numel - start)
            if numel > 0:
                yield Stretch(optimizer.param_names[weight], tuple(weight.ds_shape), start, flat, offset, numel)
            offset += weight.partition_numel()


def _write_parts(optimizer: Any, folder: Path) -> None:
    rank, numbers = torch.distributed.get_rank(), count()
    tensors: dict[str, Tensor] = {}
    about: dict[str, dict[str, Any]] = {}
    for stretch in _stretches(optimizer):
        state = optimizer.optimizer.state.get(stretch.flat, {})
        values = {_MASTER: stretch.flat} | {key: state[key] for key in _MOMENTS if key in state}
        tensors |= {f"{stretch.name}|{key}": stretch.of(flat).to("cpu", copy=True) for key, flat in values.items()}
        step = float(state["step"]) if "step" in state else None
        about[stretch.name] = {"shape": stretch.shape, "start": stretch.start, "numel": stretch.numel, "step": step}
        if sum(tensor.nbytes for tensor in tensors.values()) >= _FILE_BYTES:
            _write_part(folder / f"part-{rank:05d}-{next(numbers):03d}.safetensors", tensors, about)
            tensors, about = {}, {}
    if tensors:
        _write_part(folder / f"part-{rank:05d}-{next(numbers):03d}.safetensors", tensors, about)


def _write_part(path: Path, tensors: dict[str, Tensor], about: dict[str, dict[str, Any]]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata={"stretches": json.dumps(about)})
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def _pieces(folder: Path) -> dict[str, tuple[tuple[int, ...], list[_Piece]]]:
    """Weight -> shape and what the files hold of it."""
    from safetensors import safe_open

    found: dict[str, tuple[tuple[int, ...], list[_Piece]]] = {}
    for path in sorted(folder.glob("part-*.safetensors")):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["stretches"])
        for name, one in about.items():
            piece = _Piece(path, one["start"], one["numel"], one["step"])
            found.setdefault(name, (tuple(one["shape"]), []))[1].append(piece)
    return found


def _check(stretches: list[Stretch], pieces: dict[str, tuple[tuple[int, ...], list[_Piece]]], folder: Path) -> None:
    """Are these states of these weights, and all of them?"""
    for stretch in stretches:
        if stretch.name not in pieces:
            raise ConfigError(f"{folder}: has no {stretch.name}, which this run trains; it is of another configuration")
        shape, parts = pieces[stretch.name]
        held = sum(part.numel for part in parts)
        if shape != stretch.shape or held != torch.Size(shape).numel():
            raise ConfigError(
                f"{folder}: {stretch.name} has shape {list(shape)} with {held} numbers, and this run "
                f"{list(stretch.shape)}; it is of another model, or a file is missing"
            )


def _fill(inner: torch.optim.Optimizer, stretch: Stretch, found: tuple[tuple[int, ...], list[_Piece]]) -> None:
    """Copy into a stretch what files hold of it; the optimizer's moments are made where they are not yet there."""
    _, pieces = found
    state = inner.state[stretch.flat]
    step = pieces[0].step
    if step is not None and "step" not in state:
        is_fused = any(group.get("fused") or group.get("capturable") for group in inner.param_groups)
        device = stretch.flat.device if is_fused else torch.device("cpu")
        state["step"] = torch.tensor(step, dtype=torch.float32, device=device)
        for key in _MOMENTS:
            state[key] = torch.zeros_like(stretch.flat.detach())
    keys = {_MASTER: stretch.flat} | ({} if step is None else {key: state[key] for key in _MOMENTS})
    for piece in pieces:
        first, end = max(stretch.start, piece.start), min(stretch.start + stretch.numel, piece.start + piece.numel)
        if first < end:
            _copy(stretch, piece, first, end, keys)


def _copy(stretch: Stretch, piece: _Piece, first: int, end: int, keys: dict[str, Tensor]) -> None:
    from safetensors import safe_open

    with safe_open(piece.file, "pt") as file:
        for key, flat in keys.items():
            value = file.get_slice(f"{stretch.name}|{key}")[first - piece.start : end - piece.start]
            stretch.of(flat)[first - stretch.start : end - stretch.start].copy_(value)


def _refresh(optimizer: Any) -> None:
    """Give the weights the numbers of the masters; all processes together."""
    if not hasattr(optimizer, "fp32_partitioned_groups_flat"):
        optimizer._hp_optimizer_states_linked = False
        optimizer.update_lp_params()
        return
    optimizer.checkpoint_event_prologue()
    for number in range(len(optimizer.fp16_groups)):
        optimizer._reassign_or_swap_out_partitioned_parameters(number)
    optimizer.checkpoint_event_epilogue()


def _agree(failure: Exception | None) -> None:
    """Raise in every process where one has failed: one that left alone would keep the others waiting."""
    failures: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(failures, None if failure is None else f"{failure}")
    if failure is not None:
        raise failure
    told = next((text for text in failures if text is not None), None)
    if told is not None:
        raise OSError(f"another process could not write its part: {told}")
