"""One picture of all measured cases: seconds by phase beside the floor, and memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from o3v.measure.clock import PHASES, WHOLE

_COLOURS = dict(zip((*PHASES, "rest"), ("#4c78a8", "#b279a2", "#72b7b2", "#f58518", "#9d755d", "#bab0ac"), strict=True))


def draw_cases(cases: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Draw a row of two panels a case.

    Args:
        cases: label -> what results.json keeps of it.
        file: picture to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.6 + 1.6 * len(cases)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(cases), 2, squeeze=False, width_ratios=(3, 1))
    for (label, case), (seconds, memory) in zip(sorted(cases.items()), panels, strict=True):
        _draw_seconds(seconds, label, case)
        _draw_memory(memory, case)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _draw_seconds(panel: Any, label: str, case: Mapping[str, Any]) -> None:
    arms = list(case["arms"])
    left = [0.0] * len(arms)
    for phase, colour in _COLOURS.items():
        widths = [_part(case["arms"][arm]["later_cpu_s"], phase) for arm in arms]
        panel.barh(arms, widths, left=left, color=colour, label=phase)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for row, total in enumerate(left):
        panel.text(total, row, f" {total:.1f} s", va="center", fontsize=8)
    panel.axvline(case["floor"]["cpu_s"], color="black", linestyle="--", linewidth=1, label="floor")
    panel.set_xlim(0, 1.12 * max(left))
    panel.set_title(label, fontsize=9, loc="left")
    panel.set_xlabel("CPU seconds of a step", fontsize=8)
    panel.invert_yaxis()


def _part(seconds: Mapping[str, float], phase: str) -> float:
    """A phase's seconds; `rest` is what the step has beyond its phases."""
    if phase != "rest":
        return seconds.get(phase, 0.0)
    return max(seconds[WHOLE] - sum(value for name, value in seconds.items() if name != WHOLE), 0.0)


def _draw_memory(panel: Any, case: Mapping[str, Any]) -> None:
    arms = list(case["arms"])
    peaks = [case["arms"][arm]["peak_mb"] for arm in arms]
    panel.barh(arms, peaks, color="#54a24b")
    for row, peak in enumerate(peaks):
        panel.text(peak, row, f" {peak:.0f}", va="center", fontsize=8)
    panel.set_xlim(0, 1.25 * max(peaks))
    panel.set_yticks([])
    panel.set_xlabel("peak MiB above the model", fontsize=8)
    panel.invert_yaxis()
