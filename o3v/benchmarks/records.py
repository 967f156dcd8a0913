"""One scored answer, and the file of them: JSON lines, appended one by one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from o3v.benchmarks.question import Question
from o3v.errors import DataError, StorageError
from o3v.types import BoxScale, Completion, Prompt, RewardTable, Sample

TextScorer = Callable[[Question, str, BoxScale], dict[str, float]]
"""Named scores of an answer's text, whose boxes are in the given units; what `Benchmark.score` is."""

Scorer = Callable[[Sample, Completion], dict[str, float]]
"""Named scores of an answer; a name is absent where it does not apply to the sample's task."""

Reward = Callable[[Sequence[Completion], Sample, float], RewardTable]
"""Completions of a sample and the progress of training (1: its end) -> rewards."""


@dataclass(frozen=True)
class Identity:
    """Who answered.

    Attributes:
        model: name or path of the model.
        run: signature of the run that trained it and of the evaluation; any text that changes when they change.
        seed: of sampling.
    """

    model: str
    run: str
    seed: int


@dataclass(frozen=True)
class Versions:
    """How a question was asked and its answer read; `o3v.benchmarks.versions.versions_of` makes them.

    Attributes:
        prompt: version of the code that makes prompts.
        parser: version of the code that reads answers.
        definition: `corrected` or `reference`.
    """

    prompt: str
    parser: str
    definition: str


UNVERSIONED = Versions("", "", "corrected")


@dataclass(frozen=True)
class Record:
    """One answer of a benchmark.

    Attributes:
        sample_id, source, task: of the question; `sample_id` is its id.
        video: its media file as text: the unit of clustered statistics.
        model, run, seed: who answered, see `Identity`.
        prompt_hash: of the prompt's text, 12 hex characters; "" where there was none.
        frames: how many the model saw.
        pixels: width times height of one of them.
        text: what was answered; "" where the media could not be read.
        scores: name -> value.
        error: why there was nothing to answer, else None.
        item: id of the annotated item that the question belongs to.
        definition, prompt_version, parser_version: see `Versions`.
        box_scale: units of the boxes in `text`, (width, height) of the frame in them; with it a saved answer can be
            scored again.
    """

    sample_id: str
    source: str
    task: str
    video: str
    model: str
    run: str
    seed: int
    prompt_hash: str
    frames: int
    pixels: int
    text: str
    scores: Mapping[str, float]
    error: str | None
    item: str = ""
    definition: str = UNVERSIONED.definition
    prompt_version: str = UNVERSIONED.prompt
    parser_version: str = UNVERSIONED.parser
    box_scale: tuple[float, float] = (1.0, 1.0)

    @property
    def identity(self) -> Identity:
        """Who answered."""
        return Identity(self.model, self.run, self.seed)


def video_of(question: Question | Sample) -> str:
    """The media file of a question as text; its id where it has none."""
    path = question.video_path or question.image_path
    return str(path) if path is not None else question.id


def prompt_hash(prompt: Prompt) -> str:
    """sha1 over system text and the user's turn, frames by number; 12 hex characters."""
    text = json.dumps([prompt.system, *prompt.parts], ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def make_record(
    question: Question | Sample,
    identity: Identity,
    prompt: Prompt | None,
    text: str,
    scores: Mapping[str, float],
    error: str | None,
    versions: Versions = UNVERSIONED,
    scale: BoxScale | None = None,
) -> Record:
    """Record of one answer.

    Args:
        question: what was asked.
        identity: who answered.
        prompt: None where the media could not be read or none was needed.
        text: the answer.
        scores: of the answer.
        error: why there is no answer.
        versions: of prompt, parser and definition.
        scale: units of boxes in the text; None takes the prompt's.
    """
    width, height = prompt.clip.size_px if prompt else (0, 0)
    units = scale or (prompt.box_scale if prompt else BoxScale(1.0, 1.0))
    return Record(
        sample_id=question.id,
        source=question.source,
        task=str(question.task),
        video=video_of(question),
        model=identity.model,
        run=identity.run,
        seed=identity.seed,
        prompt_hash=prompt_hash(prompt) if prompt else "",
        frames=len(prompt.clip.frames) if prompt else 0,
        pixels=width * height,
        text=text,
        scores=dict(scores),
        error=error,
        item=question.item if isinstance(question, Question) else question.id,
        definition=versions.definition,
        prompt_version=versions.prompt,
        parser_version=versions.parser,
        box_scale=(float(units.width), float(units.height)),
    )


def with_rewards(score: Scorer, reward: Reward, progress: float) -> Scorer:
    """Adds `reward/total`, and `reward/<term>` for the terms that apply to the sample's task.

    Args:
        score: the benchmark's own scores.
        reward: the reward mix under which the answers are compared.
        progress: of training, 0 to 1; annealed terms are scored as they are there.
    """

    def scored(sample: Sample, completion: Completion) -> dict[str, float]:
        table = reward([completion], sample, progress)
        columns = zip(table.terms, table.values[0], table.applies, strict=True)
        terms = {f"reward/{term}": value for term, value, applies in columns if applies}
        return {**score(sample, completion), "reward/total": table.totals[0], **terms}

    return scored


def to_line(record: Record) -> str:
    """A record as one line of JSON with its newline."""
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def from_fields(found: Mapping[str, Any], place: str) -> Record:
    """A record from its JSON object; what later versions added may be absent.

    Raises:
        DataError: missing or unknown fields; names them and the place.
    """
    names = {item.name for item in fields(Record)}
    needed = {item.name for item in fields(Record) if item.default is MISSING}
    if needed - found.keys() or found.keys() - names:
        raise DataError(
            f"{place}: not a record of this version; missing {sorted(needed - found.keys())}, "
            f"unknown {sorted(found.keys() - names)}"
        )
    width, height = found.get("box_scale", (1.0, 1.0))
    return Record(**{**found, "box_scale": (width, height)})


def read_records(path: Path) -> list[Record]:
    """Records of a file in its order; a last line without newline (the writer was killed) is left out.

    Raises:
        DataError: a complete line that is no record; names file and line.
    """
    if not path.is_file():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(found, dict):
            raise DataError(f"{path}:{number}: not a record")
        records.append(from_fields(found, f"{path}:{number}"))
    return records


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Writes a file of records by id, in one atomic step. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.tmp")
    lines = "".join(to_line(record) for record in sorted(records, key=lambda record: record.sample_id))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(lines)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error


def cut_partial_line(path: Path) -> None:
    """Cuts what follows the last newline, so that appending starts on a line of its own.

    Raises:
        StorageError: the file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as handle:
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error
