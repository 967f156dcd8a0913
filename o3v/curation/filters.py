"""Which rows are worth an annotator's time: length of the video, share of the span, length of given reasoning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from o3v.curation.items import DROPPED, Candidate, Decision, Notes, Outcome
from o3v.errors import ConfigError, MediaError

STAGE = "filter"


@dataclass(frozen=True)
class SourceRule:
    """What rows of a source must be like (arXiv:2510.20579, A.4 has the paper's numbers). None: no condition.

    Attributes:
        prefix: sources that begin with it; "" is every source.
        tasks: allowed tasks; None for all.
        min_duration_s, max_duration_s: length of the video, both included.
        max_span_share: largest share of the video that the span may take, included.
        span_share_below: the same, excluded.
        reasoning_chars_below: length of the given reasoning, excluded.
        take: rows that are drawn from those that pass.
    """

    prefix: str
    tasks: Sequence[str] | None
    min_duration_s: float | None
    max_duration_s: float | None
    max_span_share: float | None
    span_share_below: float | None
    reasoning_chars_below: int | None
    take: int | None


@dataclass(frozen=True)
class SourceFilter:
    """The first stage.

    Attributes:
        rules: name -> rule; of those whose prefix fits, the longest prefix decides.
        seed: of the draw for `take`.
    """

    rules: dict[str, SourceRule]
    seed: int

    def __post_init__(self) -> None:
        """Reject two rules for one prefix."""
        prefixes = [rule.prefix for rule in self.rules.values()]
        if len(set(prefixes)) < len(prefixes):
            raise ConfigError(f"filter.rules: two rules have one prefix in {prefixes}")

    def rule_of(self, source: str) -> SourceRule | None:
        """The rule of a source."""
        fitting = [rule for rule in self.rules.values() if source.startswith(rule.prefix)]
        return max(fitting, key=lambda rule: len(rule.prefix), default=None)

    def outcome(self, candidate: Candidate, duration_s: Callable[[Candidate], float]) -> Outcome:
        """Does one row pass, before the draw.

        Args:
            candidate: the row.
            duration_s: length of a candidate's video; may raise MediaError.
        """
        notes = Notes(candidate.id, STAGE)
        rule = self.rule_of(candidate.source)
        if rule is None:
            return notes.dropped("no rule for the source", source=candidate.source)
        if rule.tasks is not None and candidate.task not in rule.tasks:
            return notes.dropped("task", task=candidate.task)
        try:
            measured = replace(candidate, duration_s=round(duration_s(candidate), 3))
        except MediaError as error:
            return notes.dropped("media", detail=error.reason)
        fault = fault_of(measured, rule)
        values = {"duration_s": measured.duration_s, "span_share": span_share(measured)}
        return notes.dropped(fault, **values) if fault else notes.kept(measured, **values)

    def drawn(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Drop passing rows beyond a rule's `take`; which ones depends on seed and ids alone."""
        passing: dict[str, list[str]] = {}
        for outcome in outcomes:
            if outcome.candidate is not None:
                rule = self.rule_of(outcome.candidate.source)
                assert rule is not None, "it passed one"
                passing.setdefault(rule.prefix, []).append(outcome.candidate.id)
        takes = {rule.prefix: rule.take for rule in self.rules.values() if rule.take is not None}
        chosen = {
            name
            for prefix, names in passing.items()
            for name in sorted(names, key=self._lot)[: takes.get(prefix, len(names))]
        }
        return [_not_drawn(outcome) if _is_left(outcome, chosen) else outcome for outcome in outcomes]

    def _lot(self, name: str) -> str:
        return hashlib.sha256(f"{self.seed}/{name}".encode()).hexdigest()


def span_share(candidate: Candidate) -> float | None:
    """Share of the video that the span takes; None without a span.

    >>> span_share(Candidate("a", "s", "t", "v", "", "", "", (1.0, 3.0), 8.0, "", ()))
    0.25
    """
    if candidate.span_s is None or candidate.duration_s <= 0:
        return None
    return round((candidate.span_s[1] - candidate.span_s[0]) / candidate.duration_s, 4)


def fault_of(candidate: Candidate, rule: SourceRule) -> str:
    """The first condition that a measured candidate breaks; "" where it breaks none."""
    share, span_s, length_s = span_share(candidate), candidate.span_s, candidate.duration_s
    checks = {
        "span outside the video": span_s is not None and not 0 <= span_s[0] < span_s[1] <= length_s + 1.0,
        "video too short": rule.min_duration_s is not None and length_s < rule.min_duration_s,
        "video too long": rule.max_duration_s is not None and length_s > rule.max_duration_s,
        "span too large": share is not None
        and (
            (rule.max_span_share is not None and share > rule.max_span_share)
            or (rule.span_share_below is not None and share >= rule.span_share_below)
        ),
        "reasoning too long": rule.reasoning_chars_below is not None
        and len(candidate.reasoning) >= rule.reasoning_chars_below,
    }
    return next((reason for reason, is_broken in checks.items() if is_broken), "")


def _is_left(outcome: Outcome, chosen: set[str]) -> bool:
    return outcome.candidate is not None and outcome.candidate.id not in chosen


def _not_drawn(outcome: Outcome) -> Outcome:
    last = outcome.decisions[-1]
    return Outcome(None, (*outcome.decisions[:-1], Decision(last.sample, STAGE, DROPPED, "not drawn", last.values)))
