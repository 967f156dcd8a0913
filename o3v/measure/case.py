"""One measured configuration: the model's sizes, the step's sizes, and how it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError
from o3v.models.load import ModelSpec

if TYPE_CHECKING:
    from o3v.rollout.sampler import Sampling

ARMS = ("shared", "dense", "trl")
PROMPT_PASSES = ("kept", "split", "mask")


@dataclass(frozen=True)
class StepCase:
    """One GSPO step of one prompt group.

    Attributes:
        spec: a model that is made from nothing (`architecture` is set).
        vocab_size: entries of its tokenizer.
        prompt: P, prompt tokens.
        sampling: G, temperature and L; completions are drawn to exactly L tokens.
        objective: the policy objective (o3v.objectives), its `kl_coef` included.
        image_px: side of the square frames that fill the prompt.
        micro_batch: rows a forward pass of the arms that carry the prompt in every row; the shared arm always takes
            the whole group.
        prompt_pass: training pass of the shared arm.
        steps: timed steps after a first one, which is reported by itself.
        count: also run one step under the operation counter.
        threads: of torch.
        lr: of AdamW.
        seed: of weights, frames and draws.
    """

    spec: ModelSpec
    vocab_size: int
    prompt: int
    sampling: Sampling
    objective: Any
    image_px: int
    micro_batch: int
    prompt_pass: str
    steps: int
    count: bool
    threads: int
    lr: float
    seed: int

    def __post_init__(self) -> None:
        if self.spec.architecture is None:
            raise ConfigError("bench step: model.architecture is null; the measured model is made from nothing")
        if not self.objective.needs_rollout:
            raise ConfigError("bench step: the objective draws no completions; take one of GSPO's kind")
        for name in ("prompt", "micro_batch", "steps", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"bench step: {name}={getattr(self, name)} must be at least 1")
        if self.group_size % self.micro_batch:
            raise ConfigError(f"bench step: micro_batch={self.micro_batch} must divide group_size={self.group_size}")
        if self.prompt_pass not in PROMPT_PASSES:
            raise ConfigError(f"bench step: prompt_pass={self.prompt_pass!r}; allowed are {list(PROMPT_PASSES)}")

    @property
    def group_size(self) -> int:
        """G."""
        return self.sampling.group_size

    @property
    def completion(self) -> int:
        """L."""
        return self.sampling.max_new_tokens

    @property
    def label(self) -> str:
        """Name of the case: everything by which its figures differ from another's."""
        return "-".join(
            [
                self.spec.path,
                f"P{self.prompt}-L{self.completion}-G{self.group_size}",
                f"rows{self.micro_batch}",
                *(["kl"] if self.objective.kl_coef else []),
                *(["checkpointing"] if self.spec.gradient_checkpointing else []),
                *([] if self.prompt_pass == "kept" else [self.prompt_pass]),
                *([] if self.spec.linear == "auto" else [f"linear_{self.spec.linear}"]),
            ]
        )


def check_arms(arms: Sequence[str]) -> None:
    """Are these arms, and can each of them run here?

    Raises:
        ConfigError: names the arm and those that exist, or what is not installed.
    """
    if not arms:
        raise ConfigError(f"bench step: arms is empty; allowed are {list(ARMS)}")
    for arm in arms:
        if arm not in ARMS:
            raise ConfigError(f"bench step: arms has {arm!r}; allowed are {list(ARMS)}")
    if "trl" not in arms:
        return
    try:
        found = version("trl")
    except PackageNotFoundError:
        raise ConfigError("bench step: the arm 'trl' needs TRL 1.16: pip install -e '.[bench]'") from None
    if not found.startswith("1.16."):
        raise ConfigError(f"bench step: the arm 'trl' is written for TRL 1.16, but {found} is installed")
