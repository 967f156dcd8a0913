"""What a test of gathered weights starts: rollouts, a frozen second model and an export between updates.

Collectives are counted by the process groups' own numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from o3v.models.entry import through
from o3v.models.logprobs import dense_scores
from o3v.models.policy import Policy
from o3v.rollout.draw import Sampling
from o3v.rollout.sampler import sample_completions
from tests import tiny
from tests.training import zero_run


class Module(zero_run.Module):
    """Draws, scores with a frozen model, fails, and then makes its update."""

    def __init__(self, policy: Policy, run: dict[str, Any]) -> None:
        super().__init__(policy, run)
        self.found: dict[str, Any] = {}
        self.reference = [tiny.random_policy("qwen2_5_vl", seed=7)]  # in a list: no part of the module

    def on_fit_start(self) -> None:
        (reference,) = self.reference
        expected = reference_scores(reference)
        strategy: Any = self.trainer.strategy
        strategy.shard_frozen(reference.model)
        kept = sum(weight.numel() for weight in reference.model.parameters())
        self.found |= {"reference": reference_scores(reference), "expected": expected, "reference_kept": kept}

    def training_step(self, batch: Any, number: int) -> None:
        strategy: Any = self.trainer.strategy
        if self.done == 2:
            self.found["counts"] = [collectives(partial(draw, self, tokens))[0] for tokens in (1, 2, 16)]
            self.found["inside"] = inside(self, strategy)
            self.found["middle"] = strategy.whole_state()
            self.found["ids_again"] = ids_of(self.found["middle"])
            nested_and_broken(self, strategy)
        if self.done == 3:
            again = reference_scores(self.reference[0])
            self.found["reference_again"] = again
        super().training_step(batch, number)


def draw(module: Module, tokens: int) -> Tensor:
    """Completions of a prompt, all of full length."""
    strategy: Any = module.trainer.strategy
    with strategy.gathered():
        return drawn(module.policy, tokens)


def drawn(policy: Policy, tokens: int) -> Tensor:
    """As `draw`, with weights that are whole."""
    encoded = policy.encode([tiny.clip_prompt(policy, 2, 5)])
    sampling = Sampling(group_size=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=tokens, decoder="eager")
    return sample_completions(policy, encoded, sampling, [1, 2], eos_id=-1).ids


def inside(module: Module, strategy: Any) -> int:
    """Collectives while weights are gathered."""
    with strategy.gathered():
        count, module.found["ids"] = collectives(lambda: drawn(module.policy, 16))
    return count


def ids_of(state: dict[str, Tensor] | None) -> Tensor | None:
    """What a plain model with these weights draws."""
    if state is None:
        return None
    policy = tiny.random_policy("qwen2_5_vl")
    policy.model.load_state_dict(state)
    return drawn(policy, 16)


def nested_and_broken(module: Module, strategy: Any) -> None:
    """An inner block leaves weights to the outer one; an error leaves the engine usable."""
    weight = module.policy.model.lm_head.weight
    try:
        with strategy.gathered():
            with strategy.gathered():
                pass
            module.found["nested_whole"] = weight.numel()
            raise KeyError("in the rollout")
    except KeyError:
        module.found["after_numel"] = weight.numel()


def reference_scores(policy: Policy) -> Tensor:
    """Log-probabilities under the frozen model, through its forward."""
    encoded = policy.encode([tiny.clip_prompt(policy, 2, 9)])
    ids, mask = policy.encode_targets(["a word"])
    with torch.no_grad():
        return through(policy, encoded, lambda: dense_scores(policy, encoded, ids, mask)).logprobs


def collectives(work: Callable[[], Any]) -> tuple[int, Any]:
    """How many collectives `work()` makes in this process, and what it returns."""
    before = _numbers()
    result = work()
    return _numbers() - before, result


def _numbers() -> int:
    groups = torch.distributed.distributed_c10d._world.pg_map
    return sum(group._get_sequence_number_for_group() for group in groups)


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    zero_run.train(told, Module)
