"""Configurations that are allowed and cannot do what they say."""

import pytest

from tests.objectives.made import GSPO, objective


def test_a_configuration_that_cannot_clip_says_so():
    assert GSPO.warnings() == ()
    assert "clipping never acts" in objective(minibatches=1).warnings()[0]
    assert "1 prompts" in GSPO.warnings(prompts=1)[0]
    assert objective(updates_per_rollout=2).warnings(prompts=1) == ()


@pytest.mark.parametrize(
    ("changes", "prompts", "group_size", "words"),
    [
        ({}, 4, 1, "rollout.group_size=1 every advantage is 0"),
        ({"advantage": "leave_one_out"}, 4, 1, "advantage=leave_one_out"),
        ({"resample_flat": 3}, 4, 1, "3 vain rounds"),
        ({"advantage": "batch_std", "updates_per_rollout": 2}, 1, 8, "same as advantage=std"),
        ({"kl_estimator": "k1"}, 4, 8, "gradient of kl_estimator=k1 is 0"),
        ({"kl_coef": 0.0, "kl_bias_correction": True}, 4, 8, "corrects nothing"),
    ],
)
def test_each_says_its_sentence(changes, prompts, group_size, words):
    (sentence,) = objective(**changes).warnings(prompts, group_size)
    assert words in sentence


@pytest.mark.parametrize(
    "changes",
    [{"advantage": "batch_std"}, {"kl_estimator": "k1", "kl_bias_correction": True}, {"kl_estimator": "k2"},
     {"kl_estimator": "k1", "kl_coef": 0.0}, {"overlong": "filter", "overlong_cache": 0.2, "resample_flat": 2}],
)  # fmt: skip
def test_what_works_says_nothing(changes):
    assert objective(**changes).warnings(4, 8) == ()
