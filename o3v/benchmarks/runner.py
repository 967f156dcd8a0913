"""Answers a benchmark, question by question, so that it can be stopped and started again at any point."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as ProgressTask
from rich.text import Text

from o3v.benchmarks.exam import Exam
from o3v.benchmarks.question import Question
from o3v.benchmarks.records import Identity, Record, cut_partial_line, make_record, to_line
from o3v.benchmarks.shards import ALONE, Shard, read_folder, record_files
from o3v.errors import ConfigError, MediaError, StorageError
from o3v.stop import Interrupted, current_stop
from o3v.tracking.progress import ProgressFile
from o3v.types import BoxScale, Prompt

log = logging.getLogger(__name__)

Prepared = tuple[Question, Prompt | MediaError]

NOTHING = BoxScale(1, 1)
"""Units of the boxes in an empty text."""

LOCK_WAIT_S = 15.0
"""How long a worker waits for an earlier one of the same shard to end."""


@dataclass(frozen=True)
class Respondent:
    """Who answers.

    Attributes:
        prepare: question -> prompt; raises MediaError for media that cannot be read. It runs in one thread of its own,
            a batch ahead of `respond`, and meets the questions of one video one after the other.
        respond: questions with their prompts -> one text each, in order. Prompts of one video stand side by side and
            share their `clip`.
        identity: written into every record.
    """

    prepare: Callable[[Question], Prompt]
    respond: Callable[[Sequence[tuple[Question, Prompt]]], list[str]]
    identity: Identity


def run_benchmark(
    exam: Exam,
    respondent: Respondent,
    folder: Path,
    batch_size: int,
    console: Console | None,
    shard: Shard = ALONE,
) -> list[Record]:
    """Answers and scores those of a worker's questions that no file of the folder holds yet.

    Records are appended to the worker's file and flushed one by one: a kill loses at most what is being answered, one
    batch. Media that cannot be read give a record with an empty text, scored like any wrong answer, and the cause in
    `error`; delete its line to try again.

    Args:
        exam: questions and scores.
        respondent: who answers.
        folder: of the files; see `shards`.
        batch_size: prompts answered together.
        console: shows progress, rate and time left; None shows nothing.
        shard: which worker this is.

    Returns:
        The records that the folder now holds, by id; all of them where every worker is done.

    Raises:
        ConfigError: batch size below 1; the folder holds records of another model, run or seed.
        DataError: a broken line in a file.
        StorageError: the file cannot be written, or another process is writing it.
        Interrupted: a signal asked to stop, see `o3v.stop`; looked at after each batch.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    path = folder / shard.file_name
    with _held(path) as handle:
        done = read_folder(folder)
        _check_identity(done.values(), respondent.identity, folder)
        mine = shard.pick(exam.questions)
        left = [question for question in mine if question.id not in done]
        if len(left) < len(mine):
            log.info("%s: %d of %d answers are there already", path, len(mine) - len(left), len(mine))
        told = ProgressFile(folder, len(exam.questions), "questions")
        with progress_bar(console) as progress:
            bar = progress.add_task(folder.name, total=len(mine), completed=len(mine) - len(left))
            for batch in _prepared(left, respondent.prepare, batch_size):
                for record in _answer(batch, respondent, exam):
                    done[record.sample_id] = record
                    _append(handle, record)
                    progress.advance(bar)
                os.fsync(handle.fileno())
                told.tell(lambda: _answered(folder, len(exam.questions)))
                _stop_if_asked(folder, sum(question.id in done for question in mine), len(mine))
        told.tell(lambda: _answered(folder, len(exam.questions)), force=True)
    ids = exam.by_id
    return [done[key] for key in sorted(done) if key in ids]


def count_lines(folder: Path) -> int:
    """Complete lines in the folder's files of records."""
    return sum(path.read_bytes().count(b"\n") for path in record_files(folder))


def _answered(folder: Path, total: int) -> int:
    """Answers of all workers; the merged file and theirs are both there for a moment."""
    return min(count_lines(folder), total)


def _stop_if_asked(folder: Path, done: int, total: int) -> None:
    if current_stop().requested and done < total:
        raise Interrupted(f"{folder}: {done} of {total} questions are answered")


def progress_bar(console: Console | None) -> Progress:
    """Answers, rate and time left; shows nothing without a console."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    )


@contextmanager
def _held(path: Path) -> Iterator[TextIO]:
    """A shard's file to append to, while no other process does; what a killed writer left half-written is cut."""
    with _opened(path) as handle:
        until = time.monotonic() + LOCK_WAIT_S
        while not _locked(handle):
            if time.monotonic() > until:
                raise StorageError(f"{path}: another process is writing it; wait or stop it")
            time.sleep(0.1)
        cut_partial_line(path)
        yield handle  # closing the file unlocks it


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error


def _locked(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_identity(records: Iterable[Record], identity: Identity, folder: Path) -> None:
    others = {record.identity for record in records} - {identity}
    if others:
        raise ConfigError(
            f"{folder} holds answers of {others.pop()}, not of {identity}; choose another folder or delete it"
        )


def _prepared(
    questions: Sequence[Question], prepare: Callable[[Question], Prompt], batch_size: int
) -> Iterator[list[Prepared]]:
    """Batches of prompts; the next batch is decoded while the current one is answered."""
    batches = [questions[start : start + batch_size] for start in range(0, len(questions), batch_size)]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare") as pool:
        ahead = None
        for batch in [*batches, None]:
            current, ahead = ahead, pool.submit(_prepare_batch, batch, prepare) if batch is not None else None
            if current is not None:
                yield current.result()


def _prepare_batch(batch: Sequence[Question], prepare: Callable[[Question], Prompt]) -> list[Prepared]:
    return [(question, _prepare_one(question, prepare)) for question in batch]


def _prepare_one(question: Question, prepare: Callable[[Question], Prompt]) -> Prompt | MediaError:
    try:
        return prepare(question)
    except MediaError as error:
        return error


def _answer(batch: Sequence[Prepared], respondent: Respondent, exam: Exam) -> Iterator[Record]:
    """Records of a batch in its order."""
    readable = [(question, prompt) for question, prompt in batch if isinstance(prompt, Prompt)]
    texts = respondent.respond(readable) if readable else []
    text_of = dict(zip([question.id for question, _ in readable], texts, strict=True))
    for question, prompt in batch:
        if isinstance(prompt, MediaError):
            log.warning("question %s counts as wrong: %s", question.id, prompt)
            scores = exam.score(question, "", NOTHING)
            yield make_record(question, respondent.identity, None, "", scores, prompt.reason, exam.versions)
        else:
            text = text_of[question.id]
            scores = exam.score(question, text, prompt.box_scale)
            yield make_record(question, respondent.identity, prompt, text, scores, None, exam.versions)


def _append(handle: TextIO, record: Record) -> None:
    handle.write(to_line(record))
    handle.flush()


class _Rate(ProgressColumn):
    """Answers a second."""

    def render(self, task: ProgressTask) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "-/s")
