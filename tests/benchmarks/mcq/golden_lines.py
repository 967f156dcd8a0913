"""Golden lines of the multiple-choice benchmarks: a small copy beside the tests, the complete files where they are."""

import functools
import gzip
import json
from pathlib import Path

import pytest

SMALL = Path(__file__).parent.parent / "golden"
FULL = Path(__file__).resolve().parents[4] / "shared" / "golden"

FOLDERS = [
    pytest.param(SMALL, id="small"),
    pytest.param(
        FULL, id="full", marks=pytest.mark.skipif(not FULL.is_dir(), reason=f"no complete golden files in {FULL}")
    ),
]


@functools.cache
def read_lines(folder: Path, name: str) -> tuple[dict, ...]:
    plain = folder / f"{name}.jsonl"
    if plain.is_file():
        text = plain.read_text(encoding="utf-8")
    else:
        text = gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes()).decode()
    return tuple(json.loads(line) for line in text.splitlines())


def prompt_lines(folder: Path, benchmark: str) -> list[dict]:
    name = "choice_prompts" if folder == SMALL else "benchmark_prompts"
    return [line for line in read_lines(folder, name) if line["benchmark"] == benchmark]


def close(found: object, expected: object) -> bool:
    """Equal tables; numbers within 1e-9."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in found)
    return abs(found - expected) < 1e-9  # type: ignore[operator]
