"""DeepSpeed ZeRO: gradients and optimizer (stage 2) or weights too (stage 3) spread over the processes of a run.

Lightning's strategy with another step and other states: several backward passes make one update, weights are gathered
once a rollout, states are read by any number of processes (`o3v.training.zero_state`), and it runs on a CPU too (gloo),
without a compiler. ZeRO: arXiv 1910.02054, section 5; offload: arXiv 2101.06840.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import Tensor, nn

from o3v.errors import ConfigError
from o3v.sections import in_section, section
from o3v.training.zero_gather import gather_all, whole_weights
from o3v.training.zero_state import read_state, write_state

log = logging.getLogger(__name__)

STAGES = (2, 3)
_BUCKET = {"cpu": 10**6, "cuda": 10**8}
"""Numbers that are exchanged at one time; there is a buffer of this size."""


def zero_strategy(
    stage: int, offload: bool, max_grad_norm: float, dtype: str, device: str, keep_whole: int = 100_000
) -> ZeroStrategy:
    """A strategy for `lightning.Trainer(strategy=...)`.

    Args:
        stage: 2 spreads gradients, float32 masters and optimizer; 3 the weights too.
        offload: keep weights, masters and optimizer in the host's memory; stage 3 only.
        max_grad_norm: DeepSpeed scales gradients down to this norm.
        dtype: `model.dtype`; bfloat16 is trained with float32 masters.
        device: "cpu" or "cuda".
        keep_whole: in stage 3, weights with at most so many numbers stay whole in every process.

    Raises:
        ConfigError: DeepSpeed is not installed, or cannot do what is asked for.
    """
    if find_spec("deepspeed") is None:
        raise ConfigError("trainer.layout=zero needs deepspeed, which is not installed: pip install -e '.[deepspeed]'")
    if stage not in STAGES:
        raise ConfigError(f"ZeRO stage {stage} is not allowed; allowed are {list(STAGES)}")
    if offload and stage != 3:
        raise ConfigError(f"ZeRO stage {stage} is not offloaded here; allowed is stage 3")
    if dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"model.dtype={dtype!r} is not allowed with ZeRO; allowed are float32 and bfloat16")
    return ZeroStrategy(config=zero_config(stage, offload, max_grad_norm, dtype, device, keep_whole))


def zero_config(
    stage: int, offload: bool, max_grad_norm: float, dtype: str, device: str, keep_whole: int
) -> dict[str, Any]:
    """DeepSpeed's configuration; arguments as of `zero_strategy`.

    >>> config = zero_config(3, False, 1.0, "bfloat16", "cuda", 0)
    >>> config["zero_optimization"]["stage"], config["gradient_clipping"], config["bf16"]["enabled"]
    (3, 1.0, True)
    """
    zero: dict[str, Any] = {
        "stage": stage,
        "contiguous_gradients": True,
        "overlap_comm": device == "cuda",
        "reduce_bucket_size": _BUCKET[device],
    }
    if stage == 3:
        zero |= {"stage3_param_persistence_threshold": keep_whole}
    if offload:
        place = {"device": "cpu", "pin_memory": device == "cuda"}
        zero |= {"offload_optimizer": place, "offload_param": place}
    return {
        "train_micro_batch_size_per_gpu": 1,  # only for DeepSpeed's own counting
        "managed_gradient_accumulation": False,  # an update ends where it is told to, not after a fixed number
        "gradient_clipping": max_grad_norm,
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",  # gradients of several passes and processes add up without rounding to bf16
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's own: DeepSpeed's is compiled on the spot
        "zero_optimization": zero,
    } | ({"bf16": {"enabled": True, "check_grad_overflow": True}} if dtype == "bfloat16" else {})


class _BatchAsItIs(DeepSpeedPrecision):
    """Numbers of a batch are converted where a step computes on them, if they are."""

    def convert_input(self, data: Any) -> Any:
        """As it is."""
        return data


class ZeroStrategy(DeepSpeedStrategy):
    """Made by `zero_strategy`. The model is `lightning_module.model`, with its head's weight used inside its forward.

    Every method but `training_step` is a collective: all processes must call it equally often.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config=config)
        self._whole = 0

    def setup_environment(self) -> None:
        """As Lightning's, also on a CPU."""
        self.precision_plugin = _BatchAsItIs("32-true")
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self) -> None:
        """As Lightning's; on a CPU by gloo, and without the operation that DeepSpeed would compile."""
        if self.root_device.type == "cuda":
            super().setup_distributed()
            return
        from deepspeed.accelerator import set_accelerator
        from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
        from deepspeed.ops import __compatible_ops__
        from lightning.fabric.utilities.seed import reset_seed

        warnings.filterwarnings("ignore", message=".*is deprecated.*", module="torch.distributed.c10d_logger")
        set_accelerator(CPU_Accelerator())
        __compatible_ops__["deepspeed_shm_comm"] = False
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def setup(self, trainer: Any) -> None:
        """As Lightning's, but the model keeps its number types: DeepSpeed casts it."""
        self._init_config_if_needed()
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        self.setup_optimizers(trainer)
        self.init_deepspeed()
        self.barrier()

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own, not through DeepSpeed's forward: a step has several passes, each with its hooks."""
        assert self.lightning_module is not None
        return self.lightning_module.training_step(*args, **kwargs)

    def apply_loss(self, loss: Tensor, is_last: bool) -> float | None:
        """One backward pass; gradients add up until the last of an update, which clips and steps.

        Returns:
            Norm of the update's gradient before clipping, over all processes; None where the update goes on. Where a
            gradient is not finite, infinity: DeepSpeed leaves that update out, in all processes.
        """
        engine: Any = self.deepspeed_engine
        with section("backward"):
            engine.optimizer.clear_backward_seen_flag()
            engine._backward_prologue()  # DeepSpeed's forward has it called by the loss' graph, and is not used here
            engine.backward(loss)
            if self.zero_stage_3:
                engine.optimizer.parameter_offload.get_param_coordinator().reset_step()
        return self._step_weights() if is_last else None

    @in_section("optimizer")
    def _step_weights(self) -> float:
        engine: Any = self.deepspeed_engine
        assert self.lightning_module is not None
        self.lightning_module.optimizers().step()  # type: ignore[union-attr]
        _forget_gradients(engine.optimizer)
        if not engine.was_step_applied():
            log.warning("a gradient is not finite: this update is left out")
            return math.inf
        return float(engine.get_global_grad_norm())

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Every process has all weights inside; nothing inside is a collective. May be nested.

        A graph that was made inside cannot be used for a backward pass outside: its weights are gone by then.
        """
        if not self.zero_stage_3 or self._whole:
            yield
            return
        self._whole += 1
        try:
            with gather_all(self.deepspeed_engine.optimizer):
                yield
        finally:
            self._whole -= 1

    def whole_state(self) -> dict[str, Tensor] | None:
        """Weights of `lightning_module.model` in its own number type, on the host of process 0; None elsewhere."""
        assert self.lightning_module is not None
        return whole_weights(self.lightning_module.model, self.is_global_zero)  # type: ignore[arg-type]

    def shard_frozen(self, model: nn.Module) -> None:
        """Spread a second, frozen model as the first one is; in stage 2 it is moved to the device whole."""
        if not self.zero_stage_3:
            model.to(self.root_device)
            return
        import deepspeed

        register_head(model)
        assert isinstance(self.config, dict)
        keys = ("train_micro_batch_size_per_gpu", "bf16", "zero_optimization")
        config = {key: self.config[key] for key in keys if key in self.config}
        zero = {key: value for key, value in config["zero_optimization"].items() if key != "offload_optimizer"}
        deepspeed.initialize(
            args=argparse.Namespace(device_rank=self._device_rank),
            config=config | {"zero_optimization": zero},
            model=model,
            model_parameters=[],
            dist_init_required=False,
        )

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Write a state into a folder, see `o3v.training.zero_state`; raises OSError in all processes or in none."""
        folder = Path(self.broadcast(filepath))
        skipped = ("state_dict", "optimizer_states")
        content = {key: value for key, value in checkpoint.items() if key not in skipped}
        write_state(self.deepspeed_engine.optimizer, folder, content, self.is_global_zero)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a state that any number of processes has written."""
        return read_state(self.deepspeed_engine.optimizer, Path(checkpoint_path))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Nothing: every process writes its own part."""
        return {}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Nothing, as above."""
        return {}

    @property
    def _device_rank(self) -> int:
        return self.local_rank if self.root_device.index is None else self.root_device.index

    def _setup_model_and_optimizer(self, model: Any, optimizer: Any, lr_scheduler: Any = None) -> tuple[Any, Any]:
        import deepspeed

        assert isinstance(self.config, dict)
        if "offload_optimizer" in self.config["zero_optimization"]:
            for group in optimizer.param_groups:
                group["fused"], group["foreach"] = True, None
        engine, wrapped, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self._device_rank),
            config=self.config,
            model=model,
            model_parameters=[weight for weight in model.parameters() if weight.requires_grad],
            optimizer=optimizer,
            dist_init_required=False,
        )
        if self.zero_stage_3:
            register_head(model.model)
        return engine, wrapped

    def _initialize_deepspeed_inference(self, model: nn.Module) -> None:
        raise ConfigError("ZeRO is for training; evaluate the exported model")


def register_head(model: Any) -> None:
    """Have a model's head gathered for its whole forward, in which its weight is used without calling it."""
    import deepspeed

    deepspeed.zero.register_external_parameter(model, model.lm_head.weight)


def _forget_gradients(optimizer: Any) -> None:
    """A weight without a gradient in the next update would else be given that of this one (stage 3)."""
    buffer = getattr(optimizer, "grad_partitions_flat_buffer", None)
    if buffer is None:
        return
    buffer.zero_()
    for master in optimizer.fp32_partitioned_groups_flat:
        if master.grad is not None:
            master.grad.zero_()
