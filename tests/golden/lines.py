"""Reads golden lines, the small copy or the whole corpus."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import pytest

SMALL = Path(__file__).parent
FULL = Path(__file__).parents[3] / "shared" / "golden"
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the full golden corpus is not beside this checkout")
both = pytest.mark.parametrize("folder", [SMALL, pytest.param(FULL, marks=needs_full)], ids=["small", "full"])


@functools.cache
def read_lines(folder: Path, name: str) -> tuple[dict, ...]:
    packed = folder / f"{name}.jsonl.gz"
    text = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / f"{name}.jsonl").read_bytes()
    return tuple(json.loads(line) for line in text.splitlines())
