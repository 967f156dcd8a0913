"""docs/deviations.md: every named deviation of the golden corpus has a row, and every row names tests that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.golden.lines import FULL, needs_full, read_lines

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "deviations.md"
SLUGS = json.loads((ROOT / "tests" / "golden" / "slugs.json").read_text())
ROW = re.compile(r"^\| `([a-zA-Z0-9-]+)` \|(.*)\|$", re.MULTILINE)


def rows(text: str) -> list[tuple[str, list[str]]]:
    """(slug, the other cells) of every row."""
    return [(slug, [cell.strip() for cell in rest.split("|")]) for slug, rest in ROW.findall(text)]


def slugs_in(value: Any) -> Iterator[str]:
    """Texts under the keys deviation and deviations, at any depth."""
    if isinstance(value, list):
        for one in value:
            yield from slugs_in(one)
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"deviation", "deviations"}:
                yield from filter(None, inner if isinstance(inner, list) else [inner])
            else:
                yield from slugs_in(inner)


def faults(text: str) -> list[str]:
    found = rows(text)
    names = [slug for slug, _ in found]
    missing = [f"{slug}: no row" for slug in SLUGS if names.count(slug) != 1]
    short = [f"{slug}: an empty cell" for slug, cells in found if len(cells) != 4 or not all(cells)]
    tests = [(slug, path) for slug, cells in found for path in re.split(r",\s*", cells[-1])]
    return missing + short + [f"{slug}: {path} does not exist" for slug, path in tests if not (ROOT / path).is_file()]


def test_every_slug_has_a_row_that_names_its_tests() -> None:
    assert faults(PAGE.read_text(encoding="utf-8")) == []


def test_a_missing_row_and_a_wrong_test_are_caught() -> None:
    text = PAGE.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "`spatial-gate-no-abs`" in line)
    assert faults(text.replace(row, "")) == ["spatial-gate-no-abs: no row"]
    assert faults(text.replace(row, row.replace("test_golden", "test_gone"))) != []


@needs_full
def test_the_list_holds_every_slug_of_the_corpus() -> None:
    found = {
        slug
        for path in FULL.glob("*.jsonl*")
        for line in read_lines(FULL, path.name.split(".")[0])
        for slug in slugs_in(line)
    }
    assert found <= set(SLUGS)
