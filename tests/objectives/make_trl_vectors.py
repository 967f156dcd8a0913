"""Writes golden/trl.json: what TRL's own code returns for fixed tensors.

Run once, with TRL 1.16 installed:

    pip install "trl==1.16.*"
    python -m tests.objectives.make_trl_vectors

`GRPOTrainer._compute_loss` runs on a stand-in for the trainer that hands out the fixed log-probabilities, in evaluation
mode (one pass, no accumulation). The advantages come from the lines of `_generate_and_score_completions` that compute
them, cut out of TRL's source and run unchanged.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import json
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch

OUT = Path(__file__).parent / "golden" / "trl.json"
LOSS_TYPES = ("grpo", "bnpo", "dapo", "dr_grpo", "cispo")
LEVELS = ("token", "sequence")
KL = ((0.0, False), (0.1, False), (0.1, True))
LENGTHS = (5, 3, 1, 4, 5, 2)
MAX_LENGTH = 7
CLIP = (0.2, 0.28)
CISPO_MAX = 1.25
GROUP_SIZE = 4
WEIGHTS = (1.0, 0.5, 2.0)


def shared_tensors() -> dict[str, torch.Tensor]:
    """[6, 5] log-probabilities: stale on both sides of the clip range, for advantages of both signs."""
    generator = torch.Generator().manual_seed(16)
    mask = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(-1)
    logprobs = -torch.rand(6, 5, generator=generator) * 2
    shift = torch.tensor([0.5, -0.5, 0.4, -0.4, 0.05, 0.3]).unsqueeze(-1)
    old = logprobs - shift + 0.2 * (torch.rand(6, 5, generator=generator) - 0.5)
    reference = logprobs + 0.8 * (torch.rand(6, 5, generator=generator) - 0.5)
    rounded = {"logprobs": logprobs, "old_logprobs": old, "ref_logprobs": reference}
    tensors = {name: torch.where(mask, value.round(decimals=4), 0.0) for name, value in rounded.items()}
    return tensors | {"mask": mask, "advantages": torch.tensor([1.0, -0.5, -1.5, 0.75, 1.25, 0.0])}


def shared_rewards() -> torch.Tensor:
    """[8, 3] values of three reward terms for two prompts; the second term does not apply to the first prompt."""
    rows = [[1, 0, 0.5], [0, 0, 0.25], [1, 0, 0.75], [1, 0, 0], [0, 0.25, 0.5], [1, 0.5, 0.5], [0, 1, 0.125], [1, 0, 1]]
    return torch.tensor(rows)


def trainer_for(loss_type: str, level: str, beta: float, corrected: bool, logprobs: torch.Tensor) -> SimpleNamespace:
    """What `_compute_loss` reads of a trainer."""
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    options = SimpleNamespace(use_bias_correction_kl=corrected, delta=None, steps_per_generation=1)
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, torch.zeros_like(logprobs), None),
        _metrics=defaultdict(lambda: defaultdict(list)), model=SimpleNamespace(training=False), accelerator=accelerator,
        args=options, loss_type=loss_type, importance_sampling_level=level, beta=beta, epsilon_low=CLIP[0],
        epsilon_high=CISPO_MAX if loss_type == "cispo" else CLIP[1], max_completion_length=MAX_LENGTH,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, aux_loss_enabled=False,
        _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1,
    )  # fmt: skip


def loss_case(loss_type: str, level: str, beta: float, corrected: bool, items: int) -> dict:
    """Loss, gradient and metrics of one configuration; `items` are the tokens of the whole update."""
    from trl import GRPOTrainer

    tensors = shared_tensors()
    logprobs = tensors["logprobs"].clone().requires_grad_()
    trainer = trainer_for(loss_type, level, beta, corrected, logprobs)
    mask = tensors["mask"].int()
    ones = torch.ones(6, 1, dtype=torch.long)
    inputs = {
        "prompt_ids": ones, "prompt_mask": ones, "completion_ids": mask.long(), "completion_mask": mask,
        "advantages": tensors["advantages"], "old_per_token_logps": tensors["old_logprobs"],
        "ref_per_token_logps": tensors["ref_logprobs"], "num_items_in_batch": torch.tensor(items),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    metrics = {name: values[0] for name, values in trainer._metrics["eval"].items() if "clip_ratio" in name}
    return {
        "loss_type": loss_type, "level": level, "beta": beta, "bias_correction": corrected, "items": items,
        "loss": float(loss.detach()), "gradient": rounded(gradient), "metrics": metrics,
    }  # fmt: skip


def advantage_lines() -> str:
    """The statements of TRL that turn `rewards_per_func` into `advantages`."""
    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    start = source.index("        unscorable_mask = ")
    stop = source.index("        # Slice to keep only the local part of the data")
    return textwrap.dedent(source[start:stop])


def advantage_case(aggregation: str, scale: str) -> dict:
    """Advantages of the two prompts' completions."""
    from trl.trainer.utils import nanstd

    trainer = SimpleNamespace(
        multi_objective_aggregation=aggregation,
        scale_rewards=scale,
        reward_weights=torch.tensor(WEIGHTS),
        reward_funcs=WEIGHTS,
    )
    names = {"self": trainer, "rewards_per_func": shared_rewards(), "num_generations": GROUP_SIZE, "device": "cpu"}
    scope = names | {"torch": torch, "nanstd": nanstd}
    exec(advantage_lines(), scope)
    return {"aggregation": aggregation, "scale": scale, "advantages": rounded(scope["advantages"])}


def rounded(values: torch.Tensor) -> list:
    """Nested lists with 8 significant digits."""
    if values.dim() > 1:
        return [rounded(row) for row in values]
    return [float(f"{value:.8g}") for value in values.tolist()]


def main() -> None:
    """Write all cases."""
    tokens = sum(LENGTHS)
    cases = [loss_case(*names, *kl, tokens) for *names, kl in itertools.product(LOSS_TYPES, LEVELS, KL)]
    cases.append(loss_case("dapo", "token", 0.1, False, 50))  # these completions are a part of an update of 50 tokens
    scales = [("sum_then_normalize", scale) for scale in ("group", "batch", "none")]
    tensors = {
        name: value.int().tolist() if name == "mask" else rounded(value) for name, value in shared_tensors().items()
    }
    content = {
        "trl": importlib.metadata.version("trl"),
        "clip": CLIP, "cispo_max": CISPO_MAX, "max_length": MAX_LENGTH,
        "tensors": tensors,
        "losses": cases,
        "group_size": GROUP_SIZE, "weights": WEIGHTS, "rewards_per_func": rounded(shared_rewards()),
        "advantages": [advantage_case(*names) for names in [*scales, ("normalize_then_sum", "group")]],
    }  # fmt: skip
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    OUT.write_text("{\n" + lines.replace('}, {"', '},\n {"') + "\n}\n")


if __name__ == "__main__":
    main()
