"""WorldSense: 3,172 questions with four options on 1,662 videos of sight and sound (arXiv:2502.04326).

Read as published on Hugging Face: worldsense_qa.json, an object video -> {duration, domain, sub_category, audio_class,
task0: {task_domain, task_type, question, candidates, answer}, task1: ...}, or the same as flat rows (JSON list or
parquet; field `index`). Videos as videos/VIDEO.mp4. Numbers by duration, domain, sub-category, task domain, task type
and kind of sound (a question may have several). The model hears nothing here; the frames alone answer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from o3v.benchmarks.mcq.benchmark import ChoiceBenchmark, accuracy_by, check_settings
from o3v.benchmarks.mcq.letters import API_ERROR, Parser, option_letters, read_letter, released_letter
from o3v.benchmarks.mcq.prompts import ONLY_LETTER, SELECT, THINK
from o3v.benchmarks.mcq.rows import (
    ChoiceRow,
    check_files,
    find_video,
    letter_of,
    listed,
    options_of,
    read_json,
    read_table,
    text_of,
    unique_rows,
)
from o3v.errors import DataError

DURATIONS: Final = ("<1min", "1-2min", "2-4min", "4-6min", "6-8min", ">8min")
DOMAINS: Final = listed("Tech & Science, Culture & Politics, Daily Life, Film & TV, Performance, Games, Sports, Music")
SUB_CATEGORIES: Final = listed(
    "Academic Lectures, Auto, Software, Physics, Climate Change, Space Missions, Chemistry, Engineering Projects, "
    "Biology, Science Explainers, Artificial Intelligence, Astronomy, Tech Reviews, Editorials, Politics, "
    "Historical Analysis, Social Commentary, Book Reviews, Cultural Explainers, Drawing Tutorials, "
    "Celebrity Interviews, Art Exhibitions, Fashion, Travel, Daily Vlogs, Cooking, Pranks, Camping, "
    "Nutrition & Health, Home Improvement, Painting & Photography, Unboxing Videos, Family Vlogs, DIY & Crafts, "
    "Skincare & Makeup, Documentaries, Film Trailers, Event Livestreams, Short Films, Documentary Profiles, "
    "Movie Reviews, World News, Walkthroughs, Talks, Parodies, Storytime, Fitness, Sketches, Stand-up, FPS Game, "
    "Role Playing Game, Sports Game, Casual Game, Basketball, Racing, Football, Bowling Ball, Soccer, Motorsport, "
    "swimming, Boxing, Other Sports, Fishing, Hiking, Covers, Music Videos, Remixes"
)
TASK_DOMAINS: Final = ("Recognition", "Understanding", "Reasoning")
TASK_TYPES: Final = listed(
    "Anomaly Recognition, Event Recognition, Attribute Recognition, Human Interaction, Temporal Localization, "
    "Video Emotions, Event Sorting, Hallucination, Text and Diagram Understanding, Attribute Reasoning, "
    "Causal Reasoning, Object Counting, Action Counting, Temporal Prediction, Emotion Change, Audio Counting, "
    "Scene Recognition, Human-object Interaction, Human Emotions, Object State Change, Relation Reasoning, "
    "Spatial Relation, Audio Source Localization, Audio Recognition, Object Existence Recognition, "
    "Audio Change"
)
AUDIO_CLASSES: Final = ("Speech", "Event", "Music")

KNOWN: Final = {
    "duration": DURATIONS,
    "domain": DOMAINS,
    "sub_category": SUB_CATEGORIES,
    "task_domain": TASK_DOMAINS,
    "task_type": TASK_TYPES,
    "audio_class": AUDIO_CLASSES,
}
"""Fields of the published rows and the values that the released table knows."""

Rating = dict[str, dict[str, Any]]

_PLAIN = ("duration", "domain", "sub_category", "task_domain", "task_type")
_PARTS = ("domain", "sub_category", "task_domain", "task_type", "audio_class")
_OPTIONS = 4
_WATCH = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, select the best option "
    "that accurately addresses the question.\nThese are the frames of a video. Audio transcripts of the video:\n"
    "This video does not have audio transcripts. Question: "
)


@dataclass(frozen=True)
class WorldSense(ChoiceBenchmark):
    """WorldSense.

    Attributes:
        root: folder of the published data.
        annotations: file below it.
        videos: folder of the videos below it.
        definition: `corrected` or `reference`.
        prompt: `own` or `reference`.
        think: whether the released text asks for think and answer blocks; `own` always does.
        seed: of baselines and bootstrap.
        resamples: bootstrap draws of an interval.

    Raises:
        ConfigError: a value that is not allowed.
    """

    root: str
    annotations: str
    videos: str
    definition: str
    prompt: str
    think: bool
    seed: int
    resamples: int

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def name(self) -> str:
        """`worldsense`."""
        return "worldsense"

    @property
    def parser(self) -> Parser:
        """WorldSense's."""
        return "worldsense"

    @property
    def allowed(self) -> str:
        """A to D."""
        return "ABCD"

    @property
    def shown(self) -> tuple[str, ...]:
        """Accuracy, also by task domain and sound, then what stands beside it; other fields are in report.json."""
        fields = ("task_domain", "audio_class")
        by_field = (f"acc@{field}={value}" for field in fields for value in KNOWN[field])
        return ("acc", *by_field, "chance", "parsed", "coverage")

    def read_rows(self) -> tuple[ChoiceRow, ...]:
        """The annotated questions. Raises ConfigError, DataError."""
        path = Path(self.root) / self.annotations
        return unique_rows([self._read(row, place) for row, place in _flat_rows(path)], path)

    def check(self) -> None:
        """Look that annotations and videos are there.

        Raises:
            ConfigError: the file or videos are missing.
            DataError: a row that cannot be used; in the reference definition also a category that its table lacks.
        """
        check_files((row.video for row in self.rows), "videos", self.name, "set benchmark.videos to their folder")
        if self._released:
            for row in self.rows:
                _check_known(row.fields, f"question {row.id}")

    def reference_text(self, row: ChoiceRow) -> str:
        """The released prompt."""
        return prompt_text(row.question, row.options, self.think)

    def _read(self, row: Mapping[str, Any], place: str) -> ChoiceRow:
        video = text_of(row, "video", place)
        options = options_of(row, "candidates", place)
        fields = {field: (text_of(row, field, place),) for field in _PLAIN}
        return ChoiceRow(
            id=text_of(row, "id", place),
            item=video,
            video=find_video([Path(self.root) / self.videos], video),
            question=text_of(row, "question", place),
            options=options,
            answer=letter_of(row, "answer", options, place),
            kind="choice",
            fields={**fields, "audio_class": audio_classes(row.get("audio_class"), place)},
        )


