"""Plans: properties over random studies, known ones, and wrong versions that must be caught."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers import plan
from launchers.jobs import Job, JobState
from launchers.plan import Batch, Dependency, Run, find_work, plan_batches
from tests.launchers.studies import SLURM, chain

PENDING = JobState("PENDING", "Dependency", 0, None, False)
RUNS = JobState("RUNNING", "", 5, 100, True)


@dataclass(frozen=True)
class Node:
    """A run as a plan sees it."""

    key: str
    stage: str
    parent: str | None
    arms: tuple[str, ...]
    resources: Any


def job(run: Run, job_id: str, after: str | None = None) -> Job:
    return Job(run.key, run.stage, run.arms, (0,), "slurm", job_id, None, after, 0)


def plan_faults(runs: Sequence[Run], live: Collection[str], batches: Sequence[Batch]) -> list[str]:
    """What is wrong with a plan, one sentence each."""
    todo = {run.key: run for run in runs}
    sent: dict[str, tuple[str, ...]] = {}
    faults = []
    for batch in batches:
        faults += [f"{key} twice or unknown" for key in batch.keys if key in sent or key not in todo]
        kinds = {(todo[key].stage, str(todo[key].resources)) for key in batch.keys if key in todo}
        faults += [f"{batch.keys}: {len(kinds)} kinds in one array"] if len(kinds) != 1 else []
        waits = batch.dependency.parents if batch.dependency else (None,) * len(batch.keys)
        for key, waited in zip(batch.keys, waits, strict=False):
            parent = todo[key].parent if key in todo else None
            wanted = parent if parent in todo or parent in live else None
            faults += [f"{key} waits for {waited}, not for {wanted}"] if waited != wanted else []
            faults += [f"{key} goes before {waited}"] if waited in todo and waited not in sent else []
        if batch.dependency and batch.dependency.kind == "aftercorr" and sent.get(waits[0]) != waits:
            faults.append(f"{batch.keys}: {waits} is no whole array")
        if len(waits) != len(batch.keys) or (
            batch.dependency and batch.dependency.kind == "afterok" and len(waits) > 1
        ):
            faults.append(f"{batch.keys} waits coarsely for {waits}")
        sent |= dict.fromkeys(batch.keys, batch.keys)
    return faults + [f"{key} is forgotten" for key in todo if key not in sent]


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[Node], set[str]]:
    """Runs of a study in a study's order, some of them left out as done or live."""
    arms, seeds, depth = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    shared = draw(st.integers(0, depth))
    nodes: dict[str, Node] = {}
    for arm in range(arms):
        stages = [s for s in range(depth) if s < shared or draw(st.integers(0, 4))]
        for seed in range(seeds):
            parent = None
            for stage in stages:
                key = f"s{stage}-{seed}" if stage < shared else f"s{stage}-a{arm}-{seed}"
                users = tuple(f"a{n}" for n in range(arms)) if stage < shared else (f"a{arm}",)
                big = stage >= shared and draw(st.integers(0, 5)) == 0
                nodes.setdefault(key, Node(key, f"s{stage}", parent, users, {"array_parallelism": 9 if big else 4}))
                parent = key
    gone = {key for key in nodes if draw(st.integers(0, 3)) == 0}
    live = {key for key in gone if draw(st.booleans())}
    return [node for key, node in nodes.items() if key not in gone], live


@settings(max_examples=300, deadline=None)
@given(studies())
def test_a_plan_has_no_faults(case: tuple[list[Node], set[str]]) -> None:
    runs, live = case
    assert plan_faults(runs, live, plan_batches(runs, live)) == []


def shapes(batches: Sequence[Batch]) -> list[tuple[str, int, str | None, int]]:
    return [(b.stage, len(b.keys), b.dependency.kind if b.dependency else None, b.parallelism) for b in batches]


def test_arms_behind_a_shared_stage_are_arrays_of_their_own(tmp_path: Path) -> None:
    study = chain(tmp_path, {arm: {} for arm in "abcd"}, seeds=(0, 1, 2))
    batches = plan_batches(list(study.runs.values()))
    array = [("rl", 3, "aftercorr", 2)] * 4 + [("eval", 3, "aftercorr", 2)] * 4
    assert shapes(batches) == [("sft", 3, None, 8), *array]
    assert {study.runs[key].arms for key in batches[2].keys} == {("b",)}


def test_one_seed_makes_plain_jobs(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}, "b": {}}, seeds=(0,))
    found = plan_batches(list(study.runs.values()))
    assert [(batch.keys, batch.dependency) for batch in found][1:3] == [
        (("rl-a-0",), Dependency("afterok", ("sft-0",))),
        (("rl-b-0",), Dependency("afterok", ("sft-0",))),
    ]


def test_independent_runs_are_one_array(tmp_path: Path) -> None:
    study = chain(tmp_path, {arm: {} for arm in "abc"})
    evaluations = [run for run in study.runs.values() if run.stage == "eval"]
    assert shapes(plan_batches(evaluations)) == [("eval", 6, None, 8)]


def test_a_part_of_an_array_goes_one_by_one(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}, "b": {}}, seeds=(0, 1, 2), stages=("sft", "rl"))
    runs = [run for run in study.runs.values() if run.key != "rl-b-1"]
    assert [batch.dependency for batch in plan_batches(runs)] == [
        None,
        Dependency("aftercorr", ("sft-0", "sft-1", "sft-2")),
        Dependency("afterok", ("sft-0",)),
        Dependency("afterok", ("sft-2",)),
    ]


