"""One scored answer, and the file of them: JSON lines, appended one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from o3v.errors import DataError, StorageError
from o3v.types import Completion, Prompt, RewardTable, Sample

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
class Record:
    """One answer of a benchmark.

    Attributes:
        sample_id, source, task: of the sample.
        video: its media file as text: the unit of clustered statistics.
        model, run, seed: who answered, see `Identity`.
        prompt_hash: of the prompt's text, 12 hex characters; "" where there was none.
        frames: how many the model saw.
        pixels: width times height of one of them.
        text: what was answered; "" where the media could not be read.
        scores: name -> value.
        error: why there was nothing to answer, else None.
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

    @property
    def identity(self) -> Identity:
        """Who answered."""
        return Identity(self.model, self.run, self.seed)


def video_of(sample: Sample) -> str:
    """The media file of a sample as text; its id where it has none."""
    path = sample.video_path or sample.image_path
    return str(path) if path is not None else sample.id


def prompt_hash(prompt: Prompt) -> str:
    """sha1 over system text and the user's turn, frames by number; 12 hex characters."""
    text = json.dumps([prompt.system, *prompt.parts], ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def make_record(
    sample: Sample, identity: Identity, prompt: Prompt | None, text: str, scores: Mapping[str, float], error: str | None
) -> Record:
    """Record of one answer; `prompt` is None where the media could not be read or none was needed."""
    width, height = prompt.clip.size_px if prompt else (0, 0)
    return Record(
        sample_id=sample.id,
        source=sample.source,
        task=str(sample.task),
        video=video_of(sample),
        model=identity.model,
        run=identity.run,
        seed=identity.seed,
        prompt_hash=prompt_hash(prompt) if prompt else "",
        frames=len(prompt.clip.frames) if prompt else 0,
        pixels=width * height,
        text=text,
        scores=dict(scores),
        error=error,
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


def from_fields(fields: Mapping[str, Any], place: str) -> Record:
    """A record from its JSON object.

    Raises:
        DataError: missing or unknown fields; names them and the place.
    """
    names = set(Record.__dataclass_fields__)
    if fields.keys() != names:
        raise DataError(
            f"{place}: not a record of this version; missing {sorted(names - fields.keys())}, "
            f"unknown {sorted(fields.keys() - names)}"
        )
    return Record(**fields)


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
            fields = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise DataError(f"{path}:{number}: not a record")
        records.append(from_fields(fields, f"{path}:{number}"))
    return records


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