def audio_classes(value: object, place: str) -> tuple[str, ...]:
    """Kinds of sound of a row, given as a list or as its text; each once.

    Raises:
        DataError: neither; names the place.

    Example:
        >>> audio_classes("['Speech', 'Music']", ""), audio_classes(["Event", "Event"], "")
        (('Speech', 'Music'), ('Event',))
    """
    read = value
    if isinstance(value, str):
        try:
            read = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            read = None
    if not isinstance(read, list | tuple) or not all(isinstance(part, str) for part in read):
        raise DataError(f"{place}: audio_class={value!r}; a list of texts is needed")
    return tuple(dict.fromkeys(read))


def prompt_text(question: str, candidates: Sequence[str], think: bool) -> str:
    """The released prompt: options as published, a line each."""
    head = f"{_WATCH}{question}\n" + "".join(f"{option}\n" for option in candidates) + f"\n{SELECT} "
    return f"{head}{THINK}In the answer part, r{ONLY_LETTER} " if think else f"{head}R{ONLY_LETTER} "


def scores(docs: Sequence[Mapping[str, Any]]) -> list[int]:
    """1 for the right letter, 0 for any other answer, none included.

    >>> scores([{"prediction": "B. red", "answer": "B"}, {"prediction": None, "answer": "A"}])
    [1, 0]
    """
    letters = [read_letter(doc["prediction"] or "", _blank(), "worldsense") for doc in docs]
    return [int(letter == doc["answer"]) for letter, doc in zip(letters, docs, strict=True)]


