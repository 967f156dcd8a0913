"""What a number type loses where weights are trained in it."""

from __future__ import annotations

import torch

_HALF = ("bfloat16", "float16")


def least_step(dtype: str) -> float:
    """Largest share of a weight by which it cannot be changed: half the distance to the next number, at the least.

    Numbers between 1 and 2 lie eps apart; just below 2 that is eps / 2 of a number, and half of it rounds back.

    >>> 1 / least_step("bfloat16"), 1 / least_step("float32")
    (512.0, 33554432.0)
    """
    return torch.finfo(getattr(torch, dtype)).eps / 4


def rounding_warnings(layout: str, dtype: str, has_adapter: bool, lr: float) -> tuple[str, ...]:
    """A sentence about weights that are trained in half precision and nowhere kept in float32; none elsewhere.

    AdamW moves a weight by about the learning rate, and a weight above `lr / least_step` rounds back to where it was.
    ZeRO and fsdp2 keep what learns in float32; adapters are float32 by themselves.

    Args:
        layout: of `o3v.training.layouts.LAYOUTS`.
        dtype: `model.dtype`.
        has_adapter: only adapters learn.
        lr: peak learning rate.

    >>> rounding_warnings("zero2", "bfloat16", False, 1e-6), rounding_warnings("ddp", "bfloat16", True, 1e-6)
    ((), ())
    """
    if layout != "ddp" or dtype not in _HALF or has_adapter:
        return ()
    return (
        f"trainer.layout=ddp trains weights and keeps moments in model.dtype={dtype}: with optim.lr={lr:g} weights "
        f"above {lr / least_step(dtype):.2g} round back to what they were in every step; trainer=fsdp2 and "
        "trainer=deepspeed_zero2 keep float32 weights, model.dtype=float32 does, and so do adapters (model.lora.rank)",
    )
