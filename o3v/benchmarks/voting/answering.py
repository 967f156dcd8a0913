"""Answers questions by vote: what the runner calls instead of asking the model once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from o3v.benchmarks.question import Question
from o3v.benchmarks.records import video_of
from o3v.benchmarks.shapes import normalise_answer
from o3v.benchmarks.voting.files import VoteRecord, to_line
from o3v.benchmarks.voting.voter import Drawn, Outcome, Respond, Voter
from o3v.grounding.parse import OPTION_MARK, find_answer, find_think, read_letter
from o3v.types import BoxScale, Prompt

Draw = Callable[[Sequence[Prompt], Sequence[int]], Sequence[tuple[str, int]]]
"""B prompts and B*N seeds, N consecutive ones a prompt -> B*N texts with their lengths in tokens."""

ReadKey = Callable[[Question, str], str | None]
"""A question and a text -> the answer that is counted; None where the text has none."""

Score = Callable[[Question, str, BoxScale], Mapping[str, float]]
"""`Benchmark.score`."""


@dataclass(frozen=True)
class VotingRespondent:
    """Draws N texts a question, votes, and keeps the paths in a file.

    Attributes:
        voter: number of paths and rule.
        draw: samples the model.
        respond: the model's likeliest reply, for the scorer; may be None where the rule needs no scorer.
        read: the benchmark's reader of an answer; `plain_key` where it has none of its own.
        score: the benchmark's scores, of every path.
        letters: option letters of a question, for `definition: reference`.
        seed: of the paths.
        file: JSON lines of `VoteRecord`; appended.
    """

    voter: Voter
    draw: Draw
    respond: Respond | None
    read: ReadKey
    score: Score
    letters: Callable[[Question], Sequence[str]]
    seed: int
    file: FilePath

    def __call__(self, asked: Sequence[tuple[Question, Prompt]]) -> list[str]:
        """One believed text a question, "" where the vote abstained.

        The paths are written before the texts are returned, so that a run that is killed has the paths of every
        question that it has recorded.
        """
        seeds = [seed for question, _ in asked for seed in self.voter.seeds(self.seed, question.id)]
        drawn, n = self.draw([prompt for _, prompt in asked], seeds), self.voter.paths
        texts, lines = [], []
        for index, (question, prompt) in enumerate(asked):
            case = self._drawn(question, prompt, drawn[index * n : (index + 1) * n])
            outcome = self.voter.answer(case, self.respond)
            lines.append(to_line(self._record(question, case, outcome)))
            texts.append(outcome.text)
        with self.file.open("a", encoding="utf-8") as handle:
            handle.writelines(lines)
        return texts

    def _drawn(self, question: Question, prompt: Prompt, drawn: Sequence[tuple[str, int]]) -> Drawn:
        return Drawn(
            question=question.text,
            prompt=prompt,
            texts=tuple(text for text, _ in drawn),
            tokens=tuple(tokens for _, tokens in drawn),
            scale=prompt.box_scale,
            answer=lambda text: self.read(question, text),
            letters=tuple(self.letters(question)),
            wants_thinking=wants_thinking(question),
        )

    def _record(self, question: Question, case: Drawn, outcome: Outcome) -> VoteRecord:
        rows = [self.score(question, text, case.scale) for text in case.texts]
        names = sorted({name for row in rows for name in row})
        return VoteRecord(
            question.id,
            video_of(question),
            outcome.paths,
            case.texts,
            {name: tuple(row.get(name, 0.0) for row in rows) for name in names},
        )


def wants_thinking(question: Question) -> bool:
    """Whether the question, or its system text, asks for a think block."""
    return "<think>" in question.system or "<think>" in question.text


def plain_key(_: Question, text: str) -> str | None:
    """What is counted where a benchmark has no reader of its own: the option letter, else the words of the answer.

    The answer block counts, or the whole text where the model neither thinks nor marks its answer.

    Example:
        >>> plain_key(None, "<think>x</think><answer>The Cat.</answer>"), plain_key(None, "(B)"), plain_key(None, " ")
        ('cat', 'B', None)
    """
    answer = find_answer(text)
    if answer is None:
        answer = "" if find_think(text) is not None or re.search(r"</?(?:think|answer)>", text) else text
    return read_letter(answer) or normalise_answer(answer.replace(OPTION_MARK, " ")) or None
