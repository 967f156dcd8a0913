"""Golden lines of test-time scaling in both definitions; wrong versions are caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from o3v.benchmarks.voting import crops, paths, reading, scorer, vote
from tests.benchmarks.voting.golden_lines import FULL, SMALL, corrected_misses, parse_misses, reference_misses

needs_full = pytest.mark.skipif(not FULL.exists(), reason="the full golden corpus is not beside this checkout")
both = pytest.mark.parametrize("folder", [SMALL, pytest.param(FULL, marks=needs_full)], ids=["small", "full"])


@both
@pytest.mark.parametrize("definition", ["reference", "corrected"])
def test_claims_crops_and_scores(folder: Path, definition: str) -> None:
    assert parse_misses(folder, definition) == []


@both
def test_votes_of_the_released_scripts(folder: Path) -> None:
    assert reference_misses(folder) == []


@both
@pytest.mark.parametrize("ties", vote.TIES)
def test_corrected_votes(folder: Path, ties: str) -> None:
    assert corrected_misses(folder, ties) == []


def lax_score(reply: str | None) -> int | None:
    return int(reply.strip(" .")) if reply and reply.strip(" .") in ("0", "1", "2") else None


def lax_letter(letters: str, strict_letter=paths.strict_letter) -> paths.ReadAnswer:
    strict = strict_letter(letters)
    return lambda text: strict(text.replace("(", "").replace(")", "").replace(".", ""))


def unordered_box(text: str) -> tuple[float, float, float, float] | None:
    numbers = [float(part) for part in text.strip("[]").split(",") if part.strip(" []").replace(".", "").isdigit()]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def wrapping(fps: float, n_frames: int, wraps: bool) -> crops.FrameAt:
    return lambda time_s: int(time_s * fps) if -n_frames <= time_s * fps < n_frames else None


def first_of_equals(answers, weights, ties, elect=vote.elect):
    return elect(answers, weights, "first_path")


def counting_all(paths_, chosen, raw):
    return tuple(weight if paths_[k].answer is not None else 0.0 for weight, k in zip(raw, chosen, strict=True))


WRONG = {
    "a reply with a blank or a point counts": (reading, "read_score", lax_score),
    "score 0 weighs nothing": (scorer, "UNSCORED", 0.0),
    "score 1 weighs half": (scorer, "_RELEVANCE", {1: 0.5, 2: 1.0}),
    "brackets and points around a letter are read": (paths, "strict_letter", lax_letter),
    "a box with swapped corners is a box": (paths, "read_box", unordered_box),
    "frames are cut off, not rounded, and wrap": (crops, "at_rate", wrapping),
    "bad numbers are not looked at": (crops, "is_finite", lambda sight: True),
    "all crops are shown": (crops, "shown", lambda cuts, most, none: [cut for cut in cuts if cut.kept]),
    "the first of equals wins": (vote, "elect", first_of_equals),
    "a path that has not thought counts": (vote, "_counted", counting_all),
    "the best single path wins": (vote.math, "fsum", max),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_versions_are_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, version = WRONG[wrong]
    monkeypatch.setattr(module, name, version)
    assert all_misses(SMALL)


def all_misses(folder: Path) -> list[str]:
    try:
        found = [*parse_misses(folder, "reference"), *parse_misses(folder, "corrected"), *reference_misses(folder)]
        return found + corrected_misses(folder, "abstain")
    except (OverflowError, ValueError) as error:
        return [repr(error)]


def test_the_right_version_is_not_caught() -> None:
    assert all_misses(SMALL) == []
