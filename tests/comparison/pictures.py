"""Pictures of a comparison page for the documentation: `python -m tests.comparison.pictures PAGE FOLDER`.

Needs Chromium. Writes compare_desk.png (1280 wide, the first screens) and compare_phone.png (390 wide,
light beside dark).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.comparison.browser import DESK, PHONE, browsed

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESK_PX, PHONE_PX = 2300, 1900
"""Heights of the pictures, in pixels of the page."""


def take(page: Path, folder: Path) -> None:
    """Takes both pictures."""
    browser = next(found for name in BROWSERS if (found := shutil.which(name)))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, browsed(browser, Path(profile)) as opened:
        opened.open(page, DESK)
        _save(Image.open(opened.picture(folder / "compare_desk.png", DESK_PX)), folder / "compare_desk.png")
        parts = []
        for dark in (False, True):
            opened.open(page, PHONE, dark=dark)
            parts.append(Image.open(opened.picture(Path(profile) / f"{dark}.png", PHONE_PX)).convert("RGB"))
    width, height = parts[0].size
    both = Image.new("RGB", (2 * width + 40, height), (128, 128, 128))
    both.paste(parts[0], (0, 0))
    both.paste(parts[1], (width + 40, 0))
    _save(both.resize((both.width // 2, both.height // 2)), folder / "compare_phone.png")


def _save(picture: Image.Image, path: Path) -> None:
    picture.convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
