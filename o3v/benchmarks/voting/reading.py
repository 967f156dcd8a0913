"""A sampled text -> a path, in two steps with the scorer's reply between them: `plan`, `finish`."""

from __future__ import annotations

from dataclasses import dataclass

from o3v.benchmarks.voting.crops import Cut, Footage, place, reference_fault, shown
from o3v.benchmarks.voting.paths import Path, ReadAnswer, read_sights
from o3v.benchmarks.voting.scorer import read_score, relevance
from o3v.grounding.parse import find_think, parse_completion
from o3v.types import BoxScale


@dataclass(frozen=True)
class Reading:
    """How the texts of one question are read.

    Attributes:
        answer: the benchmark's reader.
        wants_thinking: whether the prompt asked for a think block.
        scale: units of boxes in the texts.
        footage: the frames; None where crops are not scored.
        max_crops: most crops that the scorer is shown of a path.
        definition: corrected or reference.
    """

    answer: ReadAnswer
    wants_thinking: bool
    scale: BoxScale
    footage: Footage | None
    max_crops: int
    definition: str


@dataclass(frozen=True)
class Planned:
    """A text that has been read, before its crops are scored.

    Attributes:
        text: what the model wrote.
        answer: what is counted; None where the text has none.
        thought: whether it may carry weight.
        cuts: what the scorer is to be shown; empty where it is not to be asked.
        fault: why the released code stops here, else None.
    """

    text: str
    answer: str | None
    thought: bool
    cuts: tuple[Cut, ...]
    fault: str | None


def plan(text: str, reading: Reading) -> Planned:
    """Reads a text; only a path that can carry weight has cuts."""
    answer, thinking = reading.answer(text), find_think(text)
    thought = thinking is not None or not reading.wants_thinking
    if answer is None or thinking is None or not reading.wants_thinking or reading.footage is None:
        return Planned(text, answer, thought, (), None)
    sights, is_reference = read_sights(thinking), reading.definition == "reference"
    fault = reference_fault(sights, reading.footage.frame_at) if is_reference else None
    cuts = [] if fault else shown(place(sights, reading.footage), reading.max_crops, is_reference)
    return Planned(text, answer, thought, tuple(cuts), fault)


def finish(planned: Planned, reply: str | None, tokens: int, reading: Reading) -> Path:
    """The path of a text.

    Args:
        planned: the text as it was read.
        reply: of the scorer; None where there was nothing to show.
        tokens: length of the text.
        reading: how it was read.
    """
    weight = relevance(read_score(reply)) if reading.wants_thinking else 1.0
    claims = parse_completion(planned.text, reading.scale).claims
    return Path(planned.answer, planned.thought, weight, len(planned.cuts), reply, claims, tokens, planned.fault)
