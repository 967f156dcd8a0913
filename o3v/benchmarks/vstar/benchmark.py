"""V-STaR (arXiv:2503.11495) as a benchmark: five questions an item, two chains, tables overall, by length, by domain.

Below `root`: `V_STaR_test.json` as published, and the videos as `VID.mp4` in any folder. Boxes in answers are converted
to pixels of the video before they are scored, so that 0-1000 grids and resized frames count alike.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from o3v.benchmarks.question import DEFINITIONS, Question, ToJudge
from o3v.benchmarks.records import Identity, Record, Versions, make_record
from o3v.benchmarks.report import Grid
from o3v.benchmarks.statistics import Derived, Estimate, estimate_columns
from o3v.benchmarks.trivial import Texts, box_baselines, boxes_json, span_baselines, together, whole_seconds
from o3v.benchmarks.versions import versions_of
from o3v.benchmarks.vstar import judge
from o3v.benchmarks.vstar.aggregate import Grouped, derived, grouped_columns
from o3v.benchmarks.vstar.annotations import Item, read_items, read_rows
from o3v.benchmarks.vstar.grids import NUMBERS, grids
from o3v.benchmarks.vstar.items import JUDGE_COLUMN, item_scores, what_scores, when_scores, where_scores
from o3v.benchmarks.vstar.parsers import read_boxes, read_times
from o3v.benchmarks.vstar.predictions import Answers, ratings_of, read_answers, read_judge_scores
from o3v.benchmarks.vstar.prompts import KINDS, SYSTEM, question_text
from o3v.benchmarks.vstar.reference_parsers import reference_boxes, reference_times
from o3v.errors import ConfigError
from o3v.types import BoxScale

log = logging.getLogger(__name__)

ANNOTATIONS = "V_STaR_test.json"

SHOWN = (*NUMBERS, "parsed", "coverage")
"""Columns of the main table; `VStar.grids` shows the others."""

_GROUP_MARKS = ("length=", "domain=")


@dataclass(frozen=True)
class VStar:
    """The benchmark.

    Attributes:
        root: folder with the annotations and the videos.
        think: ask for reasoning in think tags first, as the reasoning models were trained to.
        definition: `corrected`, or `reference` for the released scripts' arithmetic.
        resamples: bootstrap draws of an interval.
        seed: of the draws.

    Raises:
        ConfigError: an unknown definition, or no draws.
    """

    root: str
    think: bool
    definition: str
    resamples: int
    seed: int

    name: ClassVar[str] = "vstar"
    shown: ClassVar[tuple[str, ...]] = SHOWN
    judge_column: ClassVar[str] = JUDGE_COLUMN

    def __post_init__(self) -> None:
        """Reject settings without meaning; no file is opened."""
        if self.definition not in DEFINITIONS:
            raise ConfigError(f"benchmark.definition={self.definition!r}: allowed are {list(DEFINITIONS)}")
        if self.resamples < 1:
            raise ConfigError(f"benchmark.resamples={self.resamples}: must be at least 1")

    def check(self) -> None:
        """Look that annotations and videos are there.

        Raises:
            ConfigError: names what is missing and where it was looked for.
            DataError: an annotation that cannot be used.
        """
        videos, items = self._videos(), self.items()
        missing = sorted({item.vid for item in items} - videos.keys())
        if missing:
            raise ConfigError(
                f"{self.root}: {len(missing)} videos of {ANNOTATIONS} are not there, "
                f"for example {', '.join(f'{vid}.mp4' for vid in missing[:3])}; they may lie in any folder below"
            )

    def items(self) -> list[Item]:
        """The annotated items in the file's order.

        Raises:
            ConfigError: there are no annotations; says where they belong.
            DataError: a row that cannot be used.
        """
        path = self._annotations
        if not path.is_file():
            raise ConfigError(
                f"{path}: V-STaR's annotations are not there; {ANNOTATIONS} is in V-STaR-Bench/V-STaR (GitHub, Hugging "
                "Face) and belongs into the folder vstar of paths.benchmark_root (O3V_BENCHMARKS)"
            )
        return read_items(read_rows(path), str(path))

    def questions(self) -> list[Question]:
        """Five questions an item, by id; a video that is not there keeps its questions and fails when it is read.

        In `reference` a moment without a whole second is not asked for boxes, as the released code raises there.
        """
        videos = self._videos()
        asked = [self._question(kind, item, videos.get(item.vid)) for item in self.items() for kind in KINDS]
        left_out = sum(question is None for question in asked)
        if left_out:
            log.warning("%d moments without a whole second are not asked for boxes (definition=reference)", left_out)
        return sorted((question for question in asked if question is not None), key=lambda question: question.id)

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """Scores of an answer, and 1 for each group that its item is in; `acc` needs the judge's score.

        `vqa`: answered. `temporal*`: tiou, parsed. `spatial*`: viou, AP@x, parsed.
        """
        item: Item = question.truth["item"]
        reference = self.definition == "reference"
        if question.task == "vqa":
            scores = what_scores(judge.candidate(text, self.definition), None)
        elif question.task.startswith("temporal"):
            scores = when_scores(item, reference_times(text) if reference else read_times(text))
        else:
            boxes = reference_boxes(text) if reference else read_boxes(text, scale, item.size_px)
            scores = where_scores(item, boxes, self.definition)
        return scores | dict.fromkeys(_groups(item), 1.0)

    def to_judge(self, question: Question, text: str) -> ToJudge | None:
        """What the judge is asked about an answer in words; None for other questions and for no answer."""
        words = judge.candidate(text, self.definition) if question.task == "vqa" else ""
        if not words:
            return None
        item: Item = question.truth["item"]
        return ToJudge(item.question, item.answer, words, judge.messages(item.question, item.answer, words))

    def parse_judge(self, reply: str) -> int:
        """The score in a judge's reply, 0 to 3; -1 where none can be read."""
        return judge.parse_score(reply, self.definition)

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values; an item's numbers stand at its first record (that of `vqa`), nan at the others.

        See `o3v.benchmarks.vstar.aggregate` for the names. A question without a record counts 0.
        """
        of_item: dict[str, dict[str, int]] = defaultdict(dict)
        for index, record in enumerate(records):
            of_item[record.item or record.sample_id.rpartition("/")[0]][record.task] = index
        carriers = [min(kinds.values(), key=lambda i: KINDS.index(records[i].task)) for kinds in of_item.values()]
        items = [_grouped({kind: records[i] for kind, i in kinds.items()}) for kinds in of_item.values()]
        found = {}
        for name, values in grouped_columns(items, self.definition).items():
            found[name] = np.full(len(records), np.nan)
            found[name][carriers] = values
        return found

    def derived(self, names: Collection[str]) -> Derived:
        """AM and LGM of each chain, mAM and mLGM, overall and for each group (fractions; LGM in nats)."""
        return derived(names, self.definition)

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means of all columns and the numbers made of them, with intervals clustered by video.

        A number made of a group's means counts the items and videos of its group; of one video it has no interval.
        """
        found = self.columns(records)
        videos = [record.video for record in records]
        made = self.derived(found)
        estimates = estimate_columns(found, videos, made, self.resamples, self.seed)
        return estimates | {name: _counted(estimates[name], estimates[_base(name)]) for name in made}

    def grids(self, estimates: Mapping[str, Estimate]) -> list[Grid]:
        """Tables beside the main one: by length and domain, and the two chains with all their numbers."""
        return grids(estimates)

    def baselines(self) -> Mapping[str, Texts]:
        """Whole video and its middle third (when), full frame and centre box (where), and both whole at once."""
        items = {f"{item.id}/{kind}": (kind, item) for item in self.items() for kind in KINDS}
        when = {key: item.duration_s for key, (kind, item) in items.items() if kind.startswith("temporal")}
        where = {key: item.duration_s for key, (kind, item) in items.items() if kind.startswith("spatial")}
        moments = {key: whole_seconds((0.0, duration_s)) for key, duration_s in where.items()}
        spans, boxes = span_baselines(when), box_baselines(moments, boxes_json)
        return spans | boxes | {"all_whole": together(spans["whole_video"], boxes["full_frame"])}

    def records_of(self, path: Path, judge_scores: Path | Mapping[str, int] | None) -> list[Record]:
        """Records of saved predictions in the released format; needs neither model nor videos.

        Items of the annotations that the file lacks count as unanswered, where the annotations are there.

        Args:
            path: JSON list, see `o3v.benchmarks.vstar.predictions`.
            judge_scores: the judge's scores, see `predictions.read_judge_scores`; where it says nothing about a row,
                the row's own. Rows without any get no `judge_score`.

        Raises:
            DataError: a file that cannot be used.
        """
        rows = read_rows(path)
        items = read_items(rows, str(path), required=())
        ratings = ratings_of(rows, items, read_judge_scores(judge_scores))
        identity, versions = Identity(path.stem, "", 0), versions_of(self, self.definition)
        records: list[Record] = []
        for row, item, rating in zip(rows, items, ratings, strict=True):
            answers = read_answers(row, item, rating, self.definition)
            records += self._records(item, answers, identity, versions)
            if answers.failure:
                log.warning("%s, %s: the released script stops here with %s", path, item.id, answers.failure)
        known = {item.id for item in items}
        lacking = [item for item in self.items() if item.id not in known] if self._annotations.is_file() else []
        for item in lacking:
            records += self._records(item, read_answers({}, item, None, self.definition), identity, versions)
        if lacking:
            log.warning("%s: %d items of %s are not in it and count as wrong", path, len(lacking), self._annotations)
        return sorted(records, key=lambda record: record.sample_id)

    def questions_of(self, path: Path) -> list[Question]:
        """The questions that the rows of saved predictions answer, for a judge; needs no root.

        Raises:
            DataError: a file that cannot be used.
        """
        items = read_items(read_rows(path), str(path), required=())
        return [_ask(kind, item, item.question, Path(f"{item.vid}.mp4")) for item in items for kind in KINDS]

    @property
    def _annotations(self) -> Path:
        return Path(self.root) / ANNOTATIONS

    def _videos(self) -> dict[str, Path]:
        """Name without ending -> file, for all videos below the root."""
        return {path.stem: path for path in sorted(Path(self.root).rglob("*.mp4"), reverse=True)}

    def _question(self, kind: str, item: Item, video: Path | None) -> Question | None:
        text = question_text(kind, item, self.think, self.definition)
        return None if text is None else _ask(kind, item, text, video or Path(self.root) / f"{item.vid}.mp4")

    def _records(self, item: Item, answers: Answers, identity: Identity, versions: Versions) -> list[Record]:
        found = []
        for kind in KINDS:
            question = _ask(kind, item, "", Path(f"{item.vid}.mp4"))
            scores = dict(answers.scores[kind]) | dict.fromkeys(_groups(item), 1.0)
            error = None if kind in answers.given else "not answered"
            scale = BoxScale(*item.size_px)
            found.append(make_record(question, identity, None, answers.texts[kind], scores, error, versions, scale))
        return found


