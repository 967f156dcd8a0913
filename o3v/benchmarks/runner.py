"""Answers a benchmark, sample by sample, so that it can be interrupted and started again at any point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as ProgressTask
from rich.text import Text

from o3v.benchmarks.records import Identity, Record, Scorer, cut_partial_line, make_record, read_records, to_line
from o3v.errors import ConfigError, DataError, MediaError
from o3v.grounding.parse import parse_completion
from o3v.types import BoxScale, Prompt, Sample

log = logging.getLogger(__name__)

Prepared = tuple[Sample, Prompt | MediaError]


@dataclass(frozen=True)
class Respondent:
    """Who answers.

    Attributes:
        prepare: sample -> prompt, the same as in training; raises MediaError for media that cannot be read. It runs
            in one thread of its own, a batch ahead of `respond`.
        respond: prompts -> one text each.
        identity: written into every record.
    """

    prepare: Callable[[Sample], Prompt]
    respond: Callable[[Sequence[Prompt]], list[str]]
    identity: Identity


def run_benchmark(
    samples: Sequence[Sample],
    respondent: Respondent,
    score: Scorer,
    records_path: Path,
    batch_size: int,
    console: Console | None,
) -> list[Record]:
    """Answers and scores every sample that the file does not hold yet.

    Records are appended in the order of sample ids and flushed one by one. Media that cannot be read give a record
    with an empty text, scored like any wrong answer, and the cause in `error`; delete its line to try again.

    Args:
        samples: with unique ids.
        respondent: who answers.
        score: scores of an answer; see `records.with_rewards`.
        records_path: JSON lines; continued where it exists.
        batch_size: prompts answered together.
        console: shows progress, rate and time left; None shows nothing.

    Returns:
        One record a sample, by sample id.

    Raises:
        ConfigError: batch size below 1; the file holds records of another model, run or seed.
        DataError: two samples with one id; a broken line in the file.
        StorageError: the file cannot be written.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    by_id = _unique(samples)
    cut_partial_line(records_path)
    done = {record.sample_id: record for record in read_records(records_path)}
    _check_identity(done.values(), respondent.identity, records_path)
    left = [by_id[key] for key in sorted(by_id) if key not in done]
    if len(left) < len(by_id):
        log.info("%s: %d of %d answers are there already", records_path, len(by_id) - len(left), len(by_id))
    with records_path.open("a", encoding="utf-8") as handle, _progress(console) as progress:
        bar = progress.add_task(records_path.parent.name, total=len(by_id), completed=len(by_id) - len(left))
        for batch in _prepared(left, respondent.prepare, batch_size):
            for record in _answer(batch, respondent, score):
                done[record.sample_id] = record
                _append(handle, record)
            progress.advance(bar, len(batch))
    return [done[key] for key in sorted(by_id)]


def _unique(samples: Sequence[Sample]) -> dict[str, Sample]:
    by_id: dict[str, Sample] = {}
    for sample in samples:
        if sample.id in by_id:
            raise DataError(f"sample id {sample.id!r} occurs twice (source {sample.source!r}); ids must be unique")
        by_id[sample.id] = sample
    return by_id


def _check_identity(records: Iterable[Record], identity: Identity, path: Path) -> None:
    others = {record.identity for record in records} - {identity}
    if others:
        raise ConfigError(
            f"{path} holds answers of {others.pop()}, not of {identity}; choose another folder or delete it"
        )


def _prepared(
    samples: Sequence[Sample], prepare: Callable[[Sample], Prompt], batch_size: int
) -> Iterator[list[Prepared]]:
    """Batches of prompts; the next batch is decoded while the current one is answered."""
    batches = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare") as pool:
        ahead = None
        for batch in [*batches, None]:
            current, ahead = ahead, pool.submit(_prepare_batch, batch, prepare) if batch is not None else None
            if current is not None:
                yield current.result()


def _prepare_batch(batch: Sequence[Sample], prepare: Callable[[Sample], Prompt]) -> list[Prepared]:
    return [(sample, _prepare_one(sample, prepare)) for sample in batch]


def _prepare_one(sample: Sample, prepare: Callable[[Sample], Prompt]) -> Prompt | MediaError:
    try:
        return prepare(sample)
    except MediaError as error:
        return error


def _answer(batch: Sequence[Prepared], respondent: Respondent, score: Scorer) -> Iterator[Record]:
    """Records of a batch in its order."""
    readable = [(sample.id, prompt) for sample, prompt in batch if isinstance(prompt, Prompt)]
    texts = respondent.respond([prompt for _, prompt in readable]) if readable else []
    text_of = dict(zip([key for key, _ in readable], texts, strict=True))
    for sample, prompt in batch:
        if isinstance(prompt, MediaError):
            log.warning("sample %s counts as wrong: %s", sample.id, prompt)
            nothing = parse_completion("", BoxScale(1, 1))
            yield make_record(sample, respondent.identity, None, "", score(sample, nothing), prompt.reason)
        else:
            text = text_of[sample.id]
            scores = score(sample, parse_completion(text, prompt.box_scale))
            yield make_record(sample, respondent.identity, prompt, text, scores, None)


def _append(handle: TextIO, record: Record) -> None:
    handle.write(to_line(record))
    handle.flush()


class _Rate(ProgressColumn):
    """Answers a second."""

    def render(self, task: ProgressTask) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "-/s")


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    )
