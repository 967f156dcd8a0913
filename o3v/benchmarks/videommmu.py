"""VideoMMMU: three tracks of 300 questions on lectures - perception, comprehension, adaptation (arXiv:2501.13826).

Read as published: {perception,comprehension,adaptation}_video.json, each {Track: {number: {id, link_selected, question,
options, answer[, question_type]}}}; up to 14 options; 20 questions of adaptation are open. Videos as DOMAIN/ID.mp4
(Art, Business, Science, Medicine, Humanities, Engineering). Adaptation's questions refer to a picture, "<image 1>": a
file images/ID.png, or what the published videos end with (`pictures: last_frame`). Numbers by track, domain, subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from o3v.benchmarks.mcq.benchmark import ChoiceBenchmark, accuracy_by, check_settings
from o3v.benchmarks.mcq.letters import API_ERROR, Parser, read_letter, released_letter
from o3v.benchmarks.mcq.prompts import THINK, lettered, own_text
from o3v.benchmarks.mcq.rows import (
    ChoiceRow,
    Kind,
    check_choice,
    check_files,
    find_video,
    letter_of,
    options_of,
    read_json,
    text_of,
    unique_rows,
)
from o3v.benchmarks.open_answer import Part, is_right, read_parts, released_is_right
from o3v.benchmarks.question import Question
from o3v.errors import DataError
from o3v.types import BoxScale

TRACKS: Final = ("Perception", "Comprehension", "Adaptation")
SUBJECTS: Final = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""Domain -> its subjects, in the order of the released table."""

FOLDERS: Final = {
    "Art and Design": "Art",
    "Business": "Business",
    "Science": "Science",
    "Health and Medicine": "Medicine",
    "Humanities and Social Science": "Humanities",
    "Tech and Engineering": "Engineering",
}
"""Domain -> folder of its videos as published."""

OTHER: Final = "Other"
"""Domain and subject of what the table does not know."""

PICTURES: Final = ("files", "last_frame")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_ID = re.compile(r"([^_]*)_(.+?)_\d+\Z")
_IMAGE = re.compile(r"\\?<image (\d)\\?>")  # one question has its brackets escaped
_CHOICE = "multiple-choice"
_QUIZ = "Please ignore the Quiz question in last frame of the video."
_LEARN = (
    "You should watch and learn the video content. Then apply what you learned to the question. Some key information "
    "of the question is in the input image."
)


