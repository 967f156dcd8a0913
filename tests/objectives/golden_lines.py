"""Golden lines of losses and labels, the small copy or the whole corpus."""

from pathlib import Path

import pytest

from tests.golden.lines import FULL, needs_full, read_lines

SMALL = Path(__file__).parent / "golden"
both = pytest.mark.parametrize("folder", [SMALL, pytest.param(FULL, marks=needs_full)], ids=["small", "full"])

__all__ = ["SMALL", "both", "read_lines"]
