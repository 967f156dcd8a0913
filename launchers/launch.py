"""One launch of a study, from the plan to the jobs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launchers.jobs import Job
from launchers.ledger import Launch, Ledger, locked, read_ledger, write_ledger
from launchers.plan import Batch, Work, find_work, plan_batches
from launchers.stage import StageJob, stage_job
from launchers.states import job_states
from o3v.errors import ConfigError, ServiceError, StorageError
from o3v.tracking.run import GitState, git_state

if TYPE_CHECKING:
    from launchers.tracked import Tracking
    from o3v.study import StageRun, Study

log = logging.getLogger(__name__)

DRIVER_LOG = "driver.log"


@dataclass(frozen=True)
class Plan:
    """What a launch would do now.

    Attributes:
        ledger: before it.
        work: runs to submit, and those left out.
        batches: calls of sbatch; on this machine one a run.
        kind: inline, local or slurm.
    """

    ledger: Ledger
    work: Work
    batches: list[Batch]
    kind: Any


def make_plan(study: Study) -> Plan:
    """Look at the folders and the scheduler, and plan; changes nothing.

    Raises:
        ConfigError: stages on clusters of different kinds.
        ServiceError: jobs of SLURM were submitted, and it does not answer.
    """
    kinds = sorted({str(run.resources["kind"]) for run in study.runs.values()})
    if len(kinds) > 1:
        raise ConfigError(f"cluster.kind: one study runs in one way, but its stages say {', '.join(kinds)}")
    ledger = read_ledger(study.folder, study.name)
    runs = list(study.runs.values())
    done = {run.key for run in runs if run.done() is not None}
    work = find_work(runs, done, ledger.jobs, job_states(ledger))
    if kinds != ["slurm"]:
        work = without_live_parents(work)
    return Plan(ledger, work, plan_batches(work.todo, work.live), kinds[0] if kinds else "slurm")


def without_live_parents(work: Work) -> Work:
    """On this machine nothing waits for jobs of another launch: runs behind them are left out, and what follows."""
    out = dict(work.left_out)
    blocked = set(work.live)
    todo = []
    for run in work.todo:
        if run.parent in blocked:
            out[run.key] = f"behind {run.parent}, which another launch runs; submit again when that is done"
            blocked.add(run.key)
        else:
            todo.append(run)
    return replace(work, todo=tuple(todo), left_out=out)


def show_plan(study: Study) -> int:
    """Print the plan and the batch files of a launch, and change nothing; returns how many runs it would submit."""
    from rich.syntax import Syntax

    from launchers.show import console

    plan = make_plan(study)
    out = console()
    waits = _show(study, plan, _numbered(plan))
    if plan.kind == "slurm":
        from launchers.slurm import batch_text

        for number, batch in enumerate(plan.batches, start=1):
            out.rule(f"batch file {number}: {batch.stage}, {len(batch.keys)} run{'s' * (len(batch.keys) > 1)}")
            text = batch_text(study, batch, waits.get(batch.keys[0]))
            out.print(Syntax(text, "bash") if out.is_terminal else text, soft_wrap=True, markup=False, highlight=False)
    return len(plan.work.todo)


def launch(study: Study, overrides: Sequence[str], background: bool = False) -> int:
    """Submit what is missing; returns how many runs that were.

    Args:
        study: to launch.
        overrides: with which it was read, for plan.json.
        background: for a study on this machine: return at once.

    Raises:
        StorageError: another launch of this study is at work.
        ServiceError: SLURM does not answer, or refuses.
        SystemExit: on this machine, a run failed.
    """
    with locked(study.folder):
        plan = make_plan(study)
        if not plan.work.todo:
            _show(study, plan, _ids(plan.ledger))
            log.info("nothing to submit")
            return 0
        git = git_state(_here())
        started = plan.ledger.with_launch(Launch(_now(), plan.kind, tuple(overrides), git["commit"], git["dirty"], {}))
        if plan.kind == "slurm":
            _submit(study, replace(plan, ledger=started), git)
            return len(plan.work.todo)
        _check_driver(study, plan.ledger)
        if background:
            return _start_driver(study, len(plan.work.todo))
        _queue_here(study, plan, started)
    _drive(study, plan, git)
    return len(plan.work.todo)


def _submit(study: Study, plan: Plan, git: GitState) -> None:
    """Send all batches; plan.json is written after each, so that no job is ever forgotten."""
    from launchers.scheduler import cancel
    from launchers.slurm import dependency_text, submit_batch
    from launchers.tracked import open_tracking

    ledger = plan.ledger
    job_of = _maker(study, open_tracking(study, git), git)
    stale = [job for key in plan.work.stale if (job := ledger.jobs[key].id) is not None]
    if stale:
        cancel(stale)
    waits: dict[str, str] = {}
    for batch in plan.batches:
        ids = _ids(ledger)
        text = dependency_text(batch, ids)
        try:
            sent = submit_batch(study, batch, ids, job_of, len(ledger.launches) - 1)
        except ServiceError as error:
            so_far = len(ledger.launches[-1].jobs)
            raise ServiceError(
                f"{error}\n{so_far} jobs were submitted before; the same command sends the rest"
            ) from error
        ledger = ledger.with_jobs(*sent)
        write_ledger(study.folder, ledger)
        waits |= {key: text for key in batch.keys if text is not None}
    _show(study, plan, _ids(ledger), waits)


def _queue_here(study: Study, plan: Plan, ledger: Ledger) -> None:
    from launchers.local import new_job, start_time

    number = len(ledger.launches) - 1
    queued = [new_job(run, plan.kind, number) for run in plan.work.todo]
    driver = (os.getpid(), start_time(os.getpid()))
    write_ledger(study.folder, replace(ledger.with_jobs(*queued), driver=driver))
    _show(study, plan, {})


def _drive(study: Study, plan: Plan, git: GitState) -> None:
    """Run everything on this machine; ends the process with an error where a run failed."""
    from launchers.local import run_inline, run_local
    from launchers.tracked import open_tracking

    def record(job: Job) -> None:
        with locked(study.folder, wait=True):
            write_ledger(study.folder, read_ledger(study.folder, study.name).with_jobs(job))

    job_of = _maker(study, open_tracking(study, git), git)
    number = len(plan.ledger.launches)
    try:
        if plan.kind == "inline":
            outcome = run_inline(plan.work.todo, job_of, record, number)
        else:
            outcome = run_local(study, plan.work.todo, job_of, record, number)
    finally:
        with locked(study.folder, wait=True):
            write_ledger(study.folder, replace(read_ledger(study.folder, study.name), driver=None))
    if outcome.failed:
        log.error(
            "%d runs failed, %d behind them were not started; python -m launchers.status study=%s says why",
            len(outcome.failed),
            len(outcome.skipped),
            study.name,
        )
        raise SystemExit(1)


def _start_driver(study: Study, runs: int) -> int:
    """The same command in a process that outlives this one."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("background=")]
    with (study.folder / DRIVER_LOG).open("a", encoding="utf-8") as said:
        driver = subprocess.Popen(
            [sys.executable, "-m", "launchers.submit", *arguments, "background=false"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    log.info("process %d starts %d runs; it speaks to %s", driver.pid, runs, study.folder / DRIVER_LOG)
    return runs


def _check_driver(study: Study, ledger: Ledger) -> None:
    from launchers.local import is_alive

    if ledger.driver is not None and ledger.driver[0] != os.getpid() and is_alive(*ledger.driver):
        raise StorageError(
            f"{study.folder}: process {ledger.driver[0]} runs this study; wait for it, or end it by launchers.cancel"
        )


def _maker(study: Study, tracking: Tracking, git: GitState) -> Callable[[StageRun], StageJob]:
    return lambda run: stage_job(run, study.runs, tracking(run), git["commit"])


def _show(
    study: Study, plan: Plan, ids: Mapping[str, str | None], waits: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Print the table of a plan; returns what each run waits for."""
    from launchers.show import console, plan_table

    shown = dict(waits) if waits is not None else _waits(plan, ids)
    console().print(plan_table(study, plan.work, plan.batches, shown, ids))
    return shown


def _waits(plan: Plan, ids: Mapping[str, str | None]) -> dict[str, str]:
    if plan.kind != "slurm":
        return {run.key: run.parent for run in plan.work.todo if run.parent in {other.key for other in plan.work.todo}}
    from launchers.slurm import dependency_text

    texts = {key: dependency_text(batch, ids) for batch in plan.batches for key in batch.keys}
    return {key: text for key, text in texts.items() if text is not None}


def _numbered(plan: Plan) -> dict[str, str | None]:
    from launchers.slurm import placeholders

    return placeholders(plan.batches, _ids(plan.ledger)) if plan.kind == "slurm" else {}


def _ids(ledger: Ledger) -> dict[str, str | None]:
    return {key: job.id for key, job in ledger.jobs.items()}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _here() -> Any:
    from o3v.cluster import repository

    return repository()
