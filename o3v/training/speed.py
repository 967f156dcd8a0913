"""Tokens a second, share of the device's peak and memory of every step, under `train/speed` and `train/memory`.

All numbers are of the first process and its device. docs/profiling.md says what each means.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from o3v.data.stream import Batch
from o3v.sections import in_section
from o3v.training.learner import Learner
from o3v.training.module import GroundingModule
from o3v.training.peak import peak_tflops
from o3v.training.step_size import drawn_tokens, groups_of, how_of, model_work, train_tokens

_MIB = 2**20


class Speed(Callback):
    """Adds to a step's metrics what it worked through and how long it took, everything between two steps included.

    Must come before the callback that reports them.

    Args:
        learner: what the step does; its model says what an operation costs.
        peak_tflops: of one device, 1e12 operations a second; None takes it from the device's name.
    """

    def __init__(self, learner: Learner, peak_tflops: float | None) -> None:
        self._learner = learner
        self._peak_tflops = peak_tflops
        self._since_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first step begins with waiting for its batch."""
        if self._peak_tflops is None and pl_module.device.type == "cuda":
            self._peak_tflops = peak_tflops(torch.cuda.get_device_name(pl_module.device))
        _forget_peak(pl_module.device)
        self._since_s = time.perf_counter()

    @in_section("logging")
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Measures the step that ends here; the next begins."""
        assert isinstance(pl_module, GroundingModule)
        now_s = time.perf_counter()
        period_s, self._since_s = now_s - self._since_s, now_s
        if not trainer.is_global_zero:
            return
        pl_module.step_metrics |= self._numbers(batch, pl_module, period_s) | memory(pl_module.device)
        _forget_peak(pl_module.device)

    def _numbers(self, batch: Batch, module: GroundingModule, period_s: float) -> dict[str, float]:
        rl = self._learner.objective.needs_rollout
        is_lost = rl and module.experience is None  # an outside engine has failed; all processes are about to stop
        groups = () if is_lost else groups_of(batch, module.experience)
        how = how_of(self._learner, groups)
        tokens = train_tokens(groups, how)
        tflop = model_work(self._learner.policy.model.config, groups, how).total / 1e12
        numbers = {"work/tokens": float(tokens), "work/model_tflop": tflop}
        numbers |= {"speed/period_s": period_s, "speed/tokens_per_s": tokens / period_s}
        if rl:
            drawn = drawn_tokens(groups)
            numbers |= {"work/drawn_tokens": float(drawn), "speed/drawn_tokens_per_s": drawn / period_s}
        return numbers | ({} if self._peak_tflops is None else {"speed/mfu": tflop / period_s / self._peak_tflops})


def memory(device: torch.device) -> dict[str, float]:
    """Memory in MiB: this process on the host now and at most since its start, and on a GPU at most in this step."""
    found = {"memory/host_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # Linux: KiB
    pages = Path("/proc/self/statm")
    if pages.exists():
        now_mib = int(pages.read_text().split()[1]) * resource.getpagesize() / _MIB
        peak_mib = max(found["memory/host_peak_mib"], now_mib)  # the system brings its peak up to date now and then
        found = {"memory/host_peak_mib": peak_mib, "memory/host_mib": now_mib}
    if device.type == "cuda":
        found["memory/gpu_allocated_peak_mib"] = torch.cuda.max_memory_allocated(device) / _MIB
        found["memory/gpu_reserved_peak_mib"] = torch.cuda.max_memory_reserved(device) / _MIB
    return found


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
