"""What is known of a job: what the plan wrote down when it was submitted, and what the scheduler says of it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "STOPPED"})
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "RESIZING", "SUSPENDED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
NEVER = ("dependencyneversatisfied", "launchfailedrequeuedheld", "jobrequeuedinheldstate", "deadline", "baddependency")
"""Reasons of waiting, without spaces and case, of a job that will not start by itself any more."""


@dataclass(frozen=True)
class Job:
    """A job as plan.json keeps it.

    Attributes:
        key: of the run.
        stage, arms, seeds: of the run.
        kind: who runs it.
        id: SLURM's (`52`, or `52_0` of an array), or the process id of a local job; None while a local one waits.
        log: file with what the job said, None where it speaks to the terminal.
        after: id of the job that it was made to wait for, None if it was free to start.
        launch: number of the launch that submitted it.
        started: start time of a local process in the kernel's ticks, which tells it from a later one of the same id.
        cancelled: whether `launchers.cancel` ended it.
    """

    key: str
    stage: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    kind: Literal["slurm", "local", "inline"]
    id: str | None
    log: str | None
    after: str | None
    launch: int
    started: int | None = None
    cancelled: bool = False


@dataclass(frozen=True)
class JobState:
    """What the scheduler says of a job.

    Attributes:
        state: SLURM's word, e.g. PENDING, RUNNING, OUT_OF_MEMORY.
        reason: SLURM's, of waiting or of the end; "" where there is none.
        used_s, left_s: time of this start until now, and until the time limit; None where unknown.
        ran: whether it ever started.
    """

    state: str
    reason: str
    used_s: int | None
    left_s: int | None
    ran: bool

    @property
    def is_running(self) -> bool:
        """Whether it has started and not ended."""
        return self.state in RUNNING

    @property
    def is_waiting(self) -> bool:
        """Whether it may still start by itself."""
        return self.state in WAITING and not self.is_stuck

    @property
    def is_stuck(self) -> bool:
        """Whether it is in the queue and will not start by itself.

        Example:
            >>> JobState("PENDING", "launch failed requeued held", None, None, True).is_stuck
            True
        """
        plain = self.reason.lower().replace(" ", "").replace("_", "")
        return self.state in WAITING and (plain in NEVER or self.state == "SPECIAL_EXIT")