def test_stages_of_other_resources_do_not_share_an_array(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}}, stages=("sft",))
    first, second = study.runs.values()
    assert len(plan_batches([first, replace(second, resources={**SLURM, "mem_gb": 2})])) == 2


# What is left out. Each case: done keys, jobs, states -> keys to submit, keys whose old job is cancelled.
def work_faults() -> list[str]:
    """Cases of `find_work` that come out wrong."""
    study = chain(Path("/none"), {"a": {}}, seeds=(0,))
    sft, rl, last = study.runs.values()
    jobs = {"sft-0": job(sft, "1"), "rl-a-0": job(rl, "2", "1"), "eval-a-0": job(last, "3", "2")}
    renewed = {**jobs, "sft-0": job(sft, "9")}
    stuck, held = (
        replace(PENDING, reason="DependencyNeverSatisfied"),
        JobState("PENDING", "JobHeldUser", 0, None, False),
    )
    lost = JobState("PENDING", "launch failed requeued held", 0, None, True)
    failed = JobState("FAILED", "NonZeroExitCode", 5, 9, True)
    all_keys = list(study.runs)
    cases: dict[str, tuple[set[str], Any, dict[str, JobState], list[str], list[str]]] = {
        "nothing was ever submitted": (set(), {}, {}, all_keys, []),
        "everything is done": (set(all_keys), jobs, {}, [], []),
        "everything waits": (set(), jobs, {"sft-0": RUNS, "rl-a-0": PENDING, "eval-a-0": PENDING}, [], []),
        "the first failed, the others wait": (
            set(),
            jobs,
            {"sft-0": failed, "rl-a-0": PENDING, "eval-a-0": PENDING},
            all_keys,
            ["rl-a-0", "eval-a-0"],
        ),
        "the middle is stuck": ({"sft-0"}, jobs, {"rl-a-0": stuck}, all_keys[1:], ["rl-a-0"]),
        "the middle was lost by its node": ({"sft-0"}, jobs, {"rl-a-0": lost}, all_keys[1:], ["rl-a-0"]),
        "the user holds it": ({"sft-0"}, jobs, {"rl-a-0": held, "eval-a-0": PENDING}, [], []),
        "the scheduler forgot all": ({"sft-0"}, jobs, {}, all_keys[1:], []),
        "a DONE.json is gone": ({"rl-a-0"}, jobs, {}, ["sft-0", "eval-a-0"], []),
        "waits for a job that was replaced": (
            set(),
            renewed,
            {"sft-0": RUNS, "rl-a-0": PENDING, "eval-a-0": PENDING},
            ["rl-a-0", "eval-a-0"],
            ["rl-a-0", "eval-a-0"],
        ),
    }
    wrong = []
    for name, (done, known, states, todo, stale) in cases.items():
        work = plan.find_work(list(study.runs.values()), done, known, states)
        right = [run.key for run in work.todo] == todo and list(work.stale) == stale
        wrong += [] if right and set(work.left_out) == set(all_keys) - set(todo) else [name]
    return wrong


def known_plan_faults() -> list[str]:
    study = chain(Path("/none"), {arm: {} for arm in "abc"}, seeds=(0, 1))
    runs = list(study.runs.values())
    whole = plan_faults(runs, (), plan.plan_batches(runs))
    rest = [run for run in runs if run.stage == "eval"]
    live = {run.key for run in runs if run.stage == "rl"}
    return whole + plan_faults(rest, live, plan.plan_batches(rest, live))


def test_what_is_left_out() -> None:
    assert work_faults() == []
    assert known_plan_faults() == []


def coarser(runs: Sequence[Run], live: Collection[str] = ()) -> list[Batch]:
    """Every element waits for the whole stage before it."""
    return [
        replace(batch, dependency=Dependency("afterok", batch.dependency.parents))
        if batch.dependency and len(batch.keys) > 1
        else batch
        for batch in plan_batches(runs, live)
    ]


def free(runs: Sequence[Run], live: Collection[str] = ()) -> list[Batch]:
    """Nothing waits."""
    return [replace(batch, dependency=None) for batch in plan_batches(runs, live)]


def shuffled(runs: Sequence[Run], live: Collection[str] = ()) -> list[Batch]:
    """Elements of dependent arrays in another order than their parents'."""
    return [replace(b, keys=b.keys[::-1]) if b.dependency else b for b in plan_batches(runs, live)]


def live_forgotten(runs: Sequence[Run], live: Collection[str] = ()) -> list[Batch]:
    return plan_batches(runs, ())


def done_again(runs: Any, done: Any, jobs: Any, states: Any) -> Any:
    return find_work(runs, (), jobs, states)


def running_again(runs: Any, done: Any, jobs: Any, states: Any) -> Any:
    return find_work(runs, done, jobs, {key: s for key, s in states.items() if not s.is_running})


def upstream_unchecked(run: Run, done: Any, live: Any, jobs: Any) -> bool:
    return True


def replaced_unchecked(run: Run, done: Any, live: Any, jobs: Any) -> bool:
    return run.parent is None or run.parent in done or run.parent in live


MUTANTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "a coarser dependency": ("plan_batches", coarser),
    "no dependency": ("plan_batches", free),
    "elements in another order": ("plan_batches", shuffled),
    "live parents are forgotten": ("plan_batches", live_forgotten),
    "done runs go again": ("find_work", done_again),
    "running runs go again": ("find_work", running_again),
    "a child of a failed parent still waits": ("_can_start", upstream_unchecked),
    "a child of a replaced job still waits": ("_can_start", replaced_unchecked),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_plan_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, *MUTANTS[name])
    assert work_faults() + known_plan_faults() != []
