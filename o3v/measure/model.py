"""The random model that is measured, and a prompt of exactly P tokens that is mostly frames."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError
from o3v.measure.case import StepCase
from o3v.models.load import make_policy
from o3v.types import Clip, Prompt

if TYPE_CHECKING:
    from o3v.models.policy import Policy

_FILLER = "<t>"
"""A tag of the grammar is one token, whatever stands around it."""


def random_policy(case: StepCase) -> Policy:
    """A model of the case's sizes with random weights, in evaluation mode."""
    return make_policy(case.spec, random_tokenizer(case.vocab_size), case.seed)


@lru_cache(maxsize=4)
def random_tokenizer(vocab_size: int) -> Any:
    """A tokenizer with exactly this many entries, learned from made-up words.

    Raises:
        ConfigError: the words do not give so many.
    """
    from o3v.models.tokenizer import train_tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [" " + "".join(word) for word in product(letters, repeat=3)]
    tokenizer = train_tokenizer([*words, *(word + "a" for word in words)], (), vocab_size)
    if len(tokenizer) != vocab_size:
        raise ConfigError(
            f"bench step: vocab_size={vocab_size} is not possible, the made-up words give {len(tokenizer)}"
        )
    return tokenizer


def frames_prompt(policy: Policy, tokens: int, image_px: int, seed: int, most_frames: int | None = None) -> Prompt:
    """A prompt of exactly `tokens` tokens: as many random frames as fit, filled up with text.

    Args:
        policy: whose template and image tokens count.
        tokens: P.
        image_px: side of a frame, a multiple of the family's factor.
        seed: of the pixels.
        most_frames: no more frames than this; None for as many as fit.

    Raises:
        ConfigError: not even one frame fits, or the frame's side is no multiple.
    """
    factor = policy.family.factor
    if image_px % factor:
        raise ConfigError(f"bench step: image_px={image_px} must be a multiple of {factor} for {policy.family.name}")
    one, two = (_length(_prompt(policy, n, 0, image_px, seed), policy) for n in (1, 2))
    frames = 1 + (tokens - one) // (two - one)
    if frames < 1:
        raise ConfigError(f"bench step: prompt={tokens} is too short, one frame of {image_px} px needs {one} tokens")
    frames = frames if most_frames is None else min(frames, most_frames)
    fill = tokens - one - (frames - 1) * (two - one)
    return _prompt(policy, frames, fill, image_px, seed)


def _prompt(policy: Policy, frames: int, fill: int, image_px: int, seed: int) -> Prompt:
    import numpy as np

    pixels = np.random.default_rng(seed).integers(0, 256, (frames, image_px, image_px, 3), dtype=np.uint8)
    clip = Clip(pixels, tuple(float(k) for k in range(frames)), float(frames), (image_px, image_px))
    text = (_FILLER * fill,) if fill else ()
    return Prompt("", (*range(frames), *text), clip, policy.box_scale((image_px, image_px)), None)


def _length(prompt: Prompt, policy: Policy) -> int:
    return policy.encode([prompt]).input_ids.shape[1]
