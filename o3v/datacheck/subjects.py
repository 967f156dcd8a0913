"""What can be checked: the rows of a data set's file, or the questions of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from o3v.data.shapes_files import ShapesDataset
from o3v.data.stgr import StgrDataset
from o3v.data.timerft import TimeRftDataset
from o3v.datacheck.facts import RowFacts
from o3v.datacheck.memory import digest
from o3v.datacheck.row_reading import Limits, RowSettings
from o3v.datacheck.row_text import RowText, read_row_texts
from o3v.errors import ConfigError, DataError

if TYPE_CHECKING:
    from o3v.benchmarks.question import Question


class AsksQuestions(Protocol):
    """The part of `o3v.benchmarks.question.Benchmark` that is looked at."""

    @property
    def name(self) -> str:
        """Of the benchmark."""

    def questions(self) -> list[Question]:
        """All of them."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        name: names the folder of the report.
        file: the annotation file; None for a benchmark.
        root: where its media may lie.
        settings: how rows are read; None for a benchmark.
        texts: the rows as in the file; empty for a benchmark.
        questions: the rows of a benchmark, read already.
    """

    name: str
    file: Path | None
    root: Path
    settings: RowSettings | None
    texts: Sequence[RowText]
    questions: Sequence[RowFacts]


def dataset_subject(dataset: Any, limits: Limits, tokenizer: str | None) -> Subject:
    """A data set as it is configured in conf/data; the generated world is written if it is not there yet.

    Raises:
        ConfigError: a class of data set that the check does not know.
        DataError: the file is missing, or is no list of rows.
    """
    if isinstance(dataset, ShapesDataset):
        dataset.write()
        file = dataset.folder / "json_data" / f"STGR-{dataset.file.upper()}.json"
        return _of_file("shapes", file, RowSettings("stgr", str(dataset.folder), "", limits, tokenizer))
    if isinstance(dataset, StgrDataset):
        root, file = Path(dataset.root), Path(dataset.root) / dataset.annotation_file
        _check_folder(root)
        return _of_file(file.stem, file, RowSettings("stgr", str(root), "", limits, tokenizer))
    if isinstance(dataset, TimeRftDataset):
        settings = RowSettings("timerft", str(dataset.root), dataset.video_folder, limits, tokenizer)
        _check_folder(Path(dataset.root))
        return _of_file(dataset.path.stem, dataset.path, settings)
    allowed = ", ".join(cls.__name__ for cls in (StgrDataset, ShapesDataset, TimeRftDataset))
    raise ConfigError(f"data.dataset: {type(dataset).__name__} cannot be checked; allowed are {allowed}")


def benchmark_subject(benchmark: AsksQuestions) -> Subject:
    """The questions of a benchmark; its file must be readable as a whole.

    Raises:
        ConfigError: the annotation file is missing.
        DataError: a row of it cannot be read.
    """
    questions = benchmark.questions()
    root = Path(getattr(benchmark, "root", "."))
    return Subject(benchmark.name, None, root, None, (), [_question_facts(question) for question in questions])


def asked_paths(benchmark: AsksQuestions) -> list[Path]:
    """The media that a benchmark asks about; raises as `benchmark_subject`."""
    paths = (question.video_path or question.image_path for question in benchmark.questions())
    return [path for path in paths if path is not None]


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"no folder {root}; set paths.data_root (or O3V_DATA) to the folder of the data set")


def _of_file(name: str, file: Path, settings: RowSettings) -> Subject:
    return Subject(name, file, Path(settings.root), settings, read_row_texts(file), ())


def _question_facts(question: Question) -> RowFacts:
    path = question.video_path or question.image_path
    span, duration = question.truth.get("span_s"), question.truth.get("duration_s")
    return RowFacts(
        id=question.id,
        source=question.source,
        task=question.task,
        media=None if path is None else str(path),
        folder=None if path is None else str(path.parent),
        is_image=question.video_path is None,
        pictures=tuple(str(picture) for picture in question.image_paths),
        key_times_s=(),
        span_s=(float(span[0]), float(span[1])) if span is not None else None,
        part_s=question.span_s,
        duration_s=None if duration is None else float(duration),
        image_size_px=None,
        content="",
        question=digest(question.text, question.task, path, question.span_s),
        prompt_tokens=0,
        answer_tokens=0,
        facts=(),
    )
