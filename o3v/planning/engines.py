"""What each layout of `o3v.training.layouts` puts where: what is sharded, what lies on the host, what copies there are.

The names are those of `trainer.layout`, and `cpu` and `gpu` for `ddp` in a single process (a test holds both lists
together). What DeepSpeed does beyond its paper was read in its source, version 0.19.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from o3v.errors import ConfigError


@dataclass(frozen=True)
class Engine:
    """One way of laying a model out.

    Attributes:
        shards_weights, shards_gradients, shards_optimizer: each device holds its share of them.
        on_host: weights, masters, moments and gradients lie in the host's memory, where the optimizer steps.
        float_weights: weights that learn are kept in float32, and cast for computing.
        masters: a float32 copy of every weight that learns, beside the weights, whatever their type.
        float_gradients: gradients are summed over passes and processes in float32.
        keeps_gradients: their memory is never given back.
        early_gradients: a device's part of a pass' gradients is taken as a whole at the first of them, in the type in
            which the model computes.
        whole_gradients: copies of gradients that the all-reduce has beside them.
        buckets: buffers through which gradients are exchanged, see `BUCKET_NUMBERS`.
        holds_root: what lies outside of layers and blocks stays gathered from a forward to its backward pass.
        holds_ahead: numbers of weights that may stay gathered beside the layer at work, as they are needed soon.
        float_exchange: float32 copies of the largest gradient while it is exchanged, where no bucket takes it.
        update_numbers: weights that are updated together; None for all of a device.
    """

    shards_weights: bool = False
    shards_gradients: bool = False
    shards_optimizer: bool = False
    on_host: bool = False
    float_weights: bool = False
    masters: bool = False
    float_gradients: bool = False
    keeps_gradients: bool = False
    early_gradients: bool = False
    whole_gradients: int = 0
    buckets: int = 0
    holds_root: bool = False
    holds_ahead: int = 0
    float_exchange: int = 0
    update_numbers: int | None = None


BUCKET_NUMBERS: Final = {True: 10**8, False: 10**6}
"""On a GPU or not -> float32 numbers of one bucket (`o3v.training.zero.zero_config`)."""

_ZERO2: Final = Engine(
    shards_gradients=True,
    shards_optimizer=True,
    masters=True,
    float_gradients=True,
    early_gradients=True,
    buckets=2,
    float_exchange=1,
)
_ZERO3: Final = replace(
    _ZERO2,
    shards_weights=True,
    keeps_gradients=True,
    early_gradients=False,
    buckets=1,
    holds_ahead=10**9,  # stage3_max_reuse_distance, DeepSpeed's default
    float_exchange=2,
    update_numbers=10**9,  # sub_group_size, likewise
)

ENGINES: Final = {
    "cpu": Engine(),
    "gpu": Engine(),
    "ddp": Engine(whole_gradients=1),
    "fsdp2": Engine(
        shards_weights=True,
        shards_gradients=True,
        shards_optimizer=True,
        float_weights=True,
        float_gradients=True,
        holds_root=True,
    ),
    "zero2": _ZERO2,
    "zero3": _ZERO3,
    "zero3_offload": replace(_ZERO3, on_host=True),
}
"""Name -> layout. cpu, gpu and ddp train weights as they are (bf16 in, bf16 moments); fsdp2 keeps them in float32, ZeRO
beside float32 masters (arXiv:1910.02054, section 5); both have float32 moments."""

PRESETS: Final = {
    "fsdp2": "fsdp2",
    "zero2": "deepspeed_zero2",
    "zero3": "deepspeed_zero3",
    "zero3_offload": "deepspeed_zero3_offload",
}
"""Name -> file of conf/trainer that trains so on several GPUs."""


def find_engine(name: str) -> Engine:
    """The engine of a name, with or without `deepspeed_` before it.

    Raises:
        ConfigError: there is none.

    >>> find_engine("deepspeed_zero3").shards_weights
    True
    """
    plain = plain_name(name)
    if plain not in ENGINES:
        raise ConfigError(f"layout={name!r} is not known; allowed are {list(ENGINES)}, or auto")
    return ENGINES[plain]


def plain_name(name: str) -> str:
    """A layout's name without the engine's.

    >>> plain_name("deepspeed_zero3_offload"), plain_name("ddp")
    ('zero3_offload', 'ddp')
    """
    return name.removeprefix("deepspeed_")


def engine_of(layout: str, lightning: Mapping[str, Any], processes: int) -> str:
    """The engine of a trainer: its layout, or the device where a single process has the whole model.

    >>> engine_of("zero3", {"accelerator": "gpu"}, 8), engine_of("ddp", {"accelerator": "gpu"}, 8)
    ('zero3', 'ddp')
    >>> engine_of("ddp", {"accelerator": "gpu"}, 1), engine_of("ddp", {"accelerator": "cpu"}, 1)
    ('gpu', 'cpu')
    """
    if layout != "ddp" or processes > 1:
        return layout
    return "cpu" if lightning.get("accelerator") == "cpu" else "gpu"
