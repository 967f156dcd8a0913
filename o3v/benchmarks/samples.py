"""A data set's own rows as a benchmark: the generated world, or the rows of an STGR file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from o3v.benchmarks.baselines import BASELINES, Constants, baseline_completions, baseline_records, fit_constants
from o3v.benchmarks.exam import THOUSANDTHS
from o3v.benchmarks.question import Question
from o3v.benchmarks.records import Record, Reward, Scorer, with_rewards
from o3v.benchmarks.shapes import SHOWN, SampleSource, ShapesBenchmark
from o3v.benchmarks.statistics import Derived, Estimate
from o3v.errors import ConfigError
from o3v.grounding.parse import parse_completion
from o3v.grounding.render import rewrite_boxes
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import BoxScale, Sample
from o3v.video.decode import probe

PROGRESS = 1.0
"""Progress of training at which annealed rewards are scored: its end."""


def sample_question(sample: Sample) -> Question:
    """A sample as it is asked in training, without its annotated key frames; the sample itself is the truth."""
    return Question(
        id=sample.id,
        source=sample.source,
        task=str(sample.task),
        item=sample.id,
        video_path=sample.video_path,
        image_path=sample.image_path,
        span_s=None,
        system=SYSTEM_TEXTS[sample.task],
        text=sample.question,
        image_paths=(),
        truth={"sample": sample},
    )


@dataclass(frozen=True)
class SampleBenchmark:
    """Samples asked as a `Benchmark`, scored by `ShapesBenchmark` and by the configured reward.

    Attributes:
        name: prefix of its metrics.
        definition: `corrected`; these scores are no reference's.
        dataset: where samples come from.
        train: the training rows, on which trivial answers are fitted.
        reward: total and terms are scored too; None leaves them out.
        tasks, n_per_task, frame_interval_s: see `ShapesBenchmark`.
        seed: of the choice of samples and of the bootstrap.
        resamples: bootstrap draws of an interval.
    """

    name: str
    definition: str
    dataset: SampleSource
    train: SampleSource
    reward: Reward | None
    tasks: Sequence[str] | None
    n_per_task: int
    seed: int
    frame_interval_s: float
    resamples: int

    def __post_init__(self) -> None:
        """Reject what the scores cannot be computed with."""
        if self.definition != "corrected":
            raise ConfigError(f"benchmark.definition={self.definition!r}: allowed here is 'corrected'")
        _ = self.rules

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns of the main table, in order."""
        return SHOWN

    @cached_property
    def rules(self) -> ShapesBenchmark:
        """Choice of samples and scores."""
        return ShapesBenchmark(
            self.dataset, self.tasks, self.n_per_task, self.seed, self.frame_interval_s, self.resamples
        )

    def check(self) -> None:
        """Make or read the rows. Raises DataError or ConfigError where there are none."""
        self.rules.samples()

    def questions(self) -> list[Question]:
        """One question a chosen sample, by id."""
        return [sample_question(sample) for sample in self.rules.samples()]

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """The columns of the sample's task, and its rewards."""
        return self._scorer(question.truth["sample"], parse_completion(text, scale))

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """See `ShapesBenchmark.columns`."""
        return self.rules.columns(records)

    def derived(self, names: Collection[str]) -> Derived:
        """See `ShapesBenchmark.derived`."""
        return self.rules.derived(names)

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """See `ShapesBenchmark.summary`."""
        return self.rules.summary(records)

    def baselines(self) -> Mapping[str, Mapping[str, str]]:
        """The likeliest text of every trivial answer, boxes in thousandths of the frame."""
        return {
            name: {sample.id: self._likeliest(name, sample) for sample in self.rules.samples()} for name in BASELINES
        }

    def baseline_records(self) -> dict[str, list[Record]]:
        """Trivial answers with their exact expected scores: a random answer counts every answer by its share."""
        samples = self.rules.samples()
        return {
            name: baseline_records(name, samples, self._constants, self._duration_s, self._scorer) for name in BASELINES
        }

    def _likeliest(self, name: str, sample: Sample) -> str:
        weighted = baseline_completions(name, sample, self._constants, self._duration_s(sample))
        _, completion = max(weighted, key=lambda pair: pair[0])
        to_unit = completion.box_scale.to_unit
        return rewrite_boxes(completion.text, lambda box: THOUSANDTHS.to_model(to_unit(box)))

    @cached_property
    def _scorer(self) -> Scorer:
        return self.rules.score if self.reward is None else with_rewards(self.rules.score, self.reward, PROGRESS)

    @cached_property
    def _constants(self) -> Constants:
        return fit_constants(self.train.samples())

    @cached_property
    def _lengths_s(self) -> dict[str, float]:
        return {s.id: probe(s.video_path).duration_s if s.video_path else 0.0 for s in self.rules.samples()}

    def _duration_s(self, sample: Sample) -> float:
        return self._lengths_s[sample.id]
