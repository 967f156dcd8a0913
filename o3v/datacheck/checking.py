"""The check as a whole: rows, media, then what only shows when all are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from o3v.datacheck.facts import MediaFacts, RowFacts
from o3v.datacheck.findings import Fact, Finding, Severities
from o3v.datacheck.leaks import AskedVideos
from o3v.datacheck.looking import Counts, Place, Progress, find_places, look_at_media, read_rows
from o3v.datacheck.media import DECODES, Decode
from o3v.datacheck.media_rules import media_facts
from o3v.datacheck.memory import Memory, rules_digest
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_reading import Limits
from o3v.datacheck.subjects import Subject
from o3v.datacheck.tokens import Budget, RowTokens, answer_facts, row_tokens, token_facts
from o3v.errors import ConfigError


@dataclass(frozen=True)
class CheckSettings:
    """How a subject is checked.

    Attributes:
        severities: of every kind of finding.
        limits: of the rules.
        pool: workers and their limits.
        media: False leaves files alone: neither missing nor broken ones are found.
        decode: what of a video is decoded.
    """

    severities: Severities
    limits: Limits
    pool: PoolSettings
    media: bool
    decode: Decode

    def __post_init__(self) -> None:
        """Reject what no check can run with."""
        if self.decode not in DECODES:
            raise ConfigError(f"decode={self.decode!r}: allowed are {', '.join(DECODES)}")
        if self.pool.workers < 1:
            raise ConfigError(f"workers={self.pool.workers}: must be at least 1")
        if not self.pool.limit_s > 0 or not self.pool.memory_gib > 0:
            raise ConfigError(f"limit_s={self.pool.limit_s}, memory_gib={self.pool.memory_gib}: both must be above 0")


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        subject: what was checked.
        rows: facts of every row, in order, ids unique.
        findings: by row, errors and warnings.
        tokens: number of a row -> its tokens, where its media could be read.
        rows_counts, media_counts: what was looked at and what was remembered.
        missing_media: files that are not there.
    """

    subject: Subject
    rows: Sequence[RowFacts]
    findings: Sequence[Finding]
    tokens: Mapping[int, RowTokens]
    rows_counts: Counts
    media_counts: Counts
    missing_media: int

    @property
    def rows_with_errors(self) -> int:
        """Rows with at least one finding of severity error."""
        return len({finding.row for finding in self.findings if finding.severity == "error"})

    @property
    def error_share(self) -> float:
        """Rows with an error over all rows."""
        return self.rows_with_errors / max(len(self.rows), 1)


def check(
    subject: Subject,
    settings: CheckSettings,
    memory: Memory,
    budget: Budget | None,
    asked: AskedVideos,
    progress: Progress,
) -> Outcome:
    """Check a subject.

    Args:
        subject: what is checked.
        settings: severities, limits, workers.
        memory: of earlier checks.
        budget: what a prompt may take; None counts no tokens.
        asked: media of the benchmarks to compare with.
        progress: told what is done.
    """
    rules = rules_digest()
    rows, rows_counts = _rows(subject, settings, memory, rules, progress)
    places = find_places(rows, subject.root) if settings.media else {}
    sampling = budget.reader.sampling if budget is not None else None
    media, media_counts = look_at_media(places, settings.decode, sampling, settings.pool, memory, rules, progress)
    context = _Context(settings, places, media, budget, asked, {}, {}, {})
    findings, tokens = [], {}
    for number, row in enumerate(rows, start=1):
        usable = _usable(row, media)
        if budget is not None and usable is not None:
            tokens[number] = row_tokens(row, usable, budget)
        for fact in context.facts(number, row, tokens.get(number)):
            severity = settings.severities.of(fact.kind)
            if severity != "off":
                findings.append(Finding(number, row.id, row.source, row.task, fact.kind, severity, fact.message))
    missing = sum(place.fault is not None for place in places.values())
    return Outcome(subject, rows, findings, tokens, rows_counts, media_counts, missing)


def _rows(
    subject: Subject, settings: CheckSettings, memory: Memory, rules: str, progress: Progress
) -> tuple[list[RowFacts], Counts]:
    if subject.settings is None:
        return list(subject.questions), Counts(len(subject.questions), 0)
    rows, counts = read_rows(subject.texts, subject.settings, settings.pool, memory, rules, progress)
    return with_unique_ids(rows), counts


def with_unique_ids(rows: Sequence[RowFacts]) -> list[RowFacts]:
    """The ids under which training knows the rows: `row-N` without one, `ID@row-N` where one is used again."""
    used = Counter(row.id for row in rows)
    named = []
    for number, row in enumerate(rows, start=1):
        name = f"row-{number}" if not row.id else row.id if used[row.id] == 1 else f"{row.id}@row-{number}"
        named.append(row if name == row.id else RowFacts(**{**vars(row), "id": name}))
    return named


def _usable(row: RowFacts, media: Mapping[str, MediaFacts]) -> MediaFacts | None:
    found = media.get(row.media) if row.media is not None else None
    return found if found is not None and found.fault is None else None


@dataclass(frozen=True)
class _Context:
    """What the rules of one row may ask of the others; `pictures`, `leaks` and `seen` grow from row to row."""

    settings: CheckSettings
    places: Mapping[str, Place]
    media: Mapping[str, MediaFacts]
    budget: Budget | None
    asked: AskedVideos
    pictures: dict[str, bool]
    leaks: dict[str, Fact | None]
    seen: dict[str, int]

    def facts(self, number: int, row: RowFacts, tokens: RowTokens | None) -> Iterator[Fact]:
        """Everything that is wrong with a row."""
        yield from row.facts
        if row.media is not None:
            yield from self._place(row)
            yield from media_facts(row, self.media.get(row.media), self.settings.limits)
            yield from self._leak(row.media)
        yield from self._duplicates(number, row)
        if self.budget is not None:
            yield from answer_facts(row, self.budget)
            if tokens is not None:
                yield from token_facts(tokens, row.is_image, self.budget)

    def _place(self, row: RowFacts) -> Iterator[Fact]:
        place = self.places.get(row.media or "")
        if place is not None and place.fault is not None:
            yield Fact("media_missing", f"{'image_path' if row.is_image else 'video_path'}: {place.fault}")
        for picture in row.pictures if self.settings.media else ():
            if picture not in self.pictures:
                self.pictures[picture] = Path(picture).is_file()
            if not self.pictures[picture]:
                yield Fact("picture_missing", f"key_frames: path {picture} does not exist")

    def _leak(self, path: str) -> Iterator[Fact]:
        if path not in self.leaks:
            place = self.places.get(path)
            self.leaks[path] = self.asked.fact(Path(path), place.size if place else None)
        found = self.leaks[path]
        if found is not None:
            yield found

    def _duplicates(self, number: int, row: RowFacts) -> Iterator[Fact]:
        """A row that stands further up counts as that alone, not as the same question again too."""
        first = self.seen.setdefault(f"row {row.content}", number) if row.content else number
        asked = self.seen.setdefault(f"question {row.question}", number) if row.question else number
        if first != number:
            yield Fact("duplicate_row", f"row: the same as row {first}, but for its id")
        elif asked != number:
            yield Fact("duplicate_question", f"question: the same about the same media as row {asked}")
