"""What the arms' figures say: ratios, distance from the floor, a table, and one file for all cases."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.measure.case import StepCase
from o3v.measure.clock import PHASES, WHOLE

if TYPE_CHECKING:
    from o3v.measure.exactness import Exactness
    from o3v.measure.worker import ArmResult

_PACKAGES = ("torch", "torchvision", "transformers", "trl")
RESULTS = "results.json"
PLOT = "step_cost.png"


@dataclass(frozen=True)
class Report:
    """The figures of one case.

    Attributes:
        case: what was measured.
        exactness: the differences that were allowed to let it be measured.
        runs: results of the arms' processes, in the order of measuring.
    """

    case: StepCase
    exactness: tuple[Exactness, ...]
    runs: tuple[ArmResult, ...] = ()

    def added(self, run: ArmResult) -> Report:
        """The same with one more process."""
        return replace(self, runs=(*self.runs, run))

    @property
    def arms(self) -> list[str]:
        """Arms with a result, in order."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    def floor_s(self, library: str = "torch") -> float:
        """The floor's time: its work at the rate of a library's products.

        The best rate that any process saw, as the floor time must not profit from a slow moment.
        """
        return self.floor_gflop() / self.gflops[library]

    @property
    def gflops(self) -> dict[str, float]:
        """Library -> best rate of a large product that any process saw."""
        return {name: max(run.gflops[name] for run in self.runs) for name in self.runs[0].gflops}

    def floor_gflop(self, kind: str | None = None) -> float:
        """Operations of the floor, 1e9; of one kind (`products`, `attention`) or of both."""
        phases = self.runs[0].floor.values()
        return sum(value for phase in phases for name, value in phase.items() if kind in (None, name)) / 1e9

    def arm(self, name: str) -> dict[str, Any]:
        """An arm's figures.

        The quickest first step and the quickest later step of all its processes, each with its phases; the highest
        peak memory; counts of the step that was counted.
        """
        runs = [run for run in self.runs if run.arm == name]
        first = min((run.first for run in runs), key=_whole)
        later = min((step for run in runs for step in run.later), key=_whole)
        return {
            "first_cpu_s": _seconds(first),
            "later_cpu_s": _seconds(later),
            "peak_mb": max(run.peak_mb for run in runs),
            "base_mb": max(run.base_mb for run in runs),
            "first_over_floor": _whole(first) / self.floor_s(),
            "later_over_floor": _whole(later) / self.floor_s(),
            "later_over_onednn_floor": _whole(later) / self.floor_s("onednn"),
            "counts": self._counts(runs[0]),
            "notes": runs[0].notes,
            "processes": len(runs),
        }

    def _counts(self, run: ArmResult) -> dict[str, Any]:
        """Of the whole step, and where a reader would ask by phase."""
        if not run.counts:
            return {}
        whole = run.counts[WHOLE]
        gflop = {kind: whole[kind] / 1e9 for kind in ("products", "attention")}
        return {
            "gflop": gflop | {"both": sum(gflop.values())},
            "products_over_floor": gflop["products"] / self.floor_gflop("products"),
            "both_over_floor": sum(gflop.values()) / self.floor_gflop(),
            "vision_calls": whole["vision_calls"],
            "vision_prompts": whole["vision_patches"] / run.patches,
            "language_tokens": whole["tokens"],
            "language_tokens_rollout": run.counts["rollout"]["tokens"],
            "by_phase": run.counts,
        }

    def summary(self) -> dict[str, Any]:
        """Everything that is kept of the case, without machine and command."""
        arms = {name: self.arm(name) for name in self.arms}
        return {
            "case": _plain(asdict(self.case)),
            "frames": self.runs[0].frames,
            "exactness": [asdict(item) for item in self.exactness],
            "floor": {"gflop": self.floor_gflop(), "products_gflop": self.floor_gflop("products")}
            | {"gflops": self.gflops, "cpu_s": self.floor_s(), "onednn_cpu_s": self.floor_s("onednn")}
            | {"by_phase": self.runs[0].floor},
            "arms": arms,
            "over_shared": over_shared(arms),
        }


