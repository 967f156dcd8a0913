"""Saved answers, scored without a model: what `o3v.evaluate predictions=FILE` does. Imports no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from o3v.benchmarks.exam import Exam
    from o3v.benchmarks.records import Record

log = logging.getLogger(__name__)


def score_saved(cfg: DictConfig) -> dict[str, Any]:
    """Read, judge what has no judge's score, write the table; returns the means.

    Raises:
        ConfigError: no such file, or a format that the benchmark does not know.
        DataError: a broken line, or answers to other questions.
    """
    from o3v.benchmarks.shards import merge
    from o3v.config import build
    from o3v.evaluate import judge_answers, write_table

    benchmark = build(cfg, "benchmark")
    path, exam = _existing(cfg.predictions, "predictions"), _exam(benchmark)
    records = _without_judge(_read(cfg, benchmark, exam, path), benchmark, cfg.again)
    questions = exam.questions if exam is not None else _questions_of(benchmark, path)
    known = {question.id for question in questions}
    told: dict[str, Any] = {}
    if known.issuperset(record.sample_id for record in records):
        records, told = judge_answers(cfg, benchmark, questions, records)
    folder = _folder(cfg, path)
    merge(folder, records)
    _, result = write_table(cfg, benchmark, exam, records, folder, told.get("judge"))
    return result | told


def _existing(name: str, key: str) -> Path:
    from o3v.errors import ConfigError

    path = Path(name)
    if not path.exists():
        raise ConfigError(f"{key}={name}: no such file")
    return path


def _exam(benchmark: Any) -> Exam | None:
    """The exam, for trivial answers; None where the annotations are not here and the file brings its own."""
    from o3v.benchmarks.exam import exam_of
    from o3v.errors import ConfigError

    try:
        return exam_of(benchmark)
    except ConfigError as error:
        if not hasattr(benchmark, "records_of"):
            raise
        log.warning("without annotations, so without trivial baselines: %s", error)
        return None


def _read(cfg: DictConfig, benchmark: Any, exam: Exam | None, path: Path) -> list[Record]:
    from o3v.benchmarks.exam import score_again
    from o3v.benchmarks.records import read_records
    from o3v.benchmarks.shards import read_folder
    from o3v.errors import ConfigError

    judge_scores = None if cfg.judge_scores is None else _existing(cfg.judge_scores, "judge_scores")
    if path.is_dir() or _is_ours(path):
        if exam is None:
            raise ConfigError(f"{path}: to score records again, the annotations of {benchmark.name} must be there")
        found = list(read_folder(path).values()) if path.is_dir() else read_records(path)
        records = score_again(exam, found)
        return records if judge_scores is None else _with_scores(records, benchmark, judge_scores)
    if not hasattr(benchmark, "records_of"):
        raise ConfigError(f"predictions={path}: benchmark={benchmark.name} reads the records.jsonl of a run only")
    read: list[Record] = benchmark.records_of(path, judge_scores)
    return read


def _is_ours(path: Path) -> bool:
    """Whether the first line of a file is a record of this project."""
    with path.open("rb") as handle:
        line = handle.readline(1 << 24)
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and {"sample_id", "scores"} <= first.keys()


def _with_scores(records: Sequence[Record], benchmark: Any, path: Path) -> list[Record]:
    """Records with a judge's scores from a JSON object of question id -> score."""
    from o3v.errors import ConfigError, DataError

    column = getattr(benchmark, "judge_column", None)
    if column is None:
        raise ConfigError(f"judge_scores={path}: benchmark={benchmark.name} needs no judge")
    try:
        scores = {str(key): float(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a JSON object of question id -> score ({error})") from error
    return [
        replace(record, scores={**record.scores, column: scores[record.sample_id]})
        if record.sample_id in scores
        else record
        for record in records
    ]


def _without_judge(records: Sequence[Record], benchmark: Any, again: bool) -> list[Record]:
    """Records without a judge's scores where they shall be judged again."""
    column = getattr(benchmark, "judge_column", None)
    if not again or column is None:
        return list(records)
    return [replace(r, scores={key: value for key, value in r.scores.items() if key != column}) for r in records]


def _questions_of(benchmark: Any, path: Path) -> Sequence[Any]:
    """Questions that a file of answers brings with it."""
    of = getattr(benchmark, "questions_of", None)
    return of(path) if of is not None else ()


def _folder(cfg: DictConfig, path: Path) -> Path:
    """Folder of the table: by what is scored and how."""
    import hashlib

    from o3v.config import resolve
    from o3v.evaluate import identity_of
    from o3v.tracking.run import run_signature

    files = [path] if path.is_file() else sorted(path.glob("records*.jsonl"))
    content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    kept = ("name", "label", "benchmark", "judge_scores")
    plain, judge = resolve(cfg), identity_of(cfg)["judge"]
    identity = {key: plain[key] for key in kept} | {"judge": judge, "predictions": content}
    return Path(plain["paths"]["output_dir"]) / f"{cfg.name}-{run_signature(identity)}"
