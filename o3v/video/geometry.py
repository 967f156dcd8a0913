"""Sizes: what the vision tower can take, and how many frames fit a token budget."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from o3v.errors import ConfigError

MAX_ASPECT = 200.0
"""Longest side over shortest that the Qwen-VL processors accept."""


@dataclass(frozen=True)
class ResizePlan:
    """The window of sizes for one frame.

    Attributes:
        factor: both sides become multiples of it: patch times merge (Qwen2.5-VL 28, Qwen3-VL 32).
        min_pixels: smaller frames are enlarged to about this area, as far as max_pixels allows.
        max_pixels: largest area; never exceeded while factor * factor fits into it.
    """

    factor: int
    min_pixels: int
    max_pixels: int

    def smart_resize(self, height: int, width: int) -> tuple[int, int]:
        """Size nearest to the original within the window, sides multiples of `factor`, aspect about kept.

        Differs from the reference: where rounding up to min_pixels would pass max_pixels, or a side vanishes by
        rounding down, the result still keeps max_pixels (vision_process.py, smart_resize, does not).

        Returns:
            (height, width).

        Raises:
            ValueError: aspect ratio above 200; ask `is_too_thin` first.

        >>> ResizePlan(28, 3136, 100352).smart_resize(360, 640)
        (224, 420)
        >>> ResizePlan(28, 100352, 105369).smart_resize(100, 100)
        (308, 308)
        """
        if is_too_thin(height, width):
            raise ValueError(f"aspect ratio of {width}x{height} is above {MAX_ASPECT:.0f}")
        rounded = tuple(max(self.factor, round(side / self.factor) * self.factor) for side in (height, width))
        if rounded[0] * rounded[1] > self.max_pixels:
            return self._shrunk(height, width)
        if rounded[0] * rounded[1] < self.min_pixels:
            return self._enlarged(height, width)
        return rounded[0], rounded[1]

    def tokens(self, height: int, width: int) -> int:
        """Vision tokens of one resized frame: one for each factor x factor square."""
        return (height // self.factor) * (width // self.factor)

    def _shrunk(self, height: int, width: int) -> tuple[int, int]:
        """Both sides scaled to max_pixels and rounded down; a side of one unit leaves the other what is left."""
        shrink = math.sqrt(height * width / self.max_pixels)
        units = [max(1, math.floor(side / shrink / self.factor)) for side in (height, width)]
        longest = max(1, self.max_pixels // (self.factor**2 * min(units)))
        return self.factor * min(units[0], longest), self.factor * min(units[1], longest)

    def _enlarged(self, height: int, width: int) -> tuple[int, int]:
        """Both sides scaled to min_pixels and rounded up, or down where up would pass max_pixels."""
        scale = math.sqrt(self.min_pixels / (height * width))
        up = [math.ceil(side * scale / self.factor) * self.factor for side in (height, width)]
        if up[0] * up[1] > self.max_pixels:
            return self._shrunk(height, width)
        return up[0], up[1]


def is_too_thin(height: int, width: int) -> bool:
    """Whether one side is more than 200 times the other, beyond what the processors accept."""
    return max(height, width) / min(height, width) > MAX_ASPECT


def fit_budget(
    times_s: Sequence[float], key_times_s: Collection[float], tokens_per_frame: int, max_total_tokens: int
) -> tuple[float, ...]:
    """Drop frames until their tokens fit the budget; never tokens of a frame.

    Frames of the even spread go first, evenly; key frames only when they alone are too many.

    Differs from the reference: it cuts the prompt's token ids and keeps the pixels (grpo_trainer.py:569-578).

    Args:
        times_s: times of the planned frames, ascending.
        key_times_s: those among them that show annotated moments.
        tokens_per_frame: vision tokens of one resized frame.
        max_total_tokens: most vision tokens of the clip.

    Raises:
        ConfigError: not even one frame fits.

    >>> fit_budget((0.0, 1.0, 2.0, 3.0, 4.0), {1.0}, tokens_per_frame=100, max_total_tokens=350)
    (0.0, 1.0, 4.0)
    """
    n_fit = max_total_tokens // tokens_per_frame
    if n_fit < 1:
        raise ConfigError(
            f"reader.max_total_tokens={max_total_tokens}: one frame alone takes {tokens_per_frame} tokens; "
            "raise it or lower reader.max_pixels"
        )
    if len(times_s) <= n_fit:
        return tuple(times_s)
    keys = [t for t in times_s if t in key_times_s]
    others = [t for t in times_s if t not in key_times_s]
    kept_keys = _thinned(keys, n_fit)
    return tuple(sorted(kept_keys + _thinned(others, n_fit - len(kept_keys))))


def _thinned(times_s: list[float], n_keep: int) -> list[float]:
    """An even choice of `n_keep`, ends included; all where there are no more."""
    if len(times_s) <= n_keep:
        return times_s
    if n_keep == 1:
        return [times_s[len(times_s) // 2]]
    return [times_s[round(i * (len(times_s) - 1) / (n_keep - 1))] for i in range(n_keep)]


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, 3] uint8 to [height, width, 3] uint8, bicubic with antialiasing; unchanged where the size fits."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
