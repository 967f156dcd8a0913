"""What differs between the model families, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from o3v.errors import ConfigError
from o3v.types import BoxScale


@dataclass(frozen=True)
class Family:
    """A family of vision-language models.

    Attributes:
        name: the `model_type` of its transformers configuration.
        patch_px: side of a vision patch in pixels.
        merge: patches a side that become one visual token.
        norm1000: boxes are written as 0 to 1000 of the frame; otherwise as pixels of the resized frame.
    """

    name: str
    patch_px: int
    merge: int
    norm1000: bool

    @property
    def factor(self) -> int:
        """Frame sides are multiples of this many pixels; a square of it is one visual token."""
        return self.patch_px * self.merge

    def box_scale(self, size_px: tuple[int, int]) -> BoxScale:
        """Units in which the family writes boxes on frames of (width, height) pixels.

        >>> FAMILIES["qwen3_vl"].box_scale((96, 96))
        BoxScale(width=1000, height=1000)
        """
        return BoxScale(1000, 1000) if self.norm1000 else BoxScale(*size_px)


FAMILIES = {
    "qwen2_5_vl": Family("qwen2_5_vl", patch_px=14, merge=2, norm1000=False),
    "qwen3_vl": Family("qwen3_vl", patch_px=16, merge=2, norm1000=True),
}


def find_family(name: str) -> Family:
    """The family of a configured name or of a transformers `model_type`."""
    if name not in FAMILIES:
        raise ConfigError(f"model.family={name!r} is not known; allowed are {sorted(FAMILIES)}")
    return FAMILIES[name]
