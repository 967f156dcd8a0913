"""Send to MLflow what a server did not take: `python -m o3v.sync folder=outputs`.

Every run keeps its metrics, tables, pictures and files in its own folder first; this sends what is left, in order,
nothing twice. Runs that are in progress send for themselves and are left alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command
from o3v.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from o3v.tracking.delivery import SendState, Sent
    from o3v.tracking.run import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one folder.

    Attributes:
        folder: of the run.
        sent: now.
        left: after it.
        reason: why something is left; empty where nothing is.
    """

    folder: Path
    sent: Sent
    left: Sent
    reason: str


@command(config_name="sync")
def main(cfg: DictConfig) -> float | None:
    """Send, show a table; exit code 2 where something is left. Returns the number of points sent."""
    from rich.console import Console

    folders = run_folders(Path(cfg.folder))
    if not folders:
        raise ConfigError(f"folder={cfg.folder}: no run in it was to be sent to MLflow (no mlflow.json)")
    outcomes = [sync(folder, cfg.tracking_uri) for folder in folders]
    _show(outcomes, Console())
    left = [outcome for outcome in outcomes if outcome.left or outcome.reason]
    if left:
        raise ServiceError(f"{len(left)} of {len(outcomes)} runs are not sent whole: {left[0].reason}")
    return float(sum(outcome.sent.points for outcome in outcomes))


def run_folders(folder: Path) -> list[Path]:
    """The folder itself or all below it that hold the record of a run for MLflow, sorted."""
    from o3v.tracking.delivery import STATE, read_state
    from o3v.tracking.run import RunFolder

    return sorted(path.parent for path in folder.rglob(STATE) if read_state(RunFolder(path.parent)) is not None)


def sync(folder: Path, tracking_uri: str | None) -> Outcome:
    """Send what is left of one run.

    Args:
        folder: with mlflow.json.
        tracking_uri: another address than the recorded one, to which the whole run is then sent; None keeps it.
    """
    from o3v.tracking.delivery import Delivery, Sent, address, read_state, unsent
    from o3v.tracking.mlflow_store import failures
    from o3v.tracking.run import RunFolder

    place = RunFolder(folder)
    state = read_state(place)
    assert state is not None
    if tracking_uri is not None:
        state = address(place, replace(state.store, tracking_uri=tracking_uri), state.name)
    before = unsent(place, state)
    if not before:
        return Outcome(folder, Sent(), Sent(), "")
    delivery = Delivery(place, tables_every_s=0.0)
    sent, reason = Sent(), ""
    try:
        sent = delivery.round(last=True)
        left = delivery.left()
        reason = "the server refused something" if left else ""
    except failures() as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        left = unsent(place, _state(place, state))
        sent = Sent(before.points - left.points, before.operations - left.operations, before.tables - left.tables)
    finally:
        delivery.close()
    return Outcome(folder, sent, left, reason)


def _state(place: RunFolder, before: SendState) -> SendState:
    from o3v.tracking.delivery import read_state

    return read_state(place) or before


def _show(outcomes: list[Outcome], console: object) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    table = Table("run", "points sent", "operations sent", "tables sent", "left")
    for outcome in outcomes:
        left = outcome.left
        told = f"{left.points} points, {left.operations} operations, {left.tables} tables: {outcome.reason}"
        sent = outcome.sent
        counts = (str(sent.points), str(sent.operations), str(sent.tables))
        table.add_row(outcome.folder.name, *counts, told if outcome.reason else "nothing")
    console.print(table)


if __name__ == "__main__":
    main()
