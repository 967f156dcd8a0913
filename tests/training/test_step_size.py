"""Tokens and operations of a step that was: by hand, as the plan says, and as the model is seen to do."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.measure.counters import counter
from o3v.models.logprobs import dense_scores
from o3v.objectives.sft import SFTObjective
from o3v.planning.work import How, step_work
from o3v.training import step_size
from o3v.training.rl_step import rl_step
from o3v.training.step_size import Group, drawn_tokens, groups_of, how_of, model_work, train_tokens
from tests import tiny
from tests.planning.cases import preset, rl, sft, sizes_of
from tests.training.steps import PASSES, LengthReward, Updater, batch_of, learner_of

KEPT = How("kept", True, False, True, False, False)
GROUPS = (Group(10, (3, 4), ((2, 4),), True), Group(20, (5, 5), (), False), Group(7, (1, 2), (), True))
NAME = "qwen2_5_vl_7b"


def planned_groups(case):
    """The groups that a plan imagines: all alike."""
    lengths, side = case.lengths, round(case.lengths.frame_tokens**0.5)
    merge = sizes_of(NAME).vision.spatial_merge_size
    size = case.group_size if case.kind == "rl" else 1
    frames = ((side * merge, side * merge),) * lengths.frames
    return (Group(lengths.prompt, (lengths.completion,) * size, frames, True),) * case.prompts


def how_planned(case):
    is_rl = case.kind == "rl"
    return How(case.way, is_rl, is_rl and case.kl, case.spec.train_vision, False, False)


def config_of(name):
    return SimpleNamespace(text_config=sizes_of(name).text, vision_config=sizes_of(name).vision)


@pytest.mark.parametrize("way", ["kept", "split", "mask", "dense"])
@pytest.mark.parametrize("changes", [{}, {"kl": False}, {"prompts": 3}, {"train_vision": False}])
@pytest.mark.parametrize("made", [rl, sft])
def test_equal_lengths_cost_what_the_plan_says(made, way, changes):
    vision = {"train_vision": changes.get("train_vision", True)}
    others = {key: value for key, value in changes.items() if key != "train_vision"}
    case = made(NAME, prompt_pass=way, spec=preset(NAME, gradient_checkpointing=False, **vision), **others)
    planned = sum(part.total for part in step_work(case, sizes_of(NAME)).values())
    assert model_work(config_of(NAME), planned_groups(case), how_planned(case)).total == pytest.approx(
        planned, rel=1e-12
    )


def test_recomputation_is_no_work_of_the_model():
    case = rl(NAME, prompt_pass="split")
    assert case.spec.gradient_checkpointing
    planned = step_work(case, sizes_of(NAME))
    without = sum(part.total for name, part in planned.items() if name != "again")
    assert model_work(config_of(NAME), planned_groups(case), how_planned(case)).total == pytest.approx(without)


def test_tokens_by_hand():
    assert train_tokens(GROUPS, KEPT) == 10 + 3 + 4 + 7 + 1 + 2
    assert train_tokens(GROUPS, replace(KEPT, way="dense")) == 2 * 10 + 3 + 4 + 2 * 7 + 1 + 2
    assert train_tokens(GROUPS, replace(KEPT, way="split", updates=3)) == 3 * (10 + 3 + 4 + 7 + 1 + 2)
    assert drawn_tokens(GROUPS) == 3 + 4 + 5 + 5 + 1 + 2


LENGTHS = st.integers(1, 50)
SOME = st.builds(
    Group,
    LENGTHS,
    st.lists(LENGTHS, min_size=2, max_size=2).map(tuple),
    st.lists(st.tuples(st.sampled_from([4, 8]), st.sampled_from([4, 6])), max_size=2).map(tuple),
    st.booleans(),
)


@given(st.lists(SOME, max_size=4), st.sampled_from(["kept", "split", "dense"]), st.booleans())
def test_work_adds_up_over_groups_and_less_is_learned_from_for_less(groups, way, kl):
    how, config = replace(KEPT, way=way, kl=kl), config_of("tiny_qwen2_5_vl")
    whole = model_work(config, groups, how).total
    assert whole == pytest.approx(sum(model_work(config, [group], how).total for group in groups))
    assert model_work(config, [replace(group, learns=False) for group in groups], how).total <= whole
    assert drawn_tokens(groups) <= train_tokens([replace(g, learns=True) for g in groups], how) or not groups


@given(st.lists(SOME, min_size=1, max_size=3))
def test_what_is_drawn_elsewhere_is_not_this_device_s(groups):
    config = config_of("tiny_qwen2_5_vl")
    for way in ("kept", "split"):
        here, elsewhere = (
            model_work(config, groups, replace(KEPT, way=way, draws=draws)).total for draws in (True, False)
        )
        assert elsewhere < here


@pytest.fixture
def batch(policy):
    return batch_of(policy, tiny.mixed_prompts(policy))


def test_groups_of_an_rl_step(policy, batch):
    learner = learner_of(policy, rewards=LengthReward(flat=("s1",)))
    _, experience = rl_step(learner, batch, 0.5, Updater(policy))
    groups = groups_of(batch, experience)
    assert [group.learns for group in groups] == [True, False, True]
    assert [group.prompt for group in groups] == batch.encoded.attention_mask.sum(1).tolist()
    assert [len(group.frames) for group in groups] == [1, 4, 2]
    patches = sum(down * across for group in groups for down, across in group.frames)
    assert patches == len(batch.encoded.pixel_values)
    assert drawn_tokens(groups) == int(experience.rollout.completion_mask.sum())
    assert how_of(learner, groups) == How("kept", True, False, True, False, False)


def test_groups_of_an_sft_step(policy, batch):
    learner = learner_of(policy, SFTObjective("assistant"), rewards=None, sampling=None)
    groups = groups_of(batch, None)
    assert [group.completions for group in groups] == [(n,) for n in batch.target_mask.sum(1).tolist()]
    assert how_of(learner, groups).way == "dense" and not how_of(learner, groups).draws
    real = int(batch.encoded.attention_mask.sum() + batch.target_mask.sum())
    assert train_tokens(groups, how_of(learner, groups)) == real


def test_a_batch_that_could_not_be_read_has_no_groups(policy, batch):
    empty = replace(batch, encoded=None, examples=())
    assert groups_of(empty, None) == () and train_tokens((), KEPT) == 0


def test_weights_that_change_inside_a_rollout_keep_no_graph(policy):
    learner = learner_of(policy)
    twice = replace(learner, objective=replace(learner.objective, updates_per_rollout=2))
    recomputing = replace(twice, passes=replace(PASSES, old_logprobs="recompute"))
    found = [how_of(each, GROUPS) for each in (learner, twice, recomputing)]
    assert [(how.way, how.updates, how.scores_old) for how in found] == [
        ("kept", 1, False),
        ("split", 2, False),
        ("split", 2, True),
    ]


def test_one_forward_pass_is_what_the_model_is_seen_to_do(policy):
    """One prompt without padding: products and attention of prompt, pixels and target, the head on the target only."""
    prompt = tiny.clip_prompt(policy, 3, 1)
    batch = batch_of(policy, [prompt])
    with counter(policy.model)() as read:
        dense_scores(policy, batch.encoded, batch.target_ids, batch.target_mask)
        seen = read()
    group = groups_of(batch, None)
    forward = model_work(policy.model.config, group, replace(KEPT, way="dense", draws=False)) * (1 / 3)
    assert forward.products == pytest.approx(seen["products"], rel=0.02)


def test_a_frame_that_is_forgotten_is_caught(policy, batch, monkeypatch):
    whole = model_work(policy.model.config, groups_of(batch, None), KEPT).total
    monkeypatch.setattr(step_size, "_frames", lambda encoded: [()] * len(encoded.images))
    assert model_work(policy.model.config, groups_of(batch, None), KEPT).total < 0.9 * whole
