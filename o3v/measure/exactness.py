"""Before any figure: do the ways of scoring agree with the plain computation, and is a wrong one noticed?

Both families, small random models, two prompts of different length with ragged completions, float32. The standard is
each row alone, without padding, through the library's own forward with nothing of this project in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from o3v.errors import UserError
from o3v.models.load import ModelSpec, make_policy

if TYPE_CHECKING:
    from torch import Tensor

    from o3v.models.policy import Encoded, Policy
    from o3v.rollout.sampler import Sampling
    from o3v.types import Prompt

LOGPROB_TOLERANCE = 1e-5
"""Largest difference of a log-probability, nats."""
GRADIENT_TOLERANCE = 1e-5
"""Norm of the difference of all gradients over their norm."""
NOTICED = 0.1
"""Smallest difference, in nats, that a wrong computation must make; the least of those tried makes several times it."""

_VOCAB_SIZE, _FRAME_UNITS, _SCALE = 600, 3, 2.0
_PROMPT_TOKENS = (40, 56)
_LENGTHS = (9, 4, 1, 7)
"""Two completions for each of the two prompts."""


class ExactnessError(UserError):
    """Some computation differs from the plain one, or a wrong one was not noticed; there are no figures then."""


@dataclass(frozen=True)
class Exactness:
    """Differences from the plain computation, for one family.

    Attributes:
        family: of the model.
        logprobs: way -> largest absolute difference, nats; `rollout` compares the log-probabilities that the sampler
            reports with the plain forward over the rows it drew.
        gradients: way -> relative difference of the whole gradient.
        controls: wrong computation -> largest absolute difference of a log-probability, nats.
        spread: standard deviation of the log-probabilities; a constant would agree with anything.
    """

    family: str
    logprobs: Mapping[str, float]
    gradients: Mapping[str, float]
    controls: Mapping[str, float]
    spread: float

    def faults(self) -> list[str]:
        """What is not as it must be, one sentence each.

        >>> Exactness("f", {"kept": 2e-5}, {"kept": 1e-6}, {"wrong": 0.5}, 1.0).faults()
        ['f: log-probabilities of kept differ by 2.0e-05, at most 1e-05 is allowed']
        """
        far = [
            ("log-probabilities", LOGPROB_TOLERANCE, self.logprobs),
            ("gradients", GRADIENT_TOLERANCE, self.gradients),
        ]
        found = [
            f"{self.family}: {what} of {way} differ by {value:.1e}, at most {most:.0e} is allowed"
            for what, most, values in far
            for way, value in values.items()
            if not value <= most  # a NaN is a fault
        ]
        found += [
            f"{self.family}: {name} changes log-probabilities by {value:.1e} only, so it would not be noticed"
            for name, value in self.controls.items()
            if not value > NOTICED
        ]
        return found + ([] if self.spread > NOTICED else [f"{self.family}: all log-probabilities are alike"])


def check_exactness(specs: Sequence[ModelSpec], sampling: Sampling, seed: int) -> list[Exactness]:
    """Compare every way with the plain computation.

    Args:
        specs: small models that are made from nothing, one a family.
        sampling: how the measured step draws; here at temperature 1 and without truncation.
        seed: of weights, frames and completions.

    Raises:
        ExactnessError: names each way or wrong computation that is not as it must be.
    """
    results = [compare(spec, sampling, seed) for spec in specs]
    faults = [fault for result in results for fault in result.faults()]
    if faults:
        raise ExactnessError("bench step: no figures, because\n  " + "\n  ".join(faults))
    return results


def compare(spec: ModelSpec, sampling: Sampling, seed: int) -> Exactness:
    """The differences of one model, without judging them."""
    from o3v.measure.ways import WAYS

    case = _Small.make(spec, seed)
    wanted, wanted_gradient = case.scored(case.plain)
    logprobs, gradients = {}, {}
    for way in WAYS:
        found, gradient = case.scored(partial(case.by, way))
        logprobs[way] = float((found - wanted).abs().max())
        gradients[way] = float((gradient - wanted_gradient).norm() / wanted_gradient.norm())
    logprobs["rollout"] = case.rollout_error(sampling)
    controls = {name: float((found - wanted).abs().max()) for name, found in case.controls().items()}
    return Exactness(spec.family, logprobs, gradients, controls, float(wanted[case.mask].std()))


@dataclass(frozen=True)
class _Small:
    """A small model with two prompts and their completions."""

    policy: Policy
    prompts: tuple[Prompt, ...]
    encoded: Encoded
    ids: Tensor
    mask: Tensor

    @classmethod
    def make(cls, spec: ModelSpec, seed: int) -> _Small:
        import torch

        from o3v.measure.model import frames_prompt, random_tokenizer

        policy = make_policy(spec, random_tokenizer(_VOCAB_SIZE), seed)
        with torch.no_grad():
            for weight in policy.model.parameters():
                if weight.ndim > 1:
                    weight.mul_(_SCALE)  # otherwise the log-probabilities hardly vary
        side = _FRAME_UNITS * policy.family.factor
        prompts = tuple(frames_prompt(policy, tokens, side, seed + tokens) for tokens in _PROMPT_TOKENS)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(300, 500, (len(_LENGTHS), max(_LENGTHS)), generator=generator)  # words, no special tokens
        mask = torch.arange(max(_LENGTHS)) < torch.tensor(_LENGTHS)[:, None]
        return cls(policy, prompts, policy.encode(prompts), ids.masked_fill(~mask, policy.pad_id), mask)

    def scored(self, compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Log-probabilities [N, L], and the gradient of a weighted sum of them, all tensors in one vector."""
        import torch

        self.policy.model.zero_grad()
        weights = torch.rand(self.ids.shape, generator=torch.Generator().manual_seed(1))
        values = compute()
        (values * weights * self.mask).sum().backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.policy.model.parameters()]
        return values.detach(), torch.cat([part.flatten() for part in parts])

    def by(self, way: str) -> Tensor:
        """Log-probabilities [N, L] by one of the project's ways."""
        from o3v.measure.ways import score

        return score(way, self.policy, self.encoded, self.ids, self.mask).logprobs

    def plain(self) -> Tensor:
        """Each row alone through the library's forward: [N, L]."""
        import torch

        out = torch.zeros(self.ids.shape)
        group = len(self.ids) // len(self.prompts)
        rows = [self._plain_row(n, self.policy.encode([self.prompts[n // group]])) for n in range(len(self.ids))]
        return out.masked_scatter(self.mask, torch.cat(rows))

    def _plain_row(self, row: int, encoded: Encoded) -> Tensor:
        import torch

        ids = self.ids[row][self.mask[row]]
        width = encoded.input_ids.shape[1]
        logits = self.policy.model(
            input_ids=torch.cat([encoded.input_ids, ids[None]], 1),
            attention_mask=torch.ones(1, width + len(ids), dtype=torch.long),
            mm_token_type_ids=torch.cat([encoded.mm_token_type_ids, torch.zeros_like(ids[None])], 1),
            pixel_values=encoded.pixel_values,
            image_grid_thw=encoded.image_grid_thw,
        ).logits[0, width - 1 : -1]
        banned = torch.tensor(self.policy.banned_ids)
        return logits.index_fill(1, banned, float("-inf")).log_softmax(-1).gather(1, ids[:, None])[:, 0]

    def rollout_error(self, sampling: Sampling) -> float:
        """Largest difference between the sampler's log-probabilities and those of the plain forward."""
        import torch

        from o3v.rollout.sampler import sample_completions

        drawing = replace(sampling, group_size=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=max(_LENGTHS))
        rollout = sample_completions(self.policy, self.encoded, drawing, range(len(self.ids)))
        with torch.no_grad():
            wanted = replace(self, ids=rollout.ids, mask=rollout.completion_mask).plain()
        return float((rollout.logprobs - wanted).abs().max())

    def controls(self) -> dict[str, Tensor]:
        """Log-probabilities by computations that are known to be wrong."""
        import torch

        from o3v.measure.ways import score
        from o3v.models.prefix import read_prompts

        with torch.no_grad():
            prefix = read_prompts(self.policy, self.encoded)
            late = replace(prefix, next_position=self.encoded.attention_mask.sum(1))
            flat = replace(self.encoded, mm_token_type_ids=torch.zeros_like(self.encoded.mm_token_type_ids))
            rest = (self.ids, self.mask)
            return {
                "wrong start position": score("kept", self.policy, self.encoded, *rest, late).logprobs,
                "missing token-type ids": score("dense", self.policy, flat, *rest).logprobs,
                "plain causal mask": self._causal(),
            }

    def _causal(self) -> Tensor:
        """Prompts and completions in one row, each token seeing everything before it."""
        import torch

        from o3v.models.head import score_tokens
        from o3v.models.packing import pack_completions, pack_prompts
        from o3v.models.prefix import run_row

        prompt = pack_prompts(self.policy, self.encoded)
        packed = pack_completions(self.ids, self.mask, prompt.next_position)
        tokens = torch.cat([prompt.input_ids, packed.input_ids])
        positions = torch.cat([prompt.positions, packed.positions], 1)
        everything = torch.ones(1, 1, len(tokens), len(tokens), dtype=torch.bool).tril()
        hidden = run_row(self.policy, tokens, positions, None, self.encoded, everything)
        states = torch.cat([hidden[torch.tensor(prompt.lengths).cumsum(0) - 1], hidden[len(prompt.input_ids) :]])
        return score_tokens(self.policy, states[packed.sources], self.ids, self.mask).logprobs
