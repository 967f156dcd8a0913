"""How an annotator writes boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from o3v.errors import ConfigError
from o3v.grounding.parse import ABSURD_COORDINATE
from o3v.types import Box, BoxScale

UNITS = ("thousand", "pixels", "unit")
ORDERS = ("xyxy", "yxyx")


@dataclass(frozen=True)
class BoxLanguage:
    """Units and order of the four numbers.

    Attributes:
        unit: `thousand` (0 to 1000 of the frame: Qwen3-VL, Gemini), `pixels` of the frame that was sent (Qwen2.5-VL),
            or `unit` (0 to 1).
        order: `xyxy`, or `yxyx` (Gemini: top, left, bottom, right).
    """

    unit: str
    order: str

    def __post_init__(self) -> None:
        """Reject unknown names."""
        for key, allowed in (("unit", UNITS), ("order", ORDERS)):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"boxes.{key}={getattr(self, key)!r} is not allowed; allowed are {list(allowed)}")

    def scale(self, size_px: tuple[int, int]) -> BoxScale:
        """Units on frames of (width, height) pixels."""
        sizes = {"thousand": (1000, 1000), "pixels": size_px, "unit": (1, 1)}
        return BoxScale(*sizes[self.unit])

    def to_unit(self, numbers: Sequence[float], size_px: tuple[int, int]) -> Box:
        """Four numbers of the annotator as a normalised box, with 4 decimals; parts outside the frame stay outside.

        >>> BoxLanguage("thousand", "yxyx").to_unit([100, 0, 500, 250], (84, 84))
        (0.0, 0.1, 0.25, 0.5)
        """
        a, b, c, d = (max(-ABSURD_COORDINATE, min(ABSURD_COORDINATE, float(number))) for number in numbers)
        box = (b, a, d, c) if self.order == "yxyx" else (a, b, c, d)
        x1, y1, x2, y2 = (round(value, 4) for value in self.scale(size_px).to_unit(box))
        return x1, y1, x2, y2

    def sentence(self, size_px: tuple[int, int]) -> str:
        """What an annotator is told about it.

        >>> BoxLanguage("pixels", "xyxy").sentence((84, 56))
        '[x1,y1,x2,y2] in pixels of the frames, which are 84 wide and 56 high'
        """
        names = "[x1,y1,x2,y2]" if self.order == "xyxy" else "[y1,x1,y2,x2]"
        width, height = size_px
        units = {
            "thousand": "in thousandths of the frame, 0 to 1000",
            "pixels": f"in pixels of the frames, which are {width} wide and {height} high",
            "unit": "as shares of the frame, 0 to 1",
        }
        return f"{names} {units[self.unit]}"
