"""Accuracy against paths and tokens: a table, JSON, and a plot."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from o3v.benchmarks.report import Grid
from o3v.benchmarks.voting.files import PATTERN, read_votes
from o3v.benchmarks.voting.scaling import Point, votes_by_n
from o3v.benchmarks.voting.vote import Rule
from o3v.errors import StorageError

MAX_SUBSETS = 70
"""Subsets of a question's paths that are voted on for each number of them: all of 4 in 8."""


def scaling_grid(title: str, points: Sequence[Point]) -> Grid:
    """One row a rule and number of paths."""
    header = ("rule", "paths", "score x 100", "95 % interval", "abstained %", "tokens", "scorer calls", "crops")
    rows = tuple(
        (
            point.rule,
            str(point.n),
            f"{100 * point.score.value:.1f}",
            f"{100 * point.score.low:.1f} to {100 * point.score.high:.1f}",
            f"{100 * point.abstained:.1f}",
            f"{point.tokens:.0f}",
            f"{point.scorer_calls:.1f}",
            f"{point.crops:.1f}",
        )
        for point in points
    )
    return Grid(f"{title}: score against paths (tokens, scorer calls and crops a question)", header, rows)


def to_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The points as plain JSON; what is not a number is null."""
    rows: list[dict[str, Any]] = json.loads(json.dumps([asdict(point) for point in points]), parse_constant=_null)
    return rows


def write_scaling(title: str, points: Sequence[Point], folder: Path) -> None:
    """Writes voting.json, voting.md and voting.png (two panels: against paths, against tokens). Raises StorageError."""
    texts = {
        "voting.json": json.dumps(to_json(points), indent=2) + "\n",
        "voting.md": scaling_grid(title, points).markdown() + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = folder / f".{name}.tmp"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / name)
        plot_scaling(title, points, folder / "voting.png")
    except OSError as error:
        raise StorageError(f"{folder}: cannot write ({error.strerror or error})") from error


def plot_scaling(title: str, points: Sequence[Point], path: Path) -> None:
    """Score with its interval against paths (left) and tokens a question (right), one line a rule."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for name in dict.fromkeys(point.rule for point in points):
        line = [point for point in points if point.rule == name]
        values = [100 * point.score.value for point in line]
        low = [100 * (point.score.value - point.score.low) for point in line]
        high = [100 * (point.score.high - point.score.value) for point in line]
        for axes, x in ((left, [point.n for point in line]), (right, [point.tokens for point in line])):
            axes.errorbar(x, values, yerr=[low, high], marker="o", markersize=3, linewidth=1, capsize=2, label=name)
    left.set(xlabel="paths a question", ylabel="score x 100", title=title)
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="generated tokens a question")
    left.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _null(_: str) -> None:
    """NaN and infinities are no JSON."""


def report_scaling(
    folder: Path, title: str, column: str, rule: Rule, resamples: int, seed: int, unanswered: Sequence[str] = ()
) -> list[Point]:
    """Reads the paths that a run has kept in its folder, votes by every rule that they allow, writes table and plot.

    One path, majority and evidence voting need only texts; confidence is shown where crops were scored. Numbers of
    paths are 1, 2, 4, ... and N.

    Args:
        folder: of the run; see `files.PATTERN`.
        title: of table and plot.
        column: the score that counts.
        rule: how the run voted: ties, kernel and floor of the others are the same.
        resamples: bootstrap draws of an interval.
        seed: of the draws and subsets.
        unanswered: videos of questions that could not be asked; they score 0.

    Returns:
        The points; empty where the folder holds no paths.

    Raises:
        DataError: a broken line, or no question with this column.
        StorageError: the folder cannot be written.
    """
    records = read_votes(sorted(folder.glob(PATTERN)))
    if not records:
        return []
    n_paths = len(records[0].paths)
    ns = sorted({n_paths, *(2**k for k in range(n_paths.bit_length()) if 2**k <= n_paths)})
    scored = rule.weights == "confidence"
    names = [name for name in ("majority", "confidence", "evidence") if name != "confidence" or scored]
    rules = {name: replace(rule, weights=name) for name in names}
    points = votes_by_n(records, column, rules, ns, MAX_SUBSETS, resamples, seed, unanswered)
    write_scaling(title, points, folder)
    return points
