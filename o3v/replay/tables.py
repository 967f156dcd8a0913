"""What a replay found, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from o3v.replay.explain import Explanation
from o3v.replay.files import summary_path
from o3v.replay.run import NAMES
from o3v.replay.summary import flattened

TEXT_LETTERS = 300
"""A completion in a table is cut here; the summary file has it whole."""


def show(summary: Mapping[str, Any], out: Path | None) -> None:
    """Print the figures of a replay."""
    console = Console()
    for name in NAMES:
        if name in summary:
            console.print(_terms(name, summary[name]))
            console.print(_sentence(summary[name]), highlight=False)
    if "comparison" in summary:
        console.print(_compared(summary["comparison"]), highlight=False)
        console.print(_disagreements(summary["comparison"]["disagreements"]))
    rate = summary["completions"] / max(summary["seconds"], 1e-9)
    console.print(
        f"{summary['completions']} completions of {summary['groups']} groups in {summary['seconds']:.2f} s: "
        f"{rate:.0f} completions/s",
        highlight=False,
    )
    if out is not None:
        console.print(f"scores {out}\nsummary {summary_path(out)}", markup=False, highlight=False, soft_wrap=True)


def show_explanation(explanation: Explanation, picture: str) -> None:
    """Print why a completion earns what it earns; `picture` says where it is drawn."""
    console = Console()
    console.rule(f"{explanation.id}, completion {explanation.index}")
    console.print(f"{explanation.sample.task}: {explanation.sample.question}", markup=False, highlight=False)
    console.print(f"annotated: {explanation.sample.answer}", markup=False, highlight=False)
    console.print(coloured(explanation))
    console.print(_found(explanation))
    console.print(_payments(explanation))
    console.print(picture, markup=False, highlight=False, soft_wrap=True)


def coloured(explanation: Explanation) -> Text:
    """The completion with its claims marked: green paid, yellow behind a closed gate, red unreadable."""
    text = Text(explanation.completion.text)
    for found in explanation.found:
        text.stylize(
            _style(explanation, found.claim), explanation.think_start + found.start, explanation.think_start + found.end
        )
    return text


def _style(explanation: Explanation, claim: Any) -> str:
    if claim is None:
        return "bold red"
    judged = [verdict for verdict in explanation.verdicts if verdict.claim == claim]
    if not judged:
        return "bold cyan"
    return "bold green" if judged[0].frame is not None else "bold yellow"


def _found(explanation: Explanation) -> Table:
    table = Table("words", "claim", "time", "key frame", "gate", "overlap", title="Claims of the reasoning")
    think = explanation.completion.think or ""
    left = list(explanation.verdicts)
    for found in explanation.found:
        words = Text(think[found.start : found.end])
        if found.claim is None:
            table.add_row(words, Text(f"none: {found.fault}"), "", "", "", "")
            continue
        verdict = next((one for one in left if one.claim == found.claim), None)
        if verdict is not None:
            left.remove(verdict)
        table.add_row(words, *_judged(found.claim, verdict))
    for verdict in left:  # claims that only the reward's own way of reading finds
        table.add_row("", *_judged(verdict.claim, verdict))
    return table


def _judged(claim: Any, verdict: Any) -> list[Any]:
    cells = [
        Text(f"{claim.name}, {len(claim.boxes)} boxes" if len(claim.boxes) > 1 else claim.name),
        f"{claim.time_s:g} s",
    ]
    if verdict is None:
        return [*cells, "", "", ""]
    if verdict.frame is None:
        return [*cells, "none near enough", "closed", "0"]
    return [*cells, f"{verdict.frame.time_s:g} s", "open", f"{verdict.overlap:.3f}"]


def _payments(explanation: Explanation) -> Table:
    table = Table("term", "value", "weight", "paid", "why", title="What each term pays")
    for payment in explanation.payments:
        if payment.applies:
            numbers = (f"{payment.value:.4f}", f"{payment.weight:g}", f"{payment.paid:.4f}")
            table.add_row(payment.term, *numbers, Text("\n".join(payment.reasons)))
    table.add_row("total", "", "", f"{explanation.total:.4f}", "")
    return table


def _terms(name: str, summary: Mapping[str, Any]) -> Table:
    table = Table("term", "n", "mean", "spread", "in groups", "flat groups", title=f"{name}: what each term pays")
    for column in table.columns:
        column.no_wrap = True
    for term, figures in flattened(summary):
        if figures["completions"]:
            table.add_row(term, str(figures["completions"]), *_cells(figures))
    return table


def _cells(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from (_number(figures[name]) for name in ("mean", "spread", "group_spread"))
    yield "" if figures["flat_groups"] is None else f"{figures['flat_groups']:.1%}"


def _sentence(summary: Mapping[str, Any]) -> str:
    gate = "no claims judged" if summary["gate_open"] is None else f"gate open for {summary['gate_open']:.1%} of"
    claims = f" {summary['claims']} claims" if summary["claims"] else ""
    lost = f"; {summary['undefined']} values undefined (count 0)" if summary["undefined"] else ""
    raised = summary["not_computable_calls"]
    return f"{gate}{claims}{lost}" + (f"; {raised} calls that the released code cannot compute" if raised else "")


def _compared(comparison: Mapping[str, Any]) -> str:
    return (
        f"rank correlation of the totals: {_number(comparison['spearman_overall'])} over all completions, "
        f"{_number(comparison['spearman_in_groups'])} inside groups (mean of {comparison['groups_compared']}; "
        f"{comparison['groups_without_order']} groups are flat under one of the two)"
    )


def _disagreements(rows: list[Mapping[str, Any]]) -> Table:
    table = Table("id", "total", "total_b", "advantage", "advantage_b", "text", title="Where the two disagree most")
    for row in rows:
        numbers = (_number(row[name]) for name in ("total", "total_b", "advantage", "advantage_b"))
        table.add_row(f"{row['id']}/{row['index']}", *numbers, Text(row["text"][:TEXT_LETTERS]))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
