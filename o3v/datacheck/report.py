"""What a check found, for people and for programs: tables, JSON lines, one summary."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from o3v.datacheck.checking import Outcome
from o3v.datacheck.findings import KINDS, Finding
from o3v.replay.files import write_json, write_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FINDINGS: Final = "findings.jsonl"
SUMMARY: Final = "summary.json"

EXAMPLE_CHARS: Final = 100


@dataclass(frozen=True)
class Compared:
    """Benchmarks of the search for leaks.

    Attributes:
        files: name -> media that it asks about.
        missing: name -> why it could not be compared with.
    """

    files: Mapping[str, int]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """A check's outcome with what stands beside it.

    Attributes:
        outcome: what was found.
        compared: benchmarks of the search for leaks.
        max_error_share: share of rows with errors that is allowed.
        tokenizer: file by which text was counted; None where it was estimated.
        largest: how many of the largest rows are shown.
        seconds: that the check took.
    """

    outcome: Outcome
    compared: Compared
    max_error_share: float
    tokenizer: str | None
    largest: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the share of rows with errors is allowed."""
        return self.outcome.error_share <= self.max_error_share

    def summary(self) -> dict[str, Any]:
        """Everything but the single findings, as plain values."""
        outcome = self.outcome
        return {
            "subject": outcome.subject.name,
            "file": None if outcome.subject.file is None else str(outcome.subject.file),
            "passed": self.passed,
            "rows": len(outcome.rows),
            "rows_with_errors": outcome.rows_with_errors,
            "error_share": outcome.error_share,
            "max_error_share": self.max_error_share,
            "groups": [dict(zip(GROUP_COLUMNS, group, strict=True)) for group in groups(outcome)],
            "kinds": kinds(outcome.findings),
            "missing_media": outcome.missing_media,
            "tokens": self._tokens(),
            "compared": dict(self.compared.files),
            "not_compared": dict(self.compared.missing),
            "rows_looked_at": outcome.rows_counts.looked,
            "rows_remembered": outcome.rows_counts.known,
            "media_looked_at": outcome.media_counts.looked,
            "media_remembered": outcome.media_counts.known,
            "seconds": round(self.seconds, 3),
        }

    def _tokens(self) -> dict[str, Any]:
        """Of rows whose media could be read."""
        tokens = self.outcome.tokens
        prompts = sorted(one.prompt for one in tokens.values())
        if not prompts:
            return {"rows": 0}
        return {
            "rows": len(prompts),
            "text_counted_by": self.tokenizer or "estimate",
            "prompt_median": prompts[len(prompts) // 2],
            "prompt_max": prompts[-1],
            "vision_max": max(one.vision for one in tokens.values()),
            "answer_max": max(one.answer for one in tokens.values()),
            "rows_with_dropped_frames": sum(one.dropped > 0 for one in tokens.values()),
            "largest": largest_rows(self.outcome, self.largest),
        }

    def write(self, folder: Path) -> None:
        """The two files. Raises StorageError."""
        write_lines(folder / FINDINGS, (finding.as_line() for finding in self.outcome.findings))
        write_json(folder / SUMMARY, self.summary())


GROUP_COLUMNS = ("source", "task", "rows", "rows_with_errors", "rows_with_warnings")


def groups(outcome: Outcome) -> list[tuple[str, str, int, int, int]]:
    """By source and task: rows, those with errors, those with warnings; see `GROUP_COLUMNS`."""
    rows = Counter((row.source, row.task) for row in outcome.rows)
    flawed: dict[str, dict[tuple[str, str], set[int]]] = {"error": defaultdict(set), "warning": defaultdict(set)}
    for one in outcome.findings:
        flawed[one.severity][one.source, one.task].add(one.row)
    return [(*key, n, len(flawed["error"][key]), len(flawed["warning"][key])) for key, n in sorted(rows.items())]


def kinds(findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
    """Kind -> severity, number of findings, of rows, of each source, and the first message; errors first."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append(finding)
    ordered = sorted(by_kind.items(), key=lambda item: (item[1][0].severity, -len(item[1]), item[0]))
    return {
        kind: {
            "severity": found[0].severity,
            "meaning": KINDS[kind],
            "findings": len(found),
            "rows": len({one.row for one in found}),
            "sources": dict(Counter(one.source for one in found).most_common()),
            "first": f"row {found[0].row} ({found[0].id}): {found[0].message}",
        }
        for kind, found in ordered
    }


def largest_rows(outcome: Outcome, count: int) -> list[dict[str, Any]]:
    """The rows with the most tokens in all, as plain values."""
    ordered = sorted(outcome.tokens, key=lambda row: (-outcome.tokens[row].prompt - outcome.tokens[row].answer, row))
    found = []
    for number in ordered[:count]:
        row, tokens = outcome.rows[number - 1], outcome.tokens[number]
        found.append(
            {"row": number, "id": row.id, "source": row.source, "media": row.media}
            | {"frames": tokens.frames, "dropped_frames": tokens.dropped, "vision": tokens.vision}
            | {"text": tokens.text, "answer": tokens.answer, "all": tokens.prompt + tokens.answer}
        )
    return found


def show(report: Report, console: Console) -> None:
    """The tables on a console, and one line that says how the check ended."""
    outcome, summary = report.outcome, report.summary()
    console.print(_group_table(outcome))
    if summary["kinds"]:
        console.print(_kind_table(summary["kinds"]))
    if summary["tokens"]["rows"]:
        console.print(_token_table(summary["tokens"]))
    for line in _lines(report, summary):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """A text that any console can show: no half characters, no control characters.

    >>> printable("a" + chr(27)) == "a" + chr(92) + "x1b"
    True
    """
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def _lines(report: Report, summary: Mapping[str, Any]) -> list[str]:
    lines = [f"compared with {name}: {count} media" for name, count in report.compared.files.items()]
    lines += [f"not compared with {name}: {reason}" for name, reason in report.compared.missing.items()]
    looked, known = summary["rows_looked_at"], summary["rows_remembered"]
    media = f"{summary['media_looked_at']} media looked at, {summary['media_remembered']} remembered"
    lines.append(f"{looked} rows looked at, {known} remembered; {media}; {report.seconds:.1f} s")
    share = f"{report.outcome.error_share:.2%}, allowed {report.max_error_share:.2%}"
    verdict = "passed" if report.passed else "FAILED"
    lines.append(f"{verdict}: {summary['rows_with_errors']} of {summary['rows']} rows have errors ({share})")
    return lines


def _table(title: str, columns: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right" if column in numbers else "left", overflow="fold")
    return table


def _add(table: Table, values: Sequence[object]) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable(str(value))) for value in values))


def _group_table(outcome: Outcome) -> Table:
    table = _table(f"{printable(outcome.subject.name)}: rows by source and task", GROUP_COLUMNS, GROUP_COLUMNS[2:])
    for group in groups(outcome):
        _add(table, group)
    return table


def _kind_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("findings", ("kind", "severity", "findings", "rows", "first"), ("findings", "rows"))
    for kind, entry in found.items():
        first = entry["first"]
        shown = first if len(first) <= EXAMPLE_CHARS else f"{first[: EXAMPLE_CHARS - 3]}..."
        _add(table, (kind, entry["severity"], entry["findings"], entry["rows"], shown))
    return table


def _token_table(tokens: Mapping[str, Any]) -> Table:
    counted = "the model's tokenizer" if tokens["text_counted_by"] != "estimate" else "an estimate"
    columns = ("row", "id", "source", "frames", "dropped_frames", "vision", "text", "answer", "all")
    table = _table(f"largest rows in tokens (text by {counted})", columns, ("row", *columns[3:]))
    for entry in tokens["largest"]:
        _add(table, [entry[column] for column in columns])
    return table
