"""Video-MME: 2,700 questions with four options on 900 videos, with or without subtitles (arXiv:2405.21075).

Read as published on Hugging Face: one parquet file with the fields videoID, question_id, duration, domain,
sub_category, task_type, question, options, answer; videos as data/VIDEOID.mp4, subtitles as subtitle/VIDEOID.srt (744
videos have some). Numbers by duration, domain, sub-category and task type.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from o3v.benchmarks.mcq.benchmark import ChoiceBenchmark, accuracy_by, check_settings
from o3v.benchmarks.mcq.letters import Parser
from o3v.benchmarks.mcq.prompts import ONLY_LETTER, SELECT, THINK, own_text, read_subtitles
from o3v.benchmarks.mcq.rows import (
    ChoiceRow,
    check_files,
    find_video,
    letter_of,
    listed,
    options_of,
    read_table,
    text_of,
    unique_rows,
)
from o3v.errors import ConfigError, DataError

log = logging.getLogger(__name__)

DURATIONS: Final = ("short", "medium", "long")
DOMAINS: Final = (
    "Knowledge",
    "Film & Television",
    "Sports Competition",
    "Artistic Performance",
    "Life Record",
    "Multilingual",
)
SUB_CATEGORIES: Final = listed(
    "Humanity & History, Literature & Art, Biology & Medicine, Finance & Commerce, Astronomy, Geography, Law, "
    "Life Tip, Technology, Animation, Movie & TV Show, Documentary, News Report, Esports, Basketball, Football, "
    "Athletics, Other Sports, Stage Play, Magic Show, Variety Show, Acrobatics, Handicraft, Food, Fashion, Daily Life, "
    "Travel, Pet & Animal, Exercise, Multilingual"
)
TASK_TYPES: Final = listed(
    "Temporal Perception, Spatial Perception, Attribute Perception, Action Recognition, Object Recognition, "
    "OCR Problems, Counting Problem, Temporal Reasoning, Spatial Reasoning, Action Reasoning, Object Reasoning, "
    "Information Synopsis"
)

KNOWN: Final = {"duration": DURATIONS, "domain": DOMAINS, "sub_category": SUB_CATEGORIES, "task_type": TASK_TYPES}
"""Fields of the published rows and the values that the released table knows."""

RESULT_FIELDS: Final = {
    "duration": "duration",
    "domain": "category",
    "sub_category": "sub_category",
    "task_type": "task_category",
}
"""Published field -> its name in the released result files."""

_LABELS = {
    "duration": "video Type",
    "domain": "Categories",
    "sub_category": "Video Sub Categories",
    "task_type": "Task Categories",
}
_OVERALL = "Overall Performance"


@dataclass(frozen=True)
class VideoMME(ChoiceBenchmark):
    """Video-MME.

    Attributes:
        root: folder of the published data.
        annotations: parquet (or JSON) file below it.
        videos: folder of the videos below it.
        subtitles: folder of the .srt files below it; None asks without subtitles.
        subtitle_chars: longer subtitles are thinned to this length.
        definition: `corrected` or `reference`.
        prompt: `own` or `reference`; the released text has no subtitles, so `reference` needs subtitles=null.
        think: whether the released text asks for think and answer blocks; `own` always does.
        seed: of baselines and bootstrap.
        resamples: bootstrap draws of an interval.

    Raises:
        ConfigError: a value that is not allowed.
    """

    root: str
    annotations: str
    videos: str
    subtitles: str | None
    subtitle_chars: int
    definition: str
    prompt: str
    think: bool
    seed: int
    resamples: int

    def __post_init__(self) -> None:
        check_settings(self)
        if self.subtitles is not None and self.prompt == "reference":
            raise ConfigError("benchmark.subtitles: the released prompt shows none (defect B8); set prompt=own")
        if self.subtitle_chars < 1:
            raise ConfigError(f"benchmark.subtitle_chars={self.subtitle_chars}: must be at least 1")

    @property
    def name(self) -> str:
        """`videomme`, with `_subtitles` where they are shown."""
        return "videomme" if self.subtitles is None else "videomme_subtitles"

    @property
    def parser(self) -> Parser:
        """Video-MME's."""
        return "videomme"

    @property
    def allowed(self) -> str:
        """A to D."""
        return "ABCD"

    @property
    def shown(self) -> tuple[str, ...]:
        """Accuracy, also by duration, then what stands beside it; the other fields are in report.json."""
        return ("acc", *(f"acc@duration={value}" for value in DURATIONS), "chance", "parsed", "coverage")

    def read_rows(self) -> tuple[ChoiceRow, ...]:
        """The annotated questions. Raises ConfigError, DataError."""
        path = Path(self.root) / self.annotations
        return unique_rows([self._read(row, f"{path}: row {i}") for i, row in enumerate(read_table(path))], path)

    def check(self) -> None:
        """Look that annotations, videos and subtitles are there.

        Raises:
            ConfigError: the file, videos or all subtitles are missing.
            DataError: a row that cannot be used; in the reference definition also a category that its table lacks.
        """
        check_files((row.video for row in self.rows), "videos", self.name, "set benchmark.videos to their folder")
        if self._released:
            for row in self.rows:
                _check_known({field: values[0] for field, values in row.fields.items()}, f"question {row.id}")
        if self.subtitles is not None:
            self._check_subtitles(Path(self.root) / self.subtitles)

    def own_text(self, row: ChoiceRow) -> str:
        """The question in the project's form, behind the subtitles."""
        return own_text(row, read_subtitles(row.subtitle, self.subtitle_chars))

    def reference_text(self, row: ChoiceRow) -> str:
        """The released prompt."""
        return prompt_text(row.question, row.options, self.think)

    def groups(self, row: ChoiceRow) -> list[tuple[str, str]]:
        """By exact equality; in the reference definition by occurrence in the row's joined fields (defect B5)."""
        if not self._released:
            return super().groups(row)
        key = "_".join(row.fields[field][0] for field in KNOWN)
        return [(field, value) for field, values in KNOWN.items() for value in values if value in key]

    def _read(self, row: Mapping[str, Any], place: str) -> ChoiceRow:
        video = text_of(row, "videoID", place)
        options = options_of(row, "options", place)
        subtitle = None if self.subtitles is None else Path(self.root) / self.subtitles / f"{video}.srt"
        return ChoiceRow(
            id=text_of(row, "question_id", place),
            item=video,
            video=find_video([Path(self.root) / self.videos], video),
            question=text_of(row, "question", place),
            options=options,
            answer=letter_of(row, "answer", options, place),
            kind="choice",
            fields={field: (text_of(row, field, place),) for field in KNOWN},
            subtitle=subtitle,
        )

    def _check_subtitles(self, folder: Path) -> None:
        """Some videos have none; none at all is a wrong folder."""
        asked = {row.subtitle for row in self.rows if row.subtitle is not None}
        there = sum(path.is_file() for path in asked)
        log.info("%s: %d of %d videos have subtitles", self.name, there, len(asked))
        if not there:
            raise ConfigError(f"{folder}: no VIDEOID.srt of any video; set benchmark.subtitles to their folder")