def over_shared(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How many times the shared arm's time and memory each other arm needs; empty without that arm."""
    if "shared" not in arms:
        return {}
    own = arms["shared"]
    return {
        name: {
            "first": arm["first_cpu_s"][WHOLE] / own["first_cpu_s"][WHOLE],
            "later": arm["later_cpu_s"][WHOLE] / own["later_cpu_s"][WHOLE],
            "peak": arm["peak_mb"] / own["peak_mb"],
        }
        for name, arm in arms.items()
        if name != "shared"
    }


def write_report(report: Report, folder: str | Path, command: Sequence[str]) -> Path:
    """Put the case into results.json of a folder, where it replaces one of the same label, and draw all cases anew.

    Args:
        report: the figures.
        folder: made if it is not there.
        command: the words of the command line.

    Returns:
        The file.
    """
    from o3v.measure.plot import draw_cases

    case = report.summary() | {"command": " ".join(command), "ran_on": machine()}
    file = put_case(folder, report.case.label, case)
    draw_cases(json.loads(file.read_text())["cases"], file.parent / PLOT)
    return file


def put_case(folder: str | Path, label: str, case: Mapping[str, Any]) -> Path:
    """Put a case into results.json of a folder, made if it is not there, in the place of one of the same label."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    file = place / RESULTS
    cases = json.loads(file.read_text())["cases"] if file.is_file() else {}
    file.write_text(json.dumps({"cases": dict(sorted((cases | {label: case}).items()))}, indent=1) + "\n")
    return file


def machine() -> dict[str, Any]:
    """Where and with what a case ran."""
    from o3v.tracking.run import git_state

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("o3v", *_PACKAGES)},
        "git": git_state(Path(__file__).parent),
    }


def table(report: Report) -> Any:
    """The figures as a rich table."""
    from rich.table import Table

    shown = Table(title=_title(report))
    for name in ("arm", *PHASES, "first step", "step", "x shared", "x floor", "FLOP x floor", "vision", "tokens", "MB"):
        shown.add_column(name, justify="left" if name == "arm" else "right")
    ratios = report.summary()["over_shared"]
    for name in report.arms:
        shown.add_row(*_cells(name, report.arm(name), ratios.get(name, {})))
    return shown


def show(report: Report) -> None:
    """Print the table and what must be known to read it."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table(report))
    for name in report.arms:
        for note in report.arm(name)["notes"]:
            console.print(f"{name}: {note}", style="dim")


def _title(report: Report) -> str:
    times = ", ".join(
        f"{report.floor_s(name):.2f} s at the {rate:.0f} GFLOP/s of {name}" for name, rate in report.gflops.items()
    )
    return f"{report.case.label}: CPU seconds; floor {report.floor_gflop():.0f} GFLOP, {times}"


def _cells(name: str, arm: Mapping[str, Any], ratio: Mapping[str, float]) -> list[str]:
    later, counts = arm["later_cpu_s"], arm["counts"]
    return [
        name,
        *(f"{later[phase]:.2f}" if phase in later else "-" for phase in PHASES),
        f"{arm['first_cpu_s'][WHOLE]:.2f}",
        f"{later[WHOLE]:.2f}",
        f"{ratio['later']:.2f}" if ratio else "1",
        f"{arm['later_over_floor']:.2f}",
        f"{counts['products_over_floor']:.3f}" if counts else "-",
        f"{counts['vision_prompts']:.0f}" if counts else "-",
        f"{counts['language_tokens']:.0f}" if counts else "-",
        f"{arm['peak_mb']:.0f}",
    ]


def _whole(phases: Mapping[str, Mapping[str, float]]) -> float:
    return phases[WHOLE]["cpu_s"]


def _seconds(phases: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: reading["cpu_s"] for name, reading in phases.items()}


def _plain(value: Any) -> Any:
    """What JSON can hold; classes of the configuration became dicts before."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
