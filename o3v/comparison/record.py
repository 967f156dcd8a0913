"""Writing a report: files beside the study's own, and the record in experiments/."""

from __future__ import annotations

import json
from pathlib import Path

from o3v.comparison.latex import csv_text, latex
from o3v.comparison.report import Report, to_json
from o3v.comparison.text import markdown
from o3v.errors import DataError
from o3v.tracking.run import write_atomically

BEGIN, END = "<!-- results -->", "<!-- /results -->"
"""Between these lines of a README the tables are written; everything else is the author's."""


def write_files(report: Report, page: str | None, folder: Path) -> dict[str, Path]:
    """Writes results.json, table.csv, table.tex, table.md and, where there is one, index.html.

    Returns:
        Name -> file, in that order.

    Raises:
        StorageError: the folder cannot be written.
    """
    texts = {
        "results.json": json_text(report),
        "table.csv": csv_text(report),
        "table.tex": latex(report),
        "table.md": markdown(report),
    }
    if page is not None:
        texts["index.html"] = page
    for name, text in texts.items():
        write_atomically(folder / name, _readable(text))
    return {name: folder / name for name in texts}


def json_text(report: Report) -> str:
    """results.json."""
    return json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_record(report: Report, folder: Path) -> None:
    """Writes results.json and the tables of README.md in a folder of experiments/.

    A README without the markers gets them at its end; an absent one is begun with title, question and command.

    Raises:
        DataError: a README with one marker, or several of a kind.
        StorageError: the folder cannot be written.
    """
    readme = folder / "README.md"
    old = readme.read_text(encoding="utf-8") if readme.is_file() else _begun(report)
    new = with_results(old, _readable(markdown(report)), str(readme))
    write_atomically(folder / "results.json", _readable(json_text(report)))
    write_atomically(readme, new)


def with_results(text: str, results: str, place: str) -> str:
    r"""A README with other results between its markers.

    Args:
        text: as it is.
        results: what stands between the markers afterwards.
        place: of the file, for messages.

    Raises:
        DataError: not one marker of each kind, in order.

    Example:
        >>> with_results("A\n<!-- results -->\nold\n<!-- /results -->\nB\n", "new\n", "README.md")
        'A\n<!-- results -->\nnew\n<!-- /results -->\nB\n'
    """
    if BEGIN not in text and END not in text:
        return f"{text.rstrip()}\n\n{BEGIN}\n{results}{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after or END in before:
        raise DataError(f"{place}: wanted one line {BEGIN} and one line {END} after it")
    return f"{before}{BEGIN}\n{results}{END}{after}"


def _readable(text: str) -> str:
    """A text that a file can hold: half a character, as a path or a model may have, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _begun(report: Report) -> str:
    return f"# {report.title}\n\n**Question.** {report.question}\n\n    {report.command}\n"
