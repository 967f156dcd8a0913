"""What this machine has for a model: attention kernels and quantised weights."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Final

from o3v.errors import ConfigError

log = logging.getLogger(__name__)

FLASH: Final = "flash_attention_2"
FALLBACK: Final = "sdpa"
QUANTIZATIONS: Final = ("nf4",)
"""Values of `model.quantization` beside null: 4-bit NormalFloat with quantised scales (QLoRA, arXiv:2305.14314)."""


def attention_for(wanted: str) -> str:
    """The attention implementation that transformers is given.

    The language model always goes through the project's own kernels (`o3v.models.passes`); what is chosen here is that
    of the vision tower, for which sdpa stands for one kernel call over all windows (`o3v.models.vision_attention`).

    Args:
        wanted: a name of transformers', or auto: flash_attention_2 where it is there, else sdpa.

    Raises:
        ConfigError: flash_attention_2 is asked for by name and is not there; says why.
    """
    if wanted not in ("auto", FLASH):
        return wanted
    missing = flash_missing()
    if missing is None:
        return FLASH
    if wanted == FLASH:
        raise ConfigError(f"model.attention={FLASH!r} cannot be used: {missing}; allowed here are auto and {FALLBACK}")
    _tell(missing)
    return FALLBACK


@cache
def _tell(missing: str) -> None:
    log.info("model.attention=auto is %s, not %s: %s", FALLBACK, FLASH, missing)


def flash_missing() -> str | None:
    """Why flash_attention_2 cannot be used here; None where it can."""
    if find_spec("flash_attn") is None:
        return "the package flash_attn is not installed"
    import torch

    if not torch.cuda.is_available():
        return "no GPU is visible"
    if torch.cuda.get_device_capability() < (8, 0):
        return f"{torch.cuda.get_device_name()} is older than Ampere"
    return None


def check_quantization(quantization: str | None) -> None:
    """Can weights be loaded quantised here? Looked at before anything heavy is loaded.

    Raises:
        ConfigError: bitsandbytes or a GPU is missing.
    """
    if quantization is None:
        return
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"model.quantization={quantization!r} needs bitsandbytes, which is not installed: pip install -e '.[qlora]'"
        )
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(f"model.quantization={quantization!r} needs a GPU, and none is visible; allowed here is null")