def released_scores(docs: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """The released scores: unreadable and empty answers count as A (defect B3).

    Of rows with one `index` the first is scored, the others never are: None (defect B5).

    Raises:
        DataError: a value that the released table does not know (the released code raises KeyError).
    """
    _check_docs(docs)
    seen: set[Any] = set()
    found: list[int | None] = []
    for doc in docs:
        letter = released_letter(doc["prediction"] or "", _blank(), "worldsense")
        right = int((option_letters(1)[0] if letter == API_ERROR else letter) == doc["answer"])
        found.append(None if doc["index"] in seen else right)
        seen.add(doc["index"])
    return found


def rating(docs: Sequence[Mapping[str, Any]], given: Sequence[int | None]) -> Rating:
    """The released table: duration (and `overall`) -> `overall`, and a field's values -> accuracy with three decimals.

    Args:
        docs: rows with the published fields.
        given: a score each; None is left out.

    Returns:
        Texts; `overall` is "nan" without rows, values without rows are left out.

    Raises:
        DataError: audio classes that are no list.
    """
    kept = [(doc, score) for doc, score in zip(docs, given, strict=True) if score is not None]
    table = {duration: _part([(d, s) for d, s in kept if d["duration"] == duration]) for duration in DURATIONS}
    return {**table, "overall": _part(kept)}


def _part(kept: Sequence[tuple[Mapping[str, Any], int]]) -> dict[str, Any]:
    rights = [float(score) for _, score in kept]
    part: dict[str, Any] = {"overall": f"{sum(rights) / len(rights):.3f}" if rights else "nan"}
    for field in _PARTS:
        shares = accuracy_by(rights, [_values(doc, field) for doc, _ in kept])
        part[field] = {value: f"{share:.3f}" for value, share in shares.items()}
    return part


def _values(doc: Mapping[str, Any], field: str) -> tuple[str, ...]:
    return audio_classes(doc[field], "doc") if field == "audio_class" else (doc[field],)


def _check_docs(docs: Sequence[Mapping[str, Any]]) -> None:
    for index, doc in enumerate(docs):
        _check_known({field: _values(doc, field) for field in KNOWN}, f"doc {index}")


def _check_known(fields: Mapping[str, Sequence[str]], place: str) -> None:
    for field, values in fields.items():
        unknown = [value for value in values if value not in KNOWN[field]]
        if unknown:
            raise DataError(
                f"{place}: {field}={unknown[0]!r} is not in the released table, which knows {list(KNOWN[field])}"
            )


def _blank() -> list[str]:
    """Released result files carry no option texts; a text that occurs nowhere stands for each."""
    return ["\0"] * _OPTIONS


def _flat_rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """A row a question with its `id` and `video`, and its place in the file."""
    content = read_table(path) if path.suffix == ".parquet" else read_json(path)
    if isinstance(content, list):
        for index, row in enumerate(content):
            if not isinstance(row, dict):
                raise DataError(f"{path}: row {index} is no object")
            yield {**row, "id": f"{row.get('video')}/{row.get('index', index)}"}, f"{path}: row {index}"
        return
    if not isinstance(content, dict) or not all(isinstance(video, dict) for video in content.values()):
        raise DataError(f"{path}: neither an object of videos nor a list of questions")
    for name, video in content.items():
        shared = {key: value for key, value in video.items() if not key.startswith("task")}
        for key, task in video.items():
            if key.startswith("task") and isinstance(task, dict):
                yield {**shared, **task, "video": name, "id": f"{name}/{key}"}, f"{path}: {name}/{key}"