@dataclass(frozen=True)
class VideoMMMU(ChoiceBenchmark):
    """VideoMMMU.

    Attributes:
        root: folder of the published data.
        tracks: values of `TRACKS` to ask.
        pictures: `files` shows images/ID.png (.jpg) behind the frames; `last_frame` trusts the video to end with it.
        definition: `corrected` or `reference`.
        prompt: `own` or `reference`.
        think: whether the released text asks for think and answer blocks; `own` always does.
        seed: of baselines and bootstrap.
        resamples: bootstrap draws of an interval.

    Raises:
        ConfigError: a value that is not allowed.
    """

    root: str
    tracks: Sequence[str]
    pictures: str
    definition: str
    prompt: str
    think: bool
    seed: int
    resamples: int

    def __post_init__(self) -> None:
        check_settings(self)
        check_choice("pictures", self.pictures, PICTURES)
        for track in self.tracks or [""]:
            check_choice("tracks", track, TRACKS)

    @property
    def name(self) -> str:
        """`videommmu`."""
        return "videommmu"

    @property
    def parser(self) -> Parser:
        """VideoMMMU's."""
        return "videommmu"

    @property
    def allowed(self) -> str:
        """A to J, although some questions have more options."""
        return "ABCDEFGHIJ"

    @property
    def shown(self) -> tuple[str, ...]:
        """Accuracy, also by track, then what stands beside it; domains and subjects are in report.json."""
        return ("acc", *(f"acc@track={track}" for track in TRACKS), "chance", "parsed", "coverage")

    def read_rows(self) -> tuple[ChoiceRow, ...]:
        """The annotated questions of the tracks. Raises ConfigError, DataError."""
        rows = [row for track in dict.fromkeys(self.tracks) for row in self._read_track(track)]
        return unique_rows(rows, Path(self.root))

    def check(self) -> None:
        """Look that annotations, videos and pictures are there.

        Raises:
            ConfigError: a file, videos or pictures are missing.
            DataError: a row that cannot be used; in the reference definition also an id without a subject.
        """
        hint = f"expected in {sorted(FOLDERS.values())} below benchmark.root"
        check_files((row.video for row in self.rows), "videos", self.name, hint)
        pictures = (path for row in self.rows for path in row.pictures)
        hint = "put them there, or set benchmark.pictures=last_frame for videos that end with them"
        check_files(pictures, "pictures", self.name, hint)
        if self._released:
            for row in self.rows:
                released_subject(row.item)

    def own_text(self, row: ChoiceRow) -> str:
        """The question in the project's form; it names pictures as they stand in the prompt."""
        where = r"Picture \1" if row.pictures else "the picture at the end of the video"
        return own_text(replace(row, question=_IMAGE.sub(where, row.question)), "")

    def reference_text(self, row: ChoiceRow) -> str:
        """The released prompt."""
        return prompt_text(row.question, row.options, row.fields["track"][0], self.think)

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """As everywhere; in the reference definition an empty open answer leaves the denominator (defect B4)."""
        found = super().score(question, text, scale)
        if self._released and question.task == "open" and text in ("", API_ERROR):
            return {name: value for name, value in found.items() if name != "acc"}
        return found

    def _read_track(self, track: str) -> Iterator[ChoiceRow]:
        path = Path(self.root) / f"{track.lower()}_video.json"
        content = read_json(path)
        rows = content.get(track) if isinstance(content, dict) else None
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise DataError(f"{path}: not an object {{{track!r}: {{number: question}}}}")
        for number, row in rows.items():
            yield self._read(row, track, f"{path}: {number}")

    def _read(self, row: Mapping[str, Any], track: str, place: str) -> ChoiceRow:
        item = text_of(row, "id", place)
        domain, subject = domain_of(item)
        options = options_of(row, "options", place)
        kind: Kind = "choice" if options else "open"
        question = text_of(row, "question", place)
        return ChoiceRow(
            id=f"{item}/{track.lower()}",
            item=item,
            video=self._video(item, domain),
            question=question,
            options=options,
            answer=letter_of(row, "answer", options, place) if options else text_of(row, "answer", place),
            kind=kind,
            fields={"track": (track,), "domain": (domain,), "subject": (subject,), "kind": (kind,)},
            pictures=self._pictures(item, question) if self.pictures == "files" else (),
        )

    def _video(self, item: str, domain: str) -> Path:
        root = Path(self.root)
        return find_video([root / FOLDERS.get(domain, OTHER), root / "videos", root], item)

    def _pictures(self, item: str, question: str) -> tuple[Path, ...]:
        """images/ID_2.png for <image 2>; images/ID.png or ID_1.png for <image 1>."""
        folder = Path(self.root) / "images"
        numbers = sorted({int(number) for number in _IMAGE.findall(question)})
        return tuple(_picture(folder, [item, f"{item}_1"] if n == 1 else [f"{item}_{n}"]) for n in numbers)


@dataclass(frozen=True)
class ReleasedTable:
    """The released report of a result file.

    Attributes:
        parsed: what each answer was read as: a letter, the parts of an open answer, or a failure text.
        overall: accuracy over the answers that are not empty, five decimals; 0 without any.
        table: domain ("Overall-..."), subject, "Overall" -> {num, acc}.
        tracks: track -> accuracy, five decimals; 0 without any.
    """

    parsed: tuple[str | tuple[Part, ...], ...]
    overall: float
    table: Mapping[str, Mapping[str, float]]
    tracks: Mapping[str, float]


def released_subject(item: str) -> str:
    """The subject between the first underscore and the number of an id.

    Raises:
        DataError: the id has another form (the released code raises ValueError).

    Example:
        >>> released_subject("validation_Art_Theory_3")
        'Art_Theory'
    """
    match = _ID.match(item)
    if match is None:
        raise DataError(f"question id {item!r} is not SPLIT_SUBJECT_NUMBER")
    return match[2]


