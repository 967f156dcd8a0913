"""Runs the stages over all candidates; each stage reads what the one before it let through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from o3v.curation import box_check, consistency, filters, propose, publish, sources, verify
from o3v.curation.asking import Asking, in_order
from o3v.curation.box_check import BoxCheck
from o3v.curation.consistency import Consistency
from o3v.curation.filters import SourceFilter
from o3v.curation.folder import CurationFolder
from o3v.curation.items import Candidate, Decision, Outcome
from o3v.curation.prompts import PromptTexts
from o3v.curation.propose import ProposalLimits, Proposer
from o3v.curation.publish import Publisher
from o3v.curation.sources import inside, read_sources
from o3v.curation.verify import CropView, Verifier
from o3v.errors import ConfigError, MediaError
from o3v.video.decode import probe
from o3v.video.reader import ClipReader

FIRST, LAST = filters.STAGE, publish.STAGE
OPTIONAL = (propose.STAGE, box_check.STAGE, verify.STAGE, consistency.STAGE, verify.SENTENCES)
"""Stages between the first and the last that may be left out; `propose` only with rows that are annotated already."""


class Watch(Protocol):
    """Shows that work goes on."""

    def __call__(self, outcomes: Iterable[Outcome], total: int, stage: str) -> Iterable[Outcome]:
        """The same outcomes."""


@dataclass(frozen=True)
class Rows:
    """Where candidates come from: see `read_sources`."""

    file: Path
    layout: str
    media_root: Path


@dataclass(frozen=True)
class Curation:
    """Everything that the stages need.

    Attributes:
        folder: what is written.
        rows: what is read.
        source_filter, limits, box_check, consistency: the rules of the stages.
        asking: the annotator.
        verifying: who says what a crop shows; may be the same.
        prompts: what they are asked.
        reader: which frames the annotator is shown.
        view, sentence_view: how crops are cut for objects and for sentences.
        publisher: the last stage.
        workers: threads that read videos where no model is asked.
    """

    folder: CurationFolder
    rows: Rows
    source_filter: SourceFilter
    limits: ProposalLimits
    box_check: BoxCheck
    consistency: Consistency
    asking: Asking
    verifying: Asking
    prompts: PromptTexts
    reader: ClipReader
    view: CropView
    sentence_view: CropView
    publisher: Publisher
    workers: int

    def run(self, stage: str, watch: Watch) -> None:
        """Run one stage over what the one before let through.

        Raises:
            DataError: the stage before has not run; the rows cannot be read.
            ServiceError: an annotator is away; what it answered before is kept.
            StorageError: the folder cannot be written.
        """
        read: tuple[Decision, ...] = ()
        if stage == FIRST:
            candidates, read = read_sources(self.rows.file, self.rows.layout, self.rows.media_root)
        else:
            candidates = tuple(self.folder.candidates_before(stage))
        self.folder.begin(stage)
        outcomes = list(watch(self._outcomes(stage, candidates), len(candidates), stage))
        if stage == FIRST:
            outcomes = self.source_filter.drawn(outcomes)
        passed = [outcome.candidate for outcome in outcomes if outcome.candidate is not None]
        if stage == LAST:
            self.publisher.write(passed)
        decisions = [decision for outcome in outcomes for decision in outcome.decisions]
        self.folder.write(stage, passed, [*read, *decisions])

    def _outcomes(self, stage: str, candidates: Sequence[Candidate]) -> Iterable[Outcome]:
        proposer = Proposer(self.asking, self.reader, self.prompts, self.limits, self.rows.media_root)
        verifier = Verifier(self.verifying, self.view, self.prompts, self.rows.media_root)
        reading = replace(verifier, view=self.sentence_view)
        work: dict[str, tuple[Callable[[Candidate], Outcome], int]] = {
            FIRST: (partial(self.source_filter.outcome, duration_s=self._duration_s), self.workers),
            propose.STAGE: (proposer.outcome, self.asking.annotator.workers),
            box_check.STAGE: (self.box_check.outcome, 1),
            verify.STAGE: (verifier.outcome, self.verifying.annotator.workers),
            consistency.STAGE: (self.consistency.outcome, 1),
            verify.SENTENCES: (reading.sentences, self.verifying.annotator.workers),
            # one thread: rows of one video place it once
            LAST: (partial(self.publisher.outcome, frames_of=verifier.frames_of), 1),
        }
        one, workers = work[stage]
        return in_order(one, candidates, workers)

    def _duration_s(self, candidate: Candidate) -> float:
        path = inside(self.rows.media_root, candidate.video)
        if path is None:
            raise MediaError(candidate.video, f"no file below {self.rows.media_root}")
        return probe(path).duration_s


def check_stages(stages: Sequence[str], asked: str) -> tuple[str, ...]:
    """The stages to run.

    Args:
        stages: the whole pipeline: filter, some of `OPTIONAL` in their order, write.
        asked: one of them, or `all`.

    Raises:
        ConfigError: unknown, doubled or disordered stages.

    Example:
        >>> check_stages(["filter", "propose", "write"], "all")
        ('filter', 'propose', 'write')
    """
    allowed = (FIRST, *OPTIONAL, LAST)
    wanted = [stage for stage in allowed if stage in stages]
    if list(stages) != wanted or stages[0] != FIRST or stages[-1] != LAST:
        raise ConfigError(
            f"stages={list(stages)}: wanted {list(allowed)}, of which those in the middle may be left out"
        )
    if asked != "all" and asked not in stages:
        raise ConfigError(f"stage={asked!r} is not allowed; allowed are {['all', *stages]}")
    return tuple(stages) if asked == "all" else (asked,)


READ = sources.STAGE
"""Stage under which rows that cannot be read are recorded."""
