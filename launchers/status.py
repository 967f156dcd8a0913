"""How far a study is: `python -m launchers.status study=NAME`; `out=json` for programs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from launchers.states import RunState
    from o3v.study import Study

OUTPUTS = ("table", "json")


@command(config_name="status")
def main(cfg: DictConfig) -> float | None:
    """Read, ask, show; returns how many runs are not done."""
    from launchers.ledger import read_ledger
    from launchers.selection import given_overrides, recorded_overrides
    from launchers.states import DONE, job_states, study_states
    from launchers.tracked import close_runs
    from o3v.config_check import unknown
    from o3v.study import read_study

    if cfg.out not in OUTPUTS:
        raise unknown(f"out={cfg.out}", cfg.out, OUTPUTS, "value")
    ledger = read_ledger(study_folder(cfg.paths.output_dir, cfg.study), cfg.study)
    study = read_study(cfg.study, recorded_overrides(ledger, given_overrides((), cfg.select)))
    states = study_states(study, ledger, job_states(ledger))
    show(study, states, cfg.out)
    close_runs(study, states)
    return float(sum(state.state != DONE for state in states))


def show(study: Study, states: list[RunState], out: str) -> None:
    """Print the states as a table or as one JSON object."""
    from launchers.show import console, counts, status_table

    if out == "json":
        told = {"study": study.name, "folder": str(study.folder), "runs": [asdict(state) for state in states]}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    console().print(status_table(study.name, study.title, states))
    console().print(counts(states))


def study_folder(output_dir: str, name: str) -> Path:
    """Where a study keeps its plan; as `o3v.study.Study.folder`."""
    return Path(output_dir).absolute() / "studies" / name


if __name__ == "__main__":
    from launchers.selection import translated

    sys.argv[1:] = translated(sys.argv[1:])
    main()
