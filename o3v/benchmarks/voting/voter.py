"""Test-time scaling behind one object: how many paths, how they are read, scored and voted on (conf/voting)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from o3v.benchmarks.question import DEFINITIONS
from o3v.benchmarks.voting.crops import cut_out, footage_of
from o3v.benchmarks.voting.paths import Path, ReadAnswer
from o3v.benchmarks.voting.reading import Planned, Reading, finish, plan
from o3v.benchmarks.voting.scorer import scorer_prompt
from o3v.benchmarks.voting.vote import Ballot, Rule, reference_vote, vote
from o3v.errors import ConfigError
from o3v.grounding.render import render_target
from o3v.types import BoxScale, Prompt

Respond = Callable[[Sequence[Prompt]], Sequence[str]]
"""Prompts -> one text each, the likeliest one: the scorer is the model itself."""


@dataclass(frozen=True)
class Drawn:
    """One question and the texts that were sampled for it.

    Attributes:
        question: as the model was asked, options included; the scorer reads it.
        prompt: what the model saw; None where the media could not be read, or texts are voted on without it.
        texts: N completions.
        tokens: their lengths; 0 where unknown.
        scale: units of boxes in the texts.
        answer: the benchmark's reader of an answer.
        letters: that can be voted for, in order; the released scripts predict the first where nothing was answered.
        wants_thinking: whether the prompt asked for a think block; a path without one then carries no weight.
    """

    question: str
    prompt: Prompt | None
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    scale: BoxScale
    answer: ReadAnswer
    letters: tuple[str, ...]
    wants_thinking: bool


@dataclass(frozen=True)
class Outcome:
    """What a vote gives.

    Attributes:
        text: the first text that gives the believed answer: the benchmark scores it as any other answer. "" when the
            vote abstained, which every benchmark scores as wrong.
        ballot: weights, totals, ties.
        paths: what was read of the texts, to be voted on again (see `scaling`).
    """

    text: str
    ballot: Ballot
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Voter:
    """N paths a question and how they are voted on.

    Attributes:
        paths: N, drawn with distinct seeds.
        rule: how they are weighed and ties are settled.
        max_crops: most crops that the scorer is shown of one path.
        definition: corrected or reference, see `o3v.benchmarks.voting`.

    Raises:
        ConfigError: a value out of range.
    """

    paths: int
    rule: Rule
    max_crops: int
    definition: str

    def __post_init__(self) -> None:
        """Check ranges."""
        for key, value in (("paths", self.paths), ("max_crops", self.max_crops)):
            if value < 1:
                raise ConfigError(f"voting.{key}={value}: must be at least 1")
        if self.definition not in DEFINITIONS:
            raise ConfigError(f"voting.definition={self.definition!r}: allowed are {', '.join(DEFINITIONS)}")

    @property
    def needs_scorer(self) -> bool:
        """Whether the model is asked a second time."""
        return self.rule.weights == "confidence"

    def check(self, temperature: float) -> None:
        """Look that the paths can differ.

        Raises:
            ConfigError: several paths without randomness, which are N times the same (the released configs do it).
        """
        if self.paths > 1 and temperature <= 0:
            raise ConfigError(
                f"rollout.temperature={temperature} with voting.paths={self.paths}: all paths would be equal; "
                "raise the temperature (the paper has 1.0) or set voting=none"
            )

    def seeds(self, seed: int, question_id: str) -> list[int]:
        """Distinct seeds of a question's paths; the first n do not depend on how many there are."""
        return [path_seed(seed, question_id, number) for number in range(self.paths)]

    def answer(self, drawn: Drawn, respond: Respond | None) -> Outcome:
        """Read the texts, have their crops scored where the rule needs it, and vote.

        Args:
            drawn: question and texts.
            respond: the scorer, asked once with one prompt for every path that has crops; None where the rule needs
                none.

        Raises:
            ConfigError: the rule needs a scorer and there is none.
        """
        if self.needs_scorer and respond is None:
            raise ConfigError("voting=confidence asks the model about crops; saved texts alone do not do")
        reading = self._reading(drawn)
        planned = [plan(text, reading) for text in drawn.texts]
        replies = _replies(planned, drawn, respond) if respond else [None] * len(planned)
        counted = zip(planned, replies, drawn.tokens, strict=True)
        paths = tuple(finish(read, reply, tokens, reading) for read, reply, tokens in counted)
        is_reference = self.definition == "reference"
        ballot = reference_vote(paths, self.rule, drawn.letters) if is_reference else vote(paths, self.rule)
        return Outcome(_text(ballot, drawn.texts), ballot, paths)

    def _reading(self, drawn: Drawn) -> Reading:
        prompt = drawn.prompt
        footage = footage_of(prompt.clip, drawn.scale, self.definition) if prompt and self.needs_scorer else None
        return Reading(drawn.answer, drawn.wants_thinking, drawn.scale, footage, self.max_crops, self.definition)


def path_seed(seed: int, question_id: str, number: int) -> int:
    """Seed of one path: the same whatever else is asked and however many paths there are; below 2^63.

    >>> path_seed(0, "q", 1) != path_seed(0, "q", 0) != path_seed(1, "q", 0)
    True
    """
    digest = hashlib.sha256(f"{seed}/{question_id}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _replies(planned: Sequence[Planned], drawn: Drawn, respond: Respond) -> list[str | None]:
    """One reply a path, None for those without crops."""
    replies: list[str | None] = [None] * len(planned)
    with_cuts = [index for index, path in enumerate(planned) if path.cuts]
    if drawn.prompt is None or not with_cuts:
        return replies
    clip = drawn.prompt.clip
    prompts = [scorer_prompt(drawn.question, cut_out(clip, planned[index].cuts)) for index in with_cuts]
    for index, reply in zip(with_cuts, respond(prompts), strict=True):
        replies[index] = reply
    return replies


def _text(ballot: Ballot, texts: Sequence[str]) -> str:
    if ballot.path is not None:
        return texts[ballot.path]
    return "" if ballot.answer is None else render_target("", ballot.answer)
