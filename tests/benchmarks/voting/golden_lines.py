"""Golden lines of the released voting code: read, replayed, compared (see the golden README, section 8)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from o3v.benchmarks.mcq.letters import released_letter
from o3v.benchmarks.voting import crops, paths, reading, scorer, vote
from o3v.grounding.parse import find_think
from o3v.types import BoxScale

SMALL = Path(__file__).parent.parent / "golden"
FULL = Path(__file__).resolve().parents[4] / "shared" / "golden"

Line = dict[str, Any]


def read_lines(folder: Path, name: str) -> list[Line]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def footage(line: Line, definition: str) -> crops.Footage:
    n_frames, _, height, width = line["frames_shape_TCHW"]
    frame_at = crops.at_rate(line["sample_fps"], n_frames, definition == "reference")
    return crops.Footage(frame_at, (width, height), BoxScale(width, height))


def number(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value


def same(found: Sequence[float], expected: Sequence[float | str]) -> bool:
    pairs = zip(found, map(number, expected), strict=True)
    return all(a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) < 1e-9 for a, b in pairs)


def parse_misses(folder: Path, definition: str) -> list[str]:
    """Ids of the tts_parse lines that come out otherwise."""
    return [line["id"] for line in read_lines(folder, "tts_parse") if not CHECKS[line["function"]](line, definition)]


def box_is_right(line: Line, _: str) -> bool:
    box, expected = paths.read_box(line["text"]), line["expected"]
    return (box is None) == (expected is None) and (box is None or same(box, expected))


def relevance_is_right(line: Line, _: str) -> bool:
    return scorer.relevance(line["score"]) == line["expected"]


def messages_are_right(line: Line, _: str) -> bool:
    system, user = line["expected"]
    text, *images = user["content"]
    built = scorer.user_text(line["question"])
    return (scorer.SYSTEM, built, len(images)) == (system["content"], text["text"], line["n_images"])


def crops_are_right(line: Line, definition: str) -> bool:
    sights = paths.read_sights(line["text"])
    expected = line["expected_claims"]
    claims = len(sights) == len(expected) and all(
        a.name == b["obj"] and same((*a.box, a.time_s), (*b["box_xyxy"], b["t_sec"]))
        for a, b in zip(sights, expected, strict=True)
    )
    film, is_reference = footage(line, definition), definition == "reference"
    if is_reference and line["raises"]:
        return claims and crops.reference_fault(sights, film.frame_at) == line["raises"]
    cuts = crops.place(sights, film)
    n_images = len(crops.shown(cuts, crops.MAX_CROPS, is_reference))
    found = [{"frame_index": cut.frame, "kept": cut.kept} for cut in cuts]
    if is_reference or not line["deviation"]:
        return claims and found == line["expected_crops"] and n_images == line["expected_n_images"]
    return claims and corrected_is_right(line, found, n_images)


def corrected_is_right(line: Line, found: list[Line], n_images: int) -> bool:
    """What stands in the README's words instead of a corrected value."""
    if line["deviation"] == "poison-number-raises":
        return all(
            row["kept"] is False for row, claim in zip(found, line["expected_claims"], strict=True) if bad(claim)
        )
    if line["deviation"] == "more-than-10-crops-counts-as-none":
        return found == line["expected_crops"] and n_images == crops.MAX_CROPS
    before = [
        row["frame_index"] if claim["t_sec"] < 0 else None
        for row, claim in zip(found, line["expected_claims"], strict=True)
    ]
    return found != line["expected_crops"] and set(before) <= {None, 0}


def bad(claim: Line) -> bool:
    return not all(math.isfinite(number(value)) for value in (*claim["box_xyxy"], claim["t_sec"]))


CHECKS = {
    "parse_box": box_is_right,
    "relevance_mapping": relevance_is_right,
    "build_image_scorer_msgs": messages_are_right,
    "parse_patterns+extract_and_crop": crops_are_right,
}


def reader(line: Line) -> paths.ReadAnswer:
    letters = line["letters_allowed"]
    if line["think_mode"]:
        return paths.strict_letter(letters)
    options = [f"\0{letter}" for letter in letters]  # texts that no answer holds

    def read(text: str) -> str | None:
        letter = released_letter(text, options, line["benchmark"])
        return letter if letter in tuple(letters) else None

    return read


def replay(line: Line, definition: str, ties: str) -> tuple[vote.Ballot, list[paths.Path], list[int]]:
    """Ballot, paths, and the numbers of crops that the scorer was shown."""
    asks = line["vote"] == "confidence_voting"
    film = footage(line, definition) if asks else None
    how = reading.Reading(reader(line), line["think_mode"], BoxScale(1, 1), film, crops.MAX_CROPS, definition)
    planned = [reading.plan(text, how) for text in line["raw_paths"]]
    replies: Iterator[str] = iter(line["scorer_replies"])
    found = [reading.finish(path, next(replies) if path.cuts else None, 0, how) for path in planned]
    weights = "majority" if line["vote"] == "majority_voting" else "confidence"  # another name: an unscored 0.2
    rule = vote.Rule(weights, ties, 1.0, 0.2)
    is_reference = definition == "reference"
    ballot = vote.reference_vote(found, rule, line["letters_allowed"]) if is_reference else vote.vote(found, rule)
    return ballot, found, [len(path.cuts) for path in planned if path.cuts]


def reference_misses(folder: Path) -> list[str]:
    """Ids of the tts_vote lines that differ from what the released scripts return."""
    return [line["id"] for line in read_lines(folder, "tts_vote") if not reference_is_right(line)]


def reference_is_right(line: Line) -> bool:
    ballot, found, counts = replay(line, "reference", "abstain")
    expected = line["expected"]
    if expected is None:
        return ballot.answer is None and [path.fault for path in found if path.fault][:1] == [line["raises"]]
    thinking = "" if ballot.path is None else find_think(line["raw_paths"][ballot.path]) or ""
    return (
        ballot.answer == expected["prediction"]
        and [path.answer or "NA" for path in found] == expected["per_path_prediction"]
        and same(ballot.weights, expected["per_path_score"])
        and same(list(ballot.totals.values()), list(expected["choice_score"].values()))
        and counts == expected["scored_paths_crop_counts"]
        and expected["reasoning_process"] in (None, thinking)
    )


def corrected_misses(folder: Path, ties: str) -> list[str]:
    """Ids of the tts_vote lines that differ from the corrected prediction."""
    return [line["id"] for line in read_lines(folder, "tts_vote") if not corrected_vote_is_right(line, ties)]


def corrected_vote_is_right(line: Line, ties: str) -> bool:
    ballot, found, _ = replay(line, "corrected", ties)
    wanted = line["expected_corrected"]
    if wanted is None:
        return ballot.answer == line["expected"]["prediction"]
    if "prediction_any_of" in wanted:
        settled = ballot.answer in wanted["prediction_any_of"] if ties == "first_path" else ballot.answer is None
        return settled and sorted(ballot.tied) == sorted(wanted["prediction_any_of"])
    if line["deviation"] == "poison-number-kills-worker":
        return not any(path.fault for path in found)
    return ballot.answer is None and not ballot.tied
