"""Highest rate of a device, for the share of it that a step uses."""

from __future__ import annotations

import re
from typing import Final

PEAK_TFLOPS: Final = (
    (r"A100\b.*", 312.0),
    (r"H100 PCIe", 756.5),
    (r"H100 NVL", 835.5),
    (r"H100\b.*", 989.5),
    (r"H200 NVL", 835.5),
    (r"H200\b.*", 989.5),
    (r"L40S", 362.05),
    (r"RTX A6000", 154.85),
    (r"GeForce RTX 4090", 165.2),
    (r"L4", 121.0),
)
"""Name without "NVIDIA" -> 1e12 dense bf16 operations a second with float32 accumulation, the first that fits.

From NVIDIA's data sheets of A100, H100, H200, L40S, RTX A6000 and L4 and its Ada architecture white paper (RTX 4090);
where a sheet gives the rate for sparse matrices (all but A100 and RTX 4090), half of it."""


def peak_tflops(name: str) -> float | None:
    """Peak of a device by the name that CUDA gives it; None for an unknown one, and for a part of one (MIG).

    >>> peak_tflops("NVIDIA H100 80GB HBM3"), peak_tflops("NVIDIA L40S"), peak_tflops("NVIDIA L4")
    (989.5, 362.05, 121.0)
    >>> peak_tflops("NVIDIA H100 80GB HBM3 MIG 1g.10gb"), peak_tflops("NVIDIA L40"), peak_tflops("AMD EPYC")
    (None, None, None)
    """
    bare = name.removeprefix("NVIDIA ")
    if "MIG" in bare:
        return None
    return next((peak for pattern, peak in PEAK_TFLOPS if re.fullmatch(pattern, bare)), None)
