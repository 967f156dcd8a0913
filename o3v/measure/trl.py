"""The step of TRL's GRPOTrainer, with its own phases opened to a meter.

What is changed in it, and why: the LM head scores completion positions only, as TRL does where Triton runs (on a CPU it
scores every position, which nobody would compare with). Frames go in as images: trained on videos, TRL 1.16 hands the
model no pixels in its training forward. Everything else is TRL's.
"""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from o3v.measure.case import StepCase
from o3v.measure.clock import Meter
from o3v.types import Prompt

if TYPE_CHECKING:
    from o3v.models.policy import Policy

NOTES = (
    "TRL's LM head is patched to score completion positions only, as it does on a GPU; stock TRL on a CPU scores all "
    "positions and is slower",
    "frames go in as images, because TRL 1.16 trains on videos without their pixels",
)


def run(case: StepCase, policy: Policy, prompt: Prompt, meters: Sequence[Meter]) -> None:
    """One training step a meter by GRPOTrainer.

    Args:
        case: sizes and objective; a KL term uses a copy of the model and `use_bias_correction_kl=False`.
        policy: the model; it is trained.
        prompt: the prompt of every step.
        meters: one a step.
    """
    from trl.trainer import utils as trl_utils

    with tempfile.TemporaryDirectory() as folder, _replaced(trl_utils, "_use_triton", lambda device: True):
        trainer = _trainer(case, policy, prompt, len(meters), folder)
        _watch(trainer, meters)
        trainer.train()


def _trainer(case: StepCase, policy: Policy, prompt: Prompt, steps: int, folder: str) -> Any:
    from trl import GRPOTrainer
    from trl.trainer.utils import add_fused_lm_head

    reference = copy.deepcopy(policy.model).requires_grad_(False) if case.objective.kl_coef else None
    draw = random.Random(case.seed)
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=lambda completions, **_: [draw.random() for _ in completions],
        args=_arguments(case, steps, folder),
        train_dataset=_dataset(prompt),
        processing_class=policy.processor,
    )
    if reference is not None:  # TRL would load the reference from a path; this model has none
        add_fused_lm_head(reference, temperature=trainer.temperature)
        trainer.ref_model, trainer.beta = reference, case.objective.kl_coef
    return trainer


def _arguments(case: StepCase, steps: int, folder: str) -> Any:
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=case.micro_batch,
        gradient_accumulation_steps=case.group_size // case.micro_batch,
        num_generations=case.group_size,
        max_completion_length=case.completion,
        generation_kwargs={"min_new_tokens": case.completion},
        temperature=case.sampling.temperature,
        importance_sampling_level=case.objective.ratio_level,
        loss_type="grpo",
        beta=0.0,
        epsilon=case.objective.clip_low,
        epsilon_high=case.objective.clip_high,
        use_bias_correction_kl=False,
        gradient_checkpointing=case.spec.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=False,
        use_cpu=True,
        optim="adamw_torch",
        learning_rate=case.lr,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        max_steps=steps,
        shuffle_dataset=False,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=case.seed,
    )


def _dataset(prompt: Prompt) -> Any:
    """One row, whose frames are handed over from memory instead of being decoded for every completion."""
    from datasets import Dataset
    from PIL import Image

    images = [Image.fromarray(frame) for frame in prompt.clip.frames]
    text = "".join(part for part in prompt.parts if isinstance(part, str))
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": text}]]})
    return rows.with_transform(lambda batch: {**batch, "images": [images] * len(batch["prompt"])})


def _watch(trainer: Any, meters: Sequence[Meter]) -> None:
    """Open a meter at the start of each of the trainer's steps, and its phases where the trainer enters them."""
    from trl.trainer.callbacks import TrainerCallback

    waiting, opened, now = iter(meters), ExitStack(), [meters[0]]

    class Steps(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            now[0] = next(waiting)
            opened.enter_context(now[0].step())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            opened.close()

    def phase(owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        @wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with now[0].phase(name):
                return plain(*args, **kwargs)

        setattr(owner, method, timed)

    trainer.add_callback(Steps())
    trainer.create_optimizer()
    phase(trainer.model, "generate", "rollout")
    phase(trainer, "_compute_loss", "forward")
    phase(trainer.accelerator, "backward", "backward")
    phase(trainer, "_clip_grad_norm", "optimizer")
    phase(trainer.optimizer, "step", "optimizer")
    if trainer.ref_model is not None:
        phase(trainer.ref_model, "forward", "ref")


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
