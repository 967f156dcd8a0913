"""What a case refuses before anything heavy happens."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest

from o3v.errors import ConfigError
from o3v.measure import case as module
from o3v.measure.case import check_arms
from o3v.objectives.sft import SFTObjective
from tests.measure.cases import tiny_case


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps=0", "steps=0 must be at least 1"),
        ("threads=0", "threads=0"),
        ("micro_batch=3", "micro_batch=3 must divide group_size=4"),
        ("prompt_pass=packed", "prompt_pass='packed'; allowed are .*kept"),
        ("model.architecture=null", "architecture is null"),
    ],
)
def test_a_wrong_value_is_named(override, said):
    with pytest.raises(ConfigError, match=said):
        tiny_case(override)


def test_an_objective_without_a_rollout_is_refused():
    given = tiny_case()
    with pytest.raises(ConfigError, match="objective draws no completions"):
        replace(given, objective=SFTObjective(trained_on="assistant"))


def test_rows_a_pass_are_the_whole_group_unless_given():
    assert (tiny_case().micro_batch, tiny_case("micro_batch=2").micro_batch) == (4, 2)


@pytest.mark.parametrize(("arms", "said"), [(["shard"], "'shard'; allowed are"), ([], "arms is empty")])
def test_a_wrong_arm_is_named(arms, said):
    with pytest.raises(ConfigError, match=said):
        check_arms(arms)


def test_trl_must_be_there_in_the_version_that_was_measured(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", absent)
    check_arms(["shared", "dense"])
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[bench\]'"):
        check_arms(["trl"])
    monkeypatch.setattr(module, "version", lambda name: "1.17.0")
    with pytest.raises(ConfigError, match=r"1\.17\.0 is installed"):
        check_arms(["trl"])
    monkeypatch.setattr(module, "version", lambda name: "1.16.3")
    check_arms(["trl"])