def domain_of(item: str) -> tuple[str, str]:
    """Domain and subject of an id; `Other` for what is unknown.

    >>> domain_of("dev_Biology_3"), domain_of("test_Alchemy_3"), domain_of("x")
    (('Science', 'Biology'), ('Other', 'Alchemy'), ('Other', 'Other'))
    """
    match = _ID.match(item)
    subject = match[2] if match else OTHER
    return next((domain for domain, subjects in SUBJECTS.items() if subject in subjects), OTHER), subject


def prompt_text(question: str, options: Sequence[str], track: str, think: bool) -> str:
    """The released prompt."""
    lines = [question, "\n".join(lettered(options)), f"Question Category:{track}"]
    lines.append(_LEARN if track == "Adaptation" else _QUIZ)
    if think:
        lines.append(f"{THINK} In the answer part, respond with only the letter of the correct option.")
    return "\n".join(lines)


def corrected_table(docs: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> dict[str, float]:
    """`overall` accuracy with every question in the denominator, five decimals as released, and their `num`ber.

    >>> doc = {"id": "x", "options": ["1", "2"], "answer": "B", "question_type": "perception"}
    >>> corrected_table([doc, doc], ["(B)", ""])
    {'overall': 0.5, 'num': 2}
    """
    rights = right_answers(docs, predictions)
    return {"overall": _mean(rights), "num": len(rights)}


def right_answers(docs: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> list[int]:
    """1 for a right answer, 0 for any other one, empty ones included.

    Open questions are those of type `open`; every other one is a choice, the type `perception` too.

    Args:
        docs: rows with id, options, answer, question_type.
        predictions: texts.
    """
    return [int(_is_right(doc, text)) for doc, text in zip(docs, predictions, strict=True)]


def released_table(docs: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> ReleasedTable:
    """The released report: empty answers leave the denominator, the type `perception` is never right (defect B4).

    Args:
        docs: rows with id, category (the track), options, answer, question_type.
        predictions: texts.

    Raises:
        DataError: an id without a subject.
    """
    subjects = [released_subject(doc["id"]) for doc in docs]
    parsed = [_released_parse(doc, text) for doc, text in zip(docs, predictions, strict=True)]
    kept = [index for index, value in enumerate(parsed) if value != API_ERROR]
    rights = [_released_right(docs[index], predictions[index], parsed[index]) for index in kept]
    by_track = accuracy_by(rights, [[docs[index]["category"]] for index in kept])
    return ReleasedTable(
        parsed=tuple(parsed),
        overall=_mean(rights),
        table=_table([subjects[index] for index in kept], rights),
        tracks={track: round(by_track.get(track, 0), 5) for track in TRACKS},
    )


def _is_right(doc: Mapping[str, Any], text: str) -> bool:
    if doc["question_type"] == "open":
        return is_right(text, doc["answer"])
    return read_letter(text, doc["options"], "videommmu") == doc["answer"]


def _released_parse(doc: Mapping[str, Any], text: str) -> str | tuple[Part, ...]:
    if doc["question_type"] == _CHOICE:
        return released_letter(text, doc["options"], "videommmu")
    return API_ERROR if text in ("", API_ERROR) else read_parts(text)


def _released_right(doc: Mapping[str, Any], text: str, parsed: str | tuple[Part, ...]) -> float:
    if doc["question_type"] in (_CHOICE, "perception"):
        return float(parsed == doc["answer"])
    return float(released_is_right(text, doc["answer"]))


def _table(subjects: Sequence[str], rights: Sequence[float]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for domain, members in SUBJECTS.items():
        of_domain = [right for subject, right in zip(subjects, rights, strict=True) if subject in members]
        table[f"Overall-{domain}"] = _cell(of_domain)
        for member in members:
            of_member = [right for subject, right in zip(subjects, rights, strict=True) if subject == member]
            if of_member:
                table[member] = _cell(of_member)
    return {**table, "Overall": _cell(rights)}


def _cell(rights: Sequence[float]) -> dict[str, float]:
    return {"num": len(rights), "acc": _mean(rights)}


def _mean(rights: Sequence[float]) -> float:
    return round(sum(rights) / len(rights), 5) if rights else 0


def _picture(folder: Path, names: Sequence[str]) -> Path:
    found = (folder / f"{name}{suffix}" for name in names for suffix in _PICTURE_SUFFIXES)
    return next((path for path in found if path.is_file()), folder / f"{names[0]}{_PICTURE_SUFFIXES[0]}")
