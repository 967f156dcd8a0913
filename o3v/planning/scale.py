"""What one GSPO step and an epoch cost on many devices, from measured parts and named assumptions; on paper.

    step = compute + decoding + the exchange that is not hidden;  loading videos in the background may be longer

Compute and decoding use rates that were measured on one GPU (experiments/step_cost_gpu); links and cores are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from o3v.planning.case import PlanCase
from o3v.planning.memory import GIB, plan_memory
from o3v.planning.sizes import Sizes
from o3v.planning.state import weight_bytes
from o3v.planning.work import exchanged_bytes, pass_work, step_work


@dataclass(frozen=True)
class Rates:
    """How fast the parts go. Each is a key of conf/bench_scale.yaml with its source.

    Attributes:
        tflops: operations a second of training and reading, 1e12.
        decode_tb_s: weights read a second while decoding, 1e12 bytes.
        node_gb_s: bytes that a device sends a second inside a node, 1e9.
        network_gb_s: between nodes, for each device.
        hidden: share of the exchange behind which something else is computed, 0 to 1.
        devices_a_node: devices that are joined by the faster link.
        video_cpu_s: CPU seconds to read a clip.
        cores: CPU cores of a device's loader.
    """

    tflops: float
    decode_tb_s: float
    node_gb_s: float
    network_gb_s: float
    hidden: float
    devices_a_node: int
    video_cpu_s: float
    cores: int


def step_seconds(case: PlanCase, sizes: Sizes, rates: Rates) -> dict[str, float]:
    """Seconds of one step by part; `video` runs beside the others."""
    drawn = case.prompts * case.group_size * pass_work(case, sizes).completion.total  # goes by bytes: decoding
    work = sum(part.total for part in step_work(case, sizes).values()) - drawn
    decoding = case.lengths.completion * weight_bytes(case, sizes) / (rates.decode_tb_s * 1e12)
    link = rates.node_gb_s if case.devices <= rates.devices_a_node else rates.network_gb_s
    exchange = exchanged_bytes(case, sizes) / (link * 1e9) * (1 - rates.hidden)
    video = case.prompts * rates.video_cpu_s / rates.cores
    return {"compute": work / 1e12 / rates.tflops, "decoding": decoding, "exchange": exchange, "video": video}


def whole_step(parts: Mapping[str, float]) -> float:
    """Seconds until the next step.

    >>> whole_step({"compute": 2.0, "decoding": 1.0, "exchange": 0.5, "video": 3.0})
    3.5
    >>> whole_step({"compute": 2.0, "decoding": 1.0, "exchange": 0.5, "video": 9.0})
    9.0
    """
    return max(sum(size for name, size in parts.items() if name != "video"), parts["video"])


def scale_row(name: str, case: PlanCase, sizes: Sizes, rates: Rates, samples: int) -> dict[str, Any]:
    """One model on one number of devices."""
    parts = step_seconds(case, sizes, rates)
    steps = -(-samples // (case.devices * case.prompts))
    step = whole_step(parts)
    return {
        "model": name,
        "devices": case.devices,
        "peak_gib": plan_memory(case, sizes).peak / GIB,
        "seconds": parts,
        "step_s": step,
        "bottleneck": max(parts, key=lambda part: parts[part]),
        "steps": steps,
        "epoch_h": steps * step / 3600,
        "device_hours": steps * step / 3600 * case.devices,
    }
