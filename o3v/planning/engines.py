"""How engines lay a model out over devices, as names: what is sharded, what lies on the host, what copies there are.

The names are those of conf/trainer; a plan can be made for an engine that has no trainer preset here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from o3v.errors import ConfigError

_BUCKETS: Final = 2 * 10**9
"""Bytes of DeepSpeed's buckets for reducing and gathering: 5e8 numbers each (its defaults), in two bytes."""


@dataclass(frozen=True)
class Engine:
    """One way of laying a model out.

    Attributes:
        shards_weights, shards_gradients, shards_optimizer: each device holds its share of them.
        optimizer_on_host: moments and master weights lie in the host's memory.
        master_bytes: of a float32 copy that half-precision weights are updated in, per learned parameter; 0 for none.
        wide_moments: the two moments are float32 whatever the weights are; else of the weights' type.
        copies_gradients: a second set of gradients in the buckets of the all-reduce.
        buffers: bytes of communication buffers.
    """

    shards_weights: bool = False
    shards_gradients: bool = False
    shards_optimizer: bool = False
    optimizer_on_host: bool = False
    master_bytes: int = 0
    wide_moments: bool = False
    copies_gradients: bool = False
    buffers: int = 0


_ZERO: Final = {"shards_gradients": True, "shards_optimizer": True, "wide_moments": True}

ENGINES: Final = {
    "cpu": Engine(),
    "gpu": Engine(),
    "ddp": Engine(copies_gradients=True),
    "fsdp2": Engine(shards_weights=True, shards_gradients=True, shards_optimizer=True),
    "zero2": Engine(**_ZERO, master_bytes=4, buffers=_BUCKETS),
    "zero3": Engine(**_ZERO, shards_weights=True, master_bytes=4, buffers=_BUCKETS),
    "zero3_offload": Engine(**_ZERO, shards_weights=True, master_bytes=4, buffers=_BUCKETS, optimizer_on_host=True),
}
"""Name -> layout. cpu, gpu, ddp and fsdp2 train weights as they are (bf16 in, bf16 moments); ZeRO keeps float32
masters and moments (arXiv:1910.02054, section 5)."""


def find_engine(name: str) -> Engine:
    """The engine of a name, with or without `deepspeed_` before it.

    Raises:
        ConfigError: there is none.

    >>> find_engine("deepspeed_zero3").shards_weights
    True
    """
    plain = name.removeprefix("deepspeed_")
    if plain not in ENGINES:
        raise ConfigError(f"layout={name!r} is not known; allowed are {list(ENGINES)}, or auto")
    return ENGINES[plain]


def engine_of(lightning: dict[str, object]) -> str:
    """The engine that a trainer's keywords for Lightning mean.

    >>> engine_of({"accelerator": "gpu", "strategy": "deepspeed_stage_2"})
    'zero2'
    >>> engine_of({"accelerator": "cpu"}), engine_of({"accelerator": "gpu", "devices": 8})
    ('cpu', 'ddp')
    """
    strategy = lightning.get("strategy", "auto")
    words = (
        (str(strategy.get("_target_", "")) + str(sorted(strategy.items())))
        if isinstance(strategy, dict)
        else str(strategy)
    )
    lower = words.lower()
    if "deepspeed" in lower:
        stage = 3 if "stage_3" in lower or "('stage', 3)" in lower else 2
        return f"zero{stage}_offload" if "offload" in lower and stage == 3 else f"zero{stage}"
    if "fsdp" in lower or "modelparallel" in lower or "model_parallel" in lower:
        return "fsdp2"
    if lightning.get("devices", 1) not in (1, "1") or lightning.get("num_nodes", 1) not in (1, "1") or "ddp" in lower:
        return "ddp"
    return "cpu" if lightning.get("accelerator") == "cpu" else "gpu"
