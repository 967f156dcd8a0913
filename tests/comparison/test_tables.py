"""The table of a benchmark: means, sample sizes, Holm over the arms, shared runs, trivial and published rows."""

import math
from dataclasses import replace

import numpy as np
import pytest

from o3v.benchmarks.pairs import RecordScores
from o3v.benchmarks.permutation import holm
from o3v.comparison.collect import collect
from o3v.comparison.differences import Rules
from o3v.comparison.tables import build_table
from o3v.errors import ConfigError
from tests.comparison.studies import Study, declare, finish, record, scored

PLAIN = RecordScores(resamples=50, seed=0)
RULES = Rules(metrics=None, lower_is_better=[], exchanges=499)


def answers(rng, study: Study, means, n=60):
    return {
        (arm, seed): (rng.random(n) < means[arm]).astype(float) for arm in study.arms for seed in study.seeds
    }  # fmt: skip


def table_of(study, rules=RULES):
    return build_table(collect(study, []), "made", PLAIN, rules)


def plain(table):
    return {
        (arm, metric): (cell.mean, cell.difference) for arm, row in table.arms.items() for metric, cell in row.items()
    }


def test_means_are_students_over_seeds(tmp_path):
    """Seeds with 50, 60 and 70 of 100 right: mean 0.6, sd 0.1, half 4.3027 * 0.1 / sqrt(3)."""
    study = declare(tmp_path, arms=("base",))
    scored(study, {("base", seed): np.arange(100) < 50 + 10 * seed for seed in study.seeds})
    cell = table_of(study).arms["base"]["acc"]
    assert (cell.seeds, cell.videos, cell.questions, cell.mean.kind) == (3, 100, 100, "seeds")
    assert cell.mean.value == pytest.approx(0.6)
    assert cell.mean.high - cell.mean.value == pytest.approx(4.30265272975 * 0.1 / math.sqrt(3))
    assert cell.difference is None


def test_a_single_seed_has_the_interval_by_video(tmp_path):
    study = declare(tmp_path, seeds=(7,))
    scored(study, answers(np.random.default_rng(0), study, {"base": 0.4, "arm": 0.6}))
    table = table_of(study)
    assert {cell.mean.kind for row in table.arms.values() for cell in row.values()} == {"videos"}
    assert table.arms["arm"]["acc"].difference.spread.kind == "videos"


def test_order_of_arms_and_seeds_changes_no_number(tmp_path):
    study = declare(tmp_path, arms=("base", "x", "y"))
    scored(study, answers(np.random.default_rng(1), study, {"base": 0.4, "x": 0.5, "y": 0.7}))
    turned = replace(study, arms=("y", "base", "x"), seeds=(2, 0, 1))
    assert plain(table_of(turned)) == plain(table_of(study))


def test_holm_counts_the_arms_of_one_metric(tmp_path):
    study = declare(tmp_path, arms=("base", "x", "y", "z"))
    scored(study, answers(np.random.default_rng(2), study, {"base": 0.4, "x": 0.5, "y": 0.62, "z": 0.41}))
    found = {arm: row["acc"].difference for arm, row in table_of(study).arms.items() if arm != "base"}
    adjusted = holm({arm: difference.p for arm, difference in found.items()})
    assert {arm: difference.p_holm for arm, difference in found.items()} == adjusted
    assert all(one.p == max(one.spread.p, one.p_exchange) for one in found.values())


def test_no_arm_is_called_better_with_0_in_its_interval(tmp_path):
    for number in range(6):
        study = declare(tmp_path / str(number), arms=("base", "x", "y"))
        rng = np.random.default_rng(number)
        scored(study, answers(rng, study, {"base": 0.4, "x": 0.4 + 0.1 * number, "y": 0.4 - 0.06 * number}))
        for row in table_of(study).arms.values():
            for found in (cell.difference for cell in row.values() if cell.difference is not None):
                if found.spread.low <= 0 <= found.spread.high or found.p_holm > 0.05:
                    assert found.verdict == "no difference shown"
                else:
                    assert found.verdict == ("better" if found.spread.value > 0 else "worse")