def prompt_text(question: str, options: Sequence[str], think: bool) -> str:
    """The released prompt: options as published, a line each."""
    lines = "".join(f"{option}\n" for option in options)
    if think:
        return f"Question:{question}\n{lines}{SELECT} {THINK} In the answer part, r{ONLY_LETTER}"
    return f"{SELECT} R{ONLY_LETTER}\n{question}\n{lines}"


def accuracy_table(results: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Percentages by exact equality of the fields; an answer that is not the letter is wrong and counts.

    Args:
        results: rows of a released result file: duration, category, sub_category, task_category, pred_answer, answer.

    Returns:
        `overall`, and for each of the four fields value -> percentage; overall 0 without rows.

    Example:
        >>> row = {"duration": "long", "category": "Knowledge", "sub_category": "Law", "task_category": "OCR Problems"}
        >>> rows = [{**row, "pred_answer": letter, "answer": "A"} for letter in ("A", "No Answer Found")]
        >>> accuracy_table(rows)["overall"]
        50.0
    """
    rights = _rights(results)
    table: dict[str, Any] = {"overall": 100 * sum(rights) / len(rights) if rights else 0.0}
    for name in RESULT_FIELDS.values():
        by_value = accuracy_by(rights, [[row[name]] for row in results])
        table[name] = {value: 100 * share for value, share in by_value.items()}
    return table


def released_table(results: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The released log table, label -> percentage, not rounded; 0 for groups without rows.

    A row counts for every value that occurs in its joined fields, so that the domain Multilingual also collects the
    sub-category of that name and the other way round (defect B5).

    Raises:
        DataError: a value that the table does not know (the released code raises KeyError).
    """
    fields = [{field: row[name] for field, name in RESULT_FIELDS.items()} for row in results]
    for index, row in enumerate(fields):
        _check_known(row, f"result {index}")
    rights = _rights(results)
    keys = ["_".join(row.values()) for row in fields]
    groups = [[(f, v) for f, values in KNOWN.items() for v in values if v in key] for key in keys]
    shares = accuracy_by(rights, groups)
    table = {f"{_LABELS[f]}: {v}": 100 * shares.get((f, v), 0.0) for f, values in KNOWN.items() for v in values}
    return {**table, _OVERALL: 100 * sum(rights) / len(rights) if rights else 0.0}


def _rights(results: Sequence[Mapping[str, str]]) -> list[float]:
    return [float(row["pred_answer"] == row["answer"]) for row in results]


def _check_known(fields: Mapping[str, str], place: str) -> None:
    for field, value in fields.items():
        if value not in KNOWN[field]:
            raise DataError(
                f"{place}: {field}={value!r} is not in the released table, which knows {list(KNOWN[field])}"
            )
