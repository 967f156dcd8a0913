"""The files under conf/objective: what each one sets, their warnings, the optimizer file of the same name."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from o3v.objectives.policy import PolicyObjective

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))
POLICY = [name for name in NAMES if not name.startswith("sft")]


def configured(name, *overrides):
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+objective={name}", "+rollout=default", "+data=shapes", *overrides])
        return instantiate(config.objective, _convert_="all")


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_file_instantiates(name):
    made = configured(name)
    assert (CONF / "objective" / f"{name}.yaml").read_text().startswith("# ")
    assert (CONF / "optim" / f"{name}.yaml").exists()
    assert made.needs_rollout == (name in POLICY)
    assert bool(made.warnings(prompts=4, group_size=8)) == name.endswith("_reference")


@pytest.mark.parametrize("name", POLICY)
def test_the_limit_is_that_of_the_rollout(name):
    assert configured(name, "rollout.max_new_tokens=77").max_length == 77


def test_what_the_names_stand_for():
    made = {name: configured(name) for name in POLICY}

    def chosen(field):
        return {name: getattr(one, field) for name, one in made.items()}

    common = dict.fromkeys(POLICY)
    assert chosen("ratio_level") == dict.fromkeys(POLICY, "token") | {
        "gspo": "sequence", "gspo_reference": "sequence", "gspo_token": "sequence_token"
    }  # fmt: skip
    assert chosen("surrogate") == dict.fromkeys(POLICY, "clip") | {"cispo": "cispo"}
    assert chosen("aggregation") == dict.fromkeys(POLICY, "sequence") | {
        "cispo": "token", "dapo": "token", "dr_grpo": "constant"
    }  # fmt: skip
    assert chosen("advantage") == dict.fromkeys(POLICY, "std") | {
        "dr_grpo": "mean_only", "gspo_reference": "reference"
    }  # fmt: skip
    assert {name for name in common if made[name].needs_reference} == {"gspo", "gspo_token", "gspo_reference", "grpo"}
    assert (made["dapo"].clip_low, made["dapo"].clip_high, made["dapo"].overlong_cache) == (0.2, 0.28, 0.2)


def test_the_classes_have_no_defaults():
    with pytest.raises(TypeError, match="15 required"):
        PolicyObjective()