def test_less_can_be_better(tmp_path):
    study = declare(tmp_path)
    scored(study, answers(np.random.default_rng(3), study, {"base": 0.2, "arm": 0.9}, 200))
    assert table_of(study).arms["arm"]["acc"].difference.verdict == "better"
    turned = table_of(study, replace(RULES, lower_is_better=["acc"]))
    assert turned.arms["arm"]["acc"].difference.verdict == "worse"


def test_seeds_that_share_a_run_are_one_observation(tmp_path):
    """An arm without training is answered once; three copies of it say nothing about seeds."""
    study = declare(tmp_path)
    scored(study, answers(np.random.default_rng(4), study, {"base": 0.4, "arm": 0.6}))
    shared = {**study.members, **{("base", seed): study.members["base", 0] for seed in study.seeds}}
    table = table_of(replace(study, members=shared))
    cell = table.arms["base"]["acc"]
    assert (cell.seeds, cell.mean.kind) == (1, "videos")
    assert table.arms["arm"]["acc"].difference.seeds == 3
    assert "base: 3 seeds share 1 run; it counts once" in table.notes


def test_an_arm_with_the_baselines_runs_differs_by_nothing(tmp_path):
    study = declare(tmp_path)
    scored(study, answers(np.random.default_rng(5), study, {"base": 0.4, "arm": 0.6}))
    same = {member: study.members["base", member[1]] for member in study.members}
    found = table_of(replace(study, members=same)).arms["arm"]["acc"].difference
    assert (found.spread.value, found.p, found.verdict) == (0.0, 1.0, "no difference shown")


def test_what_is_missing_is_noted_and_left_out(tmp_path):
    study = declare(tmp_path)
    scores = answers(np.random.default_rng(6), study, {"base": 0.4, "arm": 0.6})
    del scores["arm", 2]
    scores["arm", 0] = scores["arm", 0][:50]
    scored(study, scores)
    table = table_of(study)
    found = table.arms["arm"]["acc"]
    assert (found.seeds, found.difference.seeds, found.difference.questions) == (2, 2, 50)
    assert "arm: no finished evaluation for seed 2" in table.notes
    assert any("common ones, 50 in all" in note for note in table.notes)


def test_runs_that_do_not_compare_are_told(tmp_path):
    study = declare(tmp_path, seeds=(0,))
    for arm, changes in (("base", {"frames": 16}), ("arm", {"frames": 32, "error": None})):
        folder = study.runs[study.members[arm, 0][-1]].folder
        finish(folder, [record("q", {"acc": 1.0}, **changes), record("r", {"acc": 0.0}, error="gone")])
        (folder / "config.yaml").write_text(f"reward: {{weights: {{{arm}: 1}}}}\n")
    notes = table_of(study).notes
    assert "frames differs between runs on the same questions" in notes
    assert any("different rewards" in note for note in notes)
    assert "arm: 1 questions could not be answered (media); they count as wrong" in notes


def test_trivial_and_published_rows_stand_apart(tmp_path):
    report = {
        "results": {"guess": {"acc": {"value": 0.25, "low": 0.2, "high": None}}, "model": {}},
        "differences": [{"of": "model", "minus": "guess"}],
    }
    study = declare(tmp_path, seeds=(0,), published={"base": {"made": {"acc": 33.7}, "other": {"acc": 1.0}}})
    for arm in study.arms:
        finish(study.runs[study.members[arm, 0][-1]].folder, [record("q", {"acc": 1.0}, f"v{arm}")], report)
    table = table_of(study)
    assert table.trivial["guess"]["acc"].value == 0.25 and math.isnan(table.trivial["guess"]["acc"].high)
    assert table.published == {"base": {"acc": 33.7}, "base on other": {"acc": 1.0}}
    assert table.arms["base"]["acc"].mean.value == 1.0


def test_columns(tmp_path):
    study = declare(tmp_path)
    scored(study, answers(np.random.default_rng(7), study, {"base": 0.4, "arm": 0.6}))
    assert table_of(study, replace(RULES, metrics=["acc", "mAM"])).metrics == ("acc",)
    with pytest.raises(ConfigError, match=r"metrics=\['mAM'\].*there are \['acc'\]"):
        table_of(study, replace(RULES, metrics=["mAM"]))
