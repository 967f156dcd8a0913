"""A study's file becomes runs: each configuration once, parents first, the same under any folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

import o3v.cli
import o3v.compose
import o3v.study
from o3v.cli import conf_folder
from o3v.compose import compose_command, override
from o3v.errors import ConfigError
from o3v.study import Study, read_study, run_key, study_names

SMALL = {
    "title": "t",
    "question": "q",
    "baseline": "a",
    "seeds": [0, 1],
    "stages": {"sft": {"overrides": []}, "rl": {"overrides": ["objective=gspo"], "resources": {"timeout_min": 7}}},
    "benchmarks": {"shapes": []},
    "arms": {"a": None, "b": {"rl": ["reward=no_gate"]}, "no_sft": {"sft": None}, "base": {"sft": None, "rl": None}},
}


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a study into a copy of conf/ and reads it."""
    conf = tmp_path / "conf"
    shutil.copytree(conf_folder(), conf)
    for module in (o3v.cli, o3v.compose):
        monkeypatch.setattr(module, "conf_folder", lambda: conf)

    def read(changes: dict | None = None, *overrides: str) -> Study:
        text = yaml.safe_dump({**SMALL, **(changes or {})}, sort_keys=False)
        (conf / "experiment" / "tried.yaml").write_text(f"# @package _global_\n{text}")
        return read_study("tried", [f"paths.output_dir={tmp_path / 'out'}", *overrides])

    return read


def test_arms_share_what_is_equal_and_start_from_the_stage_before(declare):
    study = declare()
    assert study.stages == ("sft", "rl", "eval_shapes")
    by_stage = {stage: [run for run in study.runs.values() if run.stage == stage] for stage in study.stages}
    assert len(by_stage["sft"]) == 2
    assert {run.arms for run in by_stage["sft"]} == {("a", "b")}
    assert {(run.arms, run.seeds) for run in by_stage["rl"]} == {
        ((arm,), (seed,)) for arm in ("a", "b", "no_sft") for seed in (0, 1)
    }
    base = study.members["base", 0]
    assert base == study.members["base", 1]
    assert len(base) == 1
    assert study.runs[base[0]].parent is None
    for run in by_stage["rl"]:
        parent = study.runs[run.parent] if run.parent else None
        assert (parent is None) == (run.arms == ("no_sft",))
        assert any(line.startswith("init_from=") for line in run.overrides) == (parent is not None)
        assert parent is None or parent.seeds == run.seeds
        assert run.resources["timeout_min"] == 7


def test_parents_come_first_and_folders_are_those_of_the_commands(declare):
    study = declare()
    seen: set[str] = set()
    for key, run in study.runs.items():
        assert run.parent is None or run.parent in seen
        seen.add(key)
        cfg = compose_command(run.command, run.overrides)
        assert run_key(run.command, cfg) == key == run.folder.name
        assert Path(cfg.paths.output_dir) == run.folder.parent
        assert cfg.name == run.stage


def test_names_do_not_depend_on_the_place_or_the_cluster(declare, tmp_path):
    here = declare()
    there = declare(None, f"paths.output_dir={tmp_path / 'other'}", "cluster=slurm_cpu")
    assert list(here.runs) == list(there.runs)
    assert {run.resources["kind"] for run in there.runs.values()} == {"slurm"}


def test_another_setting_is_another_run_and_another_arm_changes_no_run(declare):
    before, same = declare(), declare({"arms": {**SMALL["arms"], "c": {"rl": ["reward=no_spatial"]}}})
    changed = declare({"common": ["optim.lr=1e-6"]} | {"benchmarks": {}})
    assert set(before.runs) < set(same.runs)
    assert len(same.runs) - len(before.runs) == 4
    assert not {key for key in changed.runs if not key.startswith("eval")} & set(before.runs)


def test_choices_of_the_command_line(declare):
    study = declare(None, "seeds=[3]", "logger=jsonl")
    assert {run.seeds for run in study.runs.values()} == {(3,)}
    assert all("logger=jsonl" in run.overrides for run in study.runs.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": "x"}, "baseline=x: unknown arm"),
        ({"seeds": []}, "seeds=[]"),
        ({"seeds": [1, 1]}, "each once"),
        ({"arms": {"a": {"rll": []}}}, "arms.a.rll: unknown stage; did you mean 'rl'"),
        ({"stages": {"sft": {"override": []}}}, "stages.sft.override: unknown key of a stage; did you mean"),
        ({"stages": {"sft": {"command": "trian"}}, "arms": {"a": None}}, "did you mean 'train'"),
        ({"stages": {}, "benchmarks": {}, "arms": {"a": None}}, "at least one stage"),
        ({"arms": {"a": {"rl": ["reward=no_gte"]}}}, "arm a, stage rl: reward=no_gte: unknown file"),
        ({"arms": {"a": {"rl": ["optim.lrr=1"]}}}, "arm a, stage rl: optim.lrr=1: unknown key"),
        ({"sedds": [1]}, "sedds"),
    ],
)
def test_a_mistake_is_named(declare, changes, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        declare(changes)


def test_an_unknown_study_names_those_that_exist():
    with pytest.raises(ConfigError, match="shapes_rewards"):
        read_study("shapes_reward")
    assert "shapes_rewards" in study_names()
    assert "paper_sft" not in study_names()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        1e-6,
        "",
        "a b",
        "null",
        "1",
        "x=1,y",
        "it's",
        "back\\slash",
        "end\\",
        "\\'",
        "${a}",
        "é",
        [],
    ],
)
def test_any_value_survives_an_override(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override("key", value))
    assert parsed.value() == value or str(parsed.value()) == value


def test_composing_inside_a_command_leaves_it_as_it_was():
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        compose_command("train", ["seed=3"])
        assert compose("train", ["seed=4"]).seed == 4
