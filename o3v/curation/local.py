"""An annotator on this machine: a policy of this project, its weights loaded at the first question."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from o3v.curation.annotator import Ask, check_format
from o3v.curation.language import BoxLanguage
from o3v.errors import ConfigError
from o3v.models.family import find_family
from o3v.types import Clip, Prompt

if TYPE_CHECKING:
    from o3v.models.load import ModelSpec
    from o3v.models.policy import Policy
    from o3v.rollout.draw import Sampling


@dataclass
class _Loaded:
    """The model once it is there; one question at a time."""

    policy: Policy | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class LocalAnnotator:
    """Asks a model of conf/model.

    Attributes:
        model: the preset.
        checkpoint: run folder of a training; None for the preset's own weights.
        sampling: how replies are drawn; greedy with one completion.
        device: `cpu` or `cuda`.
        format: `json` or `tags`; the project's own checkpoints write tags.
        seed: of the draw, where it is not greedy.
    """

    model: ModelSpec
    checkpoint: str | None
    sampling: Sampling
    device: str
    format: str
    seed: int
    _loaded: _Loaded = field(init=False, repr=False, compare=False, default_factory=_Loaded)

    def __post_init__(self) -> None:
        """Reject unknown names and more than one completion a question."""
        check_format(self.format)
        if self.sampling.group_size != 1:
            raise ConfigError(
                f"rollout.group_size={self.sampling.group_size}: a question is answered once; allowed is 1"
            )

    @property
    def name(self) -> str:
        """The model and how it is drawn from."""
        drawn = f"temperature={self.sampling.temperature:g} max_tokens={self.sampling.max_new_tokens} seed={self.seed}"
        return f"{self.checkpoint or self.model.path} {self.model.dtype} {drawn}"

    @property
    def boxes(self) -> BoxLanguage:
        """That of the model's family."""
        return BoxLanguage("thousand" if find_family(self.model.family).norm1000 else "pixels", "xyxy")

    @property
    def factor(self) -> int:
        """That of the model's family."""
        return find_family(self.model.family).factor

    @property
    def workers(self) -> int:
        """One model, one question at a time."""
        return 1

    def reply(self, ask: Ask) -> str:
        """The model's reply. Raises ConfigError where its weights are not there."""
        from o3v.rollout.sampler import sample_completions

        clip = Clip(ask.frames, ask.times_s, ask.times_s[-1] if ask.times_s else 0.0, ask.size_px)
        prompt = Prompt(ask.system, ask.parts, clip, self.boxes.scale(ask.size_px), None)
        with self._loaded.lock:
            policy = self._policy()
            encoded = policy.encode([prompt]).to(policy.device)
            return sample_completions(policy, encoded, self.sampling, [self.seed]).texts[0]

    def _policy(self) -> Policy:
        if self._loaded.policy is None:
            from o3v.models.load import load_policy

            self._loaded.policy = load_policy(self.model, self.checkpoint)
            self._loaded.policy.model.to(self.device)
        return self._loaded.policy