def _ask(kind: str, item: Item, text: str, video: Path) -> Question:
    return Question(
        id=f"{item.id}/{kind}",
        source="vstar",
        task=kind,
        item=item.id,
        video_path=video,
        image_path=None,
        span_s=None,
        system=SYSTEM,
        text=text,
        image_paths=(),
        truth={"item": item},
    )


def _base(name: str) -> str:
    """The column whose items a derived number counts: `acc` of the same group."""
    _, at, group = name.partition("@")
    return f"acc{at}{group}"


def _counted(estimate: Estimate, base: Estimate) -> Estimate:
    """An estimate with the counts of another; resampling the videos of others says nothing about a single one."""
    counted = replace(estimate, n=base.n, clusters=base.clusters)
    return counted if base.clusters > 1 else replace(counted, low=math.nan, high=math.nan, se=math.nan)


def _groups(item: Item) -> tuple[str, str]:
    return f"length={item.length}", f"domain={item.domain}"


def _grouped(records: Mapping[str, Record]) -> Grouped:
    """An item from the records of its questions."""
    scores: dict[str, Mapping[str, Any]] = {kind: record.scores for kind, record in records.items()}
    answered = sum(record.error is None for record in records.values())
    names = [name for record in records.values() for name in record.scores if name.startswith(_GROUP_MARKS)]
    length, domain = (next((n for n in names if n.startswith(mark)), f"{mark}unknown") for mark in _GROUP_MARKS)
    return Grouped(item_scores(scores, answered), (length, domain))
