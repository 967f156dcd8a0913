"""Batches as SLURM jobs, through submitit: the very executor writes the batch files of a dry run and of a real one."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths
from submitit.slurm.slurm import SlurmExecutor

from launchers.jobs import Job
from launchers.plan import Batch
from launchers.resources import resources_of, slurm_parameters
from launchers.scheduler import outside_any_job
from launchers.stage import StageJob
from o3v.errors import ServiceError
from o3v.study import StageRun, Study

log = logging.getLogger(__name__)

INVALID = {"kill-on-invalid-dep": "yes"}
"""Without it a job whose parent failed waits for ever."""


class BatchExecutor(SlurmExecutor):
    """submitit's executor, which can also write batch files where there is no SLURM."""

    @classmethod
    def affinity(cls) -> int:
        """Always usable; `submit_batch` looks for sbatch."""
        return 1


def jobs_folder(study: Study, stage: str) -> Path:
    """Where a stage's batch files, pickles and logs lie; one flat folder, which exists before any job writes to it."""
    return study.folder / "jobs" / stage


def dependency_text(batch: Batch, ids: Mapping[str, str | None]) -> str | None:
    """What sbatch is told to wait for; None where nothing is.

    Args:
        batch: to be submitted.
        ids: key -> job id, of this launch and of earlier ones.

    Example:
        >>> from launchers.plan import Dependency
        >>> dependency_text(Batch("rl", ("c", "d"), Dependency("aftercorr", ("a", "b")), 1), {"a": "5_0", "b": "5_1"})
        'aftercorr:5'
    """
    if batch.dependency is None:
        return None
    first = str(ids[batch.dependency.parents[0]])
    return f"{batch.dependency.kind}:{first.split('_')[0] if batch.dependency.kind == 'aftercorr' else first}"


def executor_of(study: Study, batch: Batch, dependency: str | None) -> BatchExecutor:
    """The executor of a batch, with all its parameters."""
    run = study.runs[batch.keys[0]]
    folder = jobs_folder(study, batch.stage)
    resources = resources_of(run)
    executor = BatchExecutor(folder, max_num_timeout=resources["max_num_timeout"])
    given = slurm_parameters(resources, f"{study.name}-{batch.stage}")
    given["array_parallelism"] = batch.parallelism
    script = f"{shlex.quote(str(folder))}/${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}_submission.sh"
    given["setup"] = [*given["setup"], f"export O3V_BATCH_FILE={script}"]
    if dependency is not None:
        given["dependency"] = dependency
        given["additional_parameters"] = {**INVALID, **given["additional_parameters"]}
    executor.update_parameters(**given)
    return executor


def batch_text(study: Study, batch: Batch, dependency: str | None) -> str:
    """The batch file that sbatch would be given; nothing is written."""
    executor = executor_of(study, batch, dependency)
    if len(batch.keys) > 1:
        executor.parameters["map_count"] = len(batch.keys)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def submit_batch(
    study: Study, batch: Batch, ids: Mapping[str, str | None], job_of: Callable[[StageRun], StageJob], launch: int
) -> list[Job]:
    """Call sbatch once; returns what plan.json keeps, in the order of the batch.

    Raises:
        ServiceError: sbatch is missing or refuses; with its own words.
    """
    if shutil.which("sbatch") is None:
        raise ServiceError(
            "sbatch was not found: this is no login node of a SLURM cluster; cluster=local runs the study here, "
            "and --dry-run shows the batch files"
        )
    runs = [study.runs[key] for key in batch.keys]
    executor = executor_of(study, batch, dependency_text(batch, ids))
    stages = [job_of(run) for run in runs]
    try:
        with outside_any_job():
            sent = executor.submit_array(stages) if len(stages) > 1 else [executor.submit(stages[0])]
    except (FailedJobError, FailedSubmissionError) as error:
        raise ServiceError(f"sbatch refuses stage {batch.stage}: {str(error).strip()}") from error
    parents = batch.dependency.parents if batch.dependency is not None else (None,) * len(runs)
    folder = executor.folder
    return [
        Job(
            key=run.key,
            stage=run.stage,
            arms=run.arms,
            seeds=run.seeds,
            kind="slurm",
            id=job.job_id,
            log=str(JobPaths(folder, job.job_id, 0).stdout),
            after=ids[parent] if parent is not None else None,
            launch=launch,
        )
        for run, job, parent in zip(runs, sent, parents, strict=True)
    ]


def placeholders(batches: Sequence[Batch], ids: Mapping[str, str | None]) -> dict[str, str | None]:
    """Ids for a dry run: those of live jobs as they are, of new ones as `<NUMBER OF BATCH>`.

    Example:
        >>> placeholders([Batch("sft", ("a", "b"), None, 1)], {"z": "9"})
        {'z': '9', 'a': '<1>_0', 'b': '<1>_1'}
    """
    made = dict(ids)
    for number, batch in enumerate(batches, start=1):
        alone = len(batch.keys) == 1
        made |= {key: f"<{number}>" if alone else f"<{number}>_{at}" for at, key in enumerate(batch.keys)}
    return made
