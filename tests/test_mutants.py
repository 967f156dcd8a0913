"""Deliberately wrong versions of rewards and metrics, listed in one place; each must be caught.

`OWN` are run here. `GATHERED` names the tables that stand beside the tests of their subject and are run there; the
four that everybody asks for first are run here once more.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from o3v.benchmarks import metrics
from o3v.grounding import parse
from o3v.grounding.boxes import area
from o3v.replay import ranks, score, summary
from o3v.replay.format import read_rollouts
from o3v.rewards import answer, mix, reference_fixed, thinking
from o3v.types import RewardTable, Task
from tests.rewards import configured
from tests.rewards.golden_lines import SMALL, read_lines
from tests.rewards.samples import sample
from tests.rewards.test_golden import fixed_misses

GATHERED = {
    "tests.rewards.test_golden": ("FIXED_MUTANTS", "one-sided gate", "strict boundary", "claims run over tags"),
    "tests.objectives.test_policy": ("MUTANTS", "mean over padding too", "std with G in the denominator", "no clip"),
    "tests.objectives.test_sft": ("MUTANTS", "header learned", "everything learned"),
    "tests.video.test_reference": ("MUTANTS", "one frame more"),
    "tests.benchmarks.vstar.test_mutants": ("MUTANTS", "mean over processed items only", "exclusive hull"),
    "tests.benchmarks.mcq.test_letters": ("MUTANTS", "failures are answers"),
    "tests.benchmarks.test_worldsense": ("MUTANTS", "unreadable answers are A"),
    "tests.benchmarks.test_videommmu": ("MUTANTS", "only answered questions count"),
}
"""Test module -> its table, and some of the wrong versions in it."""


def reward_faults() -> list[Any]:
    return list(fixed_misses(SMALL, configured.mix("reference_fixed")))


def replay_faults() -> list[str]:
    """Lines whose replayed rewards are not the golden ones, or whose totals are not their sums."""
    rewards, wrong = configured.mix("reference_fixed"), []
    for line, group in zip(read_lines(SMALL), read_rollouts(SMALL), strict=True):
        expected = line["expected_corrected"] or line["expected"]
        found = score.score_group(rewards, group, group.progress)
        rows = all(list(found.terms[name]) == pytest.approx(row, abs=1e-9) for name, row in expected.items())
        sums = [sum(row[g] for row in expected.values()) for g in range(len(group.texts))]
        wrong += [] if rows and list(found.totals) == pytest.approx(sums) else [group.id]
    return wrong


def known_answers() -> list[str]:
    """Names of small sums that come out wrong."""
    weighted = mix.RewardMix({"a": answer.AnsAcc(), "b": answer.AnsAcc()}, {"a": 2.0, "b": 0.5})
    right, group = parse.parse_completion("<answer>B</answer>", parse.BoxScale(1, 1)), summary.RewardSummary()
    table = weighted([right], sample(task=Task.GENERAL_MCQ, letter="B"), 0.0)
    missing = weighted([right], sample(task=Task.GENERAL_MCQ, letter=None), 0.0)
    for totals in ((0.0, 1.0), (0.5, 0.5), (3.0,)):
        group.add(score.Scores({"a": totals}, {"a": True}, totals, {}, 0, 0, 0))
    figures = group.summary()["total"]
    found = {
        "weights": table.totals == (2.5,),
        "an undefined term counts 0": missing.totals == (0.0,),
        "the limit itself is recalled": metrics.recall_at([0.5, 0.49], 0.5) == 0.5,
        "no item is no share of nothing": metrics.recall_at([], 0.5) == 0.0,
        "flat groups": figures["flat_groups"] == 0.5 and figures["groups"] == 2,
        "mean over completions": figures["mean"] == pytest.approx(1.0),
        "advantages": ranks.advantages([1.0, 3.0]).tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)]),
        "ties share a rank": ranks.spearman([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(0.75)),
        "flat totals have no order": math.isnan(ranks.spearman([1.0, 1.0], [1.0, 2.0])),
        "logarithmic mean": metrics.log_geometric_mean(0.5, 0.5, 0.5) == pytest.approx(math.log(2)),
        "chains": metrics.mean_over_chains(1.0, 3.0) == 2.0,
    }
    return [name for name, is_right in found.items() if not is_right]


@dataclass(frozen=True)
class Mutant:
    """A wrong version.

    Attributes:
        owner, attribute: what is replaced.
        change: from the right version to the wrong one.
        faults: what must find it.
    """

    owner: Any
    attribute: str
    change: Callable[[Any], Any]
    faults: Callable[[], list[Any]]


def ignoring_gate(original):
    def judged(claims, key_frames, gate_s):
        return original(claims, key_frames, None)

    return judged


def over_open_claims(original):
    def gated(claims, key_frames, gate_s, denominator):
        opened = [v for v in thinking.judge_claims(claims, key_frames, gate_s) if v.frame] if key_frames else []
        return original(claims, key_frames, gate_s, max(1, len(opened)))

    return gated


def nearest_only(original):
    return lambda cited, key_s, sigma_s: max((original([t], key_s, sigma_s) for t in cited), default=0.0)


def smaller_area(a, b):
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    least = min(area(a), area(b))
    return shared / least if least > 0 else 0.0


def first_sample(original):
    """The sample index never advances: everybody meets the first sample of the batch."""
    return lambda group: (
        [((done,), group.samples[0]) for done in group.completions] if group.is_batch else original(group)
    )


def unweighted(original):
    def called(self, completions, sample, progress) -> RewardTable:
        table = original(self, completions, sample, progress)
        return replace(table, totals=tuple(sum(row) for row in table.values))

    return called


OWN = {
    "the gate is ignored": Mutant(thinking, "judge_claims", ignoring_gate, reward_faults),
    "mean over the claims that pass": Mutant(thinking, "gated_spatial", over_open_claims, reward_faults),
    "first key frame instead of the nearest": Mutant(
        thinking, "nearest_frame", lambda f: lambda t, frames, gate: f(t, frames[:1], gate), reward_faults
    ),
    "nearest time instead of the mean": Mutant(
        thinking, "temporal_proximity", nearest_only, reward_faults
    ),
    "overlap over the smaller area": Mutant(thinking, "box_iou", lambda _: smaller_area, reward_faults),
    "temporal overlap over the longer span": Mutant(
        answer,
        "tiou",
        lambda f: lambda a, b: f(a, b) * (max(a[1], b[1]) - min(a[0], b[0])) / max(a[1] - a[0], b[1] - b[0], 1e-9),
        reward_faults,
    ),
    "the answer may stand anywhere": Mutant(parse, "find_answer", lambda _: lambda text: text, reward_faults),
    "an unpaired tag is fine": Mutant(
        importlib.import_module("o3v.rewards.format"), "is_paired", lambda _: lambda text, tag: True, reward_faults
    ),
    "letters in lower case too": Mutant(
        reference_fixed, "_read_letter", lambda f: lambda text, task: (f(text.upper(), task) or None), reward_faults
    ),
    "sample index slip": Mutant(score, "_calls", first_sample, replay_faults),
    "a lost term loses the total": Mutant(score, "_total", lambda _: lambda *given: 0.0, replay_faults),
    "weights ignored": Mutant(mix.RewardMix, "__call__", unweighted, known_answers),
    "recall above the limit": Mutant(
        metrics, "recall_at", lambda f: lambda values, at: f([v - 1e-9 for v in values], at), known_answers
    ),
    "every group is flat": Mutant(summary, "is_flat", lambda _: lambda values: True, known_answers),
    "a single completion is a flat group": Mutant(
        summary.Column, "add", lambda f: lambda self, v: f(self, [*v, *v]) if len(v) == 1 else f(self, v), known_answers
    ),
    "ties broken by place": Mutant(
        ranks, "ranks", lambda _: lambda v: ranks.np.argsort(ranks.np.argsort(v, kind="stable")) + 1.0, known_answers
    ),
    "deviation over G": Mutant(ranks, "advantages", lambda f: lambda v: f(v) * math.sqrt(2), known_answers),
}  # fmt: skip


@pytest.mark.parametrize("find", [reward_faults, replay_faults, known_answers])
def test_the_right_version_has_no_fault(find):
    assert find() == []


@pytest.mark.parametrize("name", OWN)
def test_a_wrong_version_is_caught(name, monkeypatch):
    mutant = OWN[name]
    original = getattr(mutant.owner, mutant.attribute)
    monkeypatch.setattr(mutant.owner, mutant.attribute, mutant.change(original))
    assert mutant.faults()


@pytest.mark.parametrize("module", GATHERED)
def test_the_tables_of_other_tests_hold_what_is_listed(module):
    table, *names = GATHERED[module]
    assert set(names) <= set(getattr(importlib.import_module(module), table))


def test_there_are_many():
    tables = (getattr(importlib.import_module(module), names[0]) for module, names in GATHERED.items())
    assert len(OWN) >= 10
    assert len(OWN) + sum(map(len, tables)) >= 50
