"""One rollout and its updates: groups, minibatches, ratios, the KL term, and what is logged."""

from dataclasses import replace

import pytest
import torch

from o3v.models.logprobs import dense_scores
from o3v.objectives.policy import PolicyObjective
from o3v.training import rl_update as module
from o3v.training.rl_step import completion_seeds, rl_step
from tests import tiny
from tests.training.steps import (
    GSPO,
    PASSES,
    LengthReward,
    Updater,
    batch_of,
    collected,
    configured,
    learner_of,
    relative,
)

NO_CLIP = replace(GSPO, clip_low=0.9, clip_high=9.0)


@pytest.fixture
def batch(policy):
    return batch_of(policy, tiny.mixed_prompts(policy))


def copied(policy):
    import copy

    return replace(policy, model=copy.deepcopy(policy.model))


def test_an_experience_holds_the_groups_in_order(policy, batch):
    learner = learner_of(policy)
    seen = collected(learner, batch, 0.5)
    assert seen.rollout.group_size == 4 and len(seen.rollout.texts) == 12
    assert [len(group) for group in seen.completions] == [4, 4, 4] == [len(table.totals) for table in seen.tables]
    assert [done.text for group in seen.completions for done in group] == list(seen.rollout.texts)
    assert all(done.box_scale == batch.examples[0].prompt.box_scale for done in seen.completions[0])
    totals = torch.tensor([table.totals for table in seen.tables])
    assert torch.allclose(seen.advantages, learner.objective.advantages(totals))
    assert seen.advantages.sum(1).abs().max() < 1e-4
    again = collected(learner, batch, 0.5)
    assert again.rollout.texts == seen.rollout.texts
    assert collected(learner, replace(batch, index=1), 0.5).rollout.texts != seen.rollout.texts
    assert collected(learner, replace(batch, number=1), 0.5).rollout.texts == seen.rollout.texts  # of another process


def test_every_completion_of_a_run_has_its_own_seed():
    seeds = [s for run in range(3) for batch in range(50) for s in completion_seeds(run, batch, range(8), 8)]
    assert len(set(seeds)) == len(seeds)


def test_processes_that_share_a_batch_draw_what_one_would(policy):
    """A prompt's completions follow from its place in the batch, whatever else is in the process."""
    prompts = tiny.mixed_prompts(policy)
    learner = learner_of(policy)
    whole = collected(learner, batch_of(policy, prompts), 1.0).rollout.texts
    last = replace(batch_of(policy, prompts[-1:]), places=(len(prompts) - 1,))
    assert collected(learner, last, 1.0).rollout.texts == whole[-4:]
    assert collected(learner, replace(last, places=(0,)), 1.0).rollout.texts != whole[-4:]


def test_another_run_seed_draws_other_completions(policy, batch):
    """The seed stands in the upper bits of the completions' seeds, which a generator may not look at."""
    texts = [collected(learner_of(policy, seed=seed), batch, 1.0).rollout.texts for seed in (0, 1)]
    assert all(one != two for one, two in zip(*texts, strict=True))


@pytest.mark.parametrize("way", ["kept", "split", "mask", "dense"])
@pytest.mark.parametrize("prompts_per_pass", [None, 2])
def test_gradient_is_that_of_the_objective_on_dense_logprobs(fresh_policy, batch, way, prompts_per_pass):
    learner = learner_of(
        fresh_policy, passes=replace(PASSES, way=way, prompts_per_pass=prompts_per_pass, old_logprobs="rollout")
    )
    seen = collected(learner, batch, 1.0)
    logprobs = dense_scores(fresh_policy, batch.encoded, seen.rollout.ids, seen.rollout.completion_mask).logprobs
    expected = Updater(fresh_policy)
    mask = seen.rollout.completion_mask
    expected(GSPO.loss(logprobs, seen.rollout.logprobs, None, seen.advantages.flatten(), mask).loss, True)
    found = Updater(fresh_policy)
    rl_step(learner, batch, 1.0, found)
    assert len(found.gradients) == 1 and found.parts == (1 if prompts_per_pass is None else 2)
    assert relative(found.gradients[0], expected.gradients[0]) < 1e-5
    assert sum(found.losses) == pytest.approx(expected.losses[0], abs=1e-6)


def test_two_prompts_together_are_the_mean_of_each_alone(fresh_policy, batch):
    together, apart = Updater(fresh_policy), Updater(fresh_policy)
    rl_step(learner_of(fresh_policy), batch, 1.0, together)
    rl_step(learner_of(fresh_policy, replace(GSPO, minibatches=3)), batch, 1.0, apart)  # learning rate 0
    assert len(apart.gradients) == 3
    assert relative(together.gradients[0], torch.stack(apart.gradients).mean(0)) < 1e-5
    assert together.losses[0] == pytest.approx(sum(apart.losses) / 3, abs=1e-5)


def test_prompts_alone_take_the_same_completions_when_the_seeds_are_theirs(fresh_policy):
    """A batch of one is the first prompt of a larger batch: neighbours change neither rollout nor gradient."""
    prompts = tiny.mixed_prompts(fresh_policy)
    flat = LengthReward(flat=("s1", "s2"))  # only the first prompt has a gradient
    alone, among = Updater(fresh_policy), Updater(fresh_policy)
    rl_step(learner_of(fresh_policy), batch_of(fresh_policy, prompts[:1]), 1.0, alone)
    rl_step(learner_of(fresh_policy, rewards=flat), batch_of(fresh_policy, prompts), 1.0, among)
    assert relative(among.gradients[0] * 3, alone.gradients[0]) < 1e-5  # flat groups count in the denominator


@pytest.mark.parametrize("way", ["kept", "split"])
def test_groups_without_a_signal_are_left_out_and_counted(policy, batch, monkeypatch, way):
    scored = []

    def counting(self, groups, prefix, right=module._Rollout.scores):
        scored.append((list(groups), prefix is not None))
        return right(self, groups, prefix)

    monkeypatch.setattr(module._Rollout, "scores", counting)
    learner = learner_of(
        policy,
        rewards=LengthReward(flat=("s1",)),
        passes=replace(PASSES, way=way, prompts_per_pass=None, old_logprobs="rollout"),
    )
    metrics, _ = rl_step(learner, batch, 1.0, lambda loss, last: loss.backward() or 0.0)
    policy.model.zero_grad()
    assert scored == [([0, 2], way == "kept")]
    assert metrics["zero_variance"] == pytest.approx(1 / 3) and metrics["skipped_update"] == 0.0


def test_a_batch_without_any_signal_updates_nothing(policy, batch):
    updater = Updater(policy)
    flat = LengthReward(flat=("s0", "s1", "s2"))
    metrics, seen = rl_step(learner_of(policy, rewards=flat), batch, 1.0, updater)
    assert updater.gradients == [] and metrics["skipped_update"] == 1.0 and metrics["zero_variance"] == 1.0
    assert "loss" not in metrics and seen is not None and not seen.advantages.any()


def test_a_batch_without_readable_samples_is_left_out(policy, batch):
    assert rl_step(learner_of(policy), replace(batch, encoded=None, examples=()), 1.0, None) == ({}, None)


@pytest.mark.parametrize(("parts", "sizes"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (8, [1, 1, 1])])
def test_minibatches(policy, batch, parts, sizes, monkeypatch):
    seen = []

    def recording(rollout, groups, *rest, right=module._update_on):
        seen.append(list(groups))
        return right(rollout, groups, *rest)

    monkeypatch.setattr(module, "_update_on", recording)
    objective = replace(GSPO, minibatches=parts, updates_per_rollout=2)
    rl_step(learner_of(policy, objective), batch, 1.0, lambda loss, last: 0.0)
    assert [len(groups) for groups in seen] == sizes * 2
    assert [b for groups in seen for b in groups] == [0, 1, 2] * 2


def ratios_of(policy, objective, batch, lr):
    metrics, _ = rl_step(learner_of(policy, objective), batch, 1.0, Updater(policy, lr))
    return metrics


def test_the_first_update_has_ratio_one(fresh_policy, batch):
    metrics = ratios_of(fresh_policy, GSPO, batch, 0.0)
    assert metrics["ratio_mean"] == pytest.approx(1.0, abs=1e-5) and metrics["ratio_std"] < 1e-5
    assert metrics["clip_frac"] == 0.0


@pytest.mark.parametrize(("updates", "parts"), [(3, 1), (1, 3)])
def test_later_updates_leave_the_sampling_policy(fresh_policy, batch, updates, parts):
    objective = replace(GSPO, updates_per_rollout=updates, minibatches=parts)
    metrics = ratios_of(fresh_policy, objective, batch, 0.05)
    assert metrics["ratio_std"] > 1e-4
    assert updates == 1 or metrics["clip_frac"] > 0.0


def test_a_ratio_against_the_current_policy_is_caught(fresh_policy, batch, monkeypatch):
    def wrong(self, logprobs, old_logprobs, *rest, right=PolicyObjective.loss):
        return right(self, logprobs, logprobs.detach(), *rest)

    monkeypatch.setattr(PolicyObjective, "loss", wrong)
    metrics = ratios_of(fresh_policy, replace(GSPO, updates_per_rollout=3), batch, 0.05)
    assert metrics["ratio_std"] == 0.0 and metrics["clip_frac"] == 0.0  # what the tests above refuse


def test_minibatches_that_mix_up_rows_are_caught(fresh_policy, batch, monkeypatch):
    """Rows of another group against this group's prompts: the ratio of the first update is then not 1."""

    def shifted(rollout, groups, *rest, right=module._update_on):
        wrong = rollout.prompts.select([(b + 1) % 3 for b in range(3)])
        return right(replace(rollout, prompts=wrong, kept=None), groups, *rest)

    monkeypatch.setattr(module, "_update_on", shifted)
    assert abs(ratios_of(fresh_policy, GSPO, batch, 0.0)["ratio_mean"] - 1.0) > 1e-3


def test_kl_is_zero_at_first_and_grows(fresh_policy, batch):
    objective = replace(NO_CLIP, kl_coef=0.04)
    learner = learner_of(fresh_policy, objective, reference=copied(fresh_policy))
    first, _ = rl_step(learner, batch, 1.0, Updater(fresh_policy, lr=0.05))
    second, _ = rl_step(learner, replace(batch, index=1), 1.0, Updater(fresh_policy, lr=0.05))
    assert first["kl"] == pytest.approx(0.0, abs=1e-9)
    assert second["kl"] > 1e-6


def test_the_reference_learns_nothing(fresh_policy, batch):
    reference = copied(fresh_policy)
    before = [p.clone() for p in reference.model.parameters()]
    learner = learner_of(fresh_policy, replace(GSPO, kl_coef=0.04), reference=reference)
    rl_step(learner, batch, 1.0, Updater(fresh_policy, lr=0.05))
    assert all(
        p.grad is None and torch.equal(p, old) for p, old in zip(reference.model.parameters(), before, strict=True)
    )


def test_updates_raise_the_probability_of_better_completions(fresh_policy, batch):
    learner = learner_of(fresh_policy, NO_CLIP)
    seen = collected(learner, batch, 1.0)

    def scores():
        with torch.no_grad():
            mask = seen.rollout.completion_mask
            return dense_scores(fresh_policy, batch.encoded, seen.rollout.ids, mask).logprobs.sum(1)

    before = scores()
    rl_step(learner, batch, 1.0, Updater(fresh_policy, lr=0.01))
    change = scores() - before
    better = seen.advantages.flatten()
    assert float((change * better).mean()) > 0


def test_metrics_of_the_papers_rewards(policy, batch):
    rewards = configured("reward", "o3")
    learner = learner_of(policy, configured("objective", "gspo"), rewards=rewards, reference=policy)
    metrics, seen = rl_step(learner, batch, 0.5, Updater(policy))
    applies = seen.tables[0].applies
    for term, is_used in zip(rewards.terms, applies, strict=True):
        assert (f"reward/{term}" in metrics) == is_used == (f"reward/{term}_std" in metrics)
    for name in (
        "reward",
        "reward_std",
        "zero_variance",
        "completion_length",
        "completion_length_max",
        "entropy_sampled",
    ):
        assert name in metrics
    assert {"reward_by_task/temporal-spatial free-form QA", "parse_ok", "claims", "times", "gate_open"} <= set(metrics)
    totals = [v for table in seen.tables for v in table.totals]
    assert metrics["reward"] == pytest.approx(sum(totals) / len(totals))
    assert all(isinstance(value, float) for value in metrics.values())


def test_a_completion_keeps_its_reward_table(policy, batch):
    _, seen = rl_step(learner_of(policy), batch, 1.0, Updater(policy))
    for group, table in zip(seen.completions, seen.tables, strict=True):
        assert LengthReward()(group, batch.examples[0].sample, 1.0).totals == table.totals


def test_logged_entropy_and_length_are_those_of_the_rollout(policy, batch):
    metrics, seen = rl_step(learner_of(policy), batch, 1.0, Updater(policy))
    lengths = seen.rollout.completion_mask.sum(1)
    assert metrics["completion_length"] == pytest.approx(float(lengths.float().mean()))
    assert metrics["completion_length_max"] == float(lengths.max())
    assert metrics["entropy_sampled"] == pytest.approx(-float(seen.rollout.logprobs.sum() / lengths.sum()))


# ---- groups drawn again


class FirstDrawFlat(LengthReward):
    """Flat for the named prompts until they have been judged so many times."""

    def __init__(self, flat, times):
        super().__init__(flat)
        self.times, self.seen = times, {}

    def __call__(self, completions, row, progress):
        self.seen[row.id] = self.seen.get(row.id, 0) + 1
        right = LengthReward(self.flat if self.seen[row.id] <= self.times else ())
        return right(completions, row, progress)


@pytest.mark.parametrize(
    ("rounds", "times", "resampled", "rescued", "flat"),
    [(0, 1, 0, 0, 2), (1, 1, 2, 2, 0), (3, 2, 4, 2, 0), (2, 9, 4, 0, 2)],
)
def test_flat_groups_are_drawn_again_up_to_the_cap(policy, batch, rounds, times, resampled, rescued, flat):
    objective = replace(GSPO, resample_flat=rounds)
    plain = collected(learner_of(policy), batch, 1.0)
    learner = learner_of(policy, objective, rewards=FirstDrawFlat(("s0", "s2"), times))
    seen = collected(learner, batch, 1.0)
    assert (seen.resampled, seen.rescued, int(seen.flat.sum())) == (resampled, rescued, flat)
    assert seen.rollout.texts[4:8] == plain.rollout.texts[4:8]  # the group with a signal stays
    changed = [new != old for new, old in zip(seen.rollout.texts, plain.rollout.texts, strict=True)]
    assert any(changed[:4]) == any(changed[8:]) == (rounds > 0)
    metrics, _ = rl_step(replace(learner, rewards=FirstDrawFlat(("s0", "s2"), times)), batch, 1.0, ignored)
    assert (metrics["resampled"], metrics["rescued"]) == (resampled, rescued)
    policy.model.zero_grad()


def ignored(loss, is_last):
    loss.backward()
    return 0.0


def test_a_group_drawn_again_has_the_logprobs_of_its_new_tokens(policy, batch):
    learner = learner_of(policy, replace(GSPO, resample_flat=2), rewards=FirstDrawFlat(("s0", "s2"), 1))
    rollout = collected(learner, batch, 1.0).rollout
    with torch.no_grad():
        right = dense_scores(policy, batch.encoded, rollout.ids, rollout.completion_mask).logprobs
    assert torch.allclose(right, rollout.logprobs, atol=1e-5)
    for row, text in enumerate(rollout.texts):
        assert policy.decode(rollout.ids[row : row + 1].masked_fill(~rollout.completion_mask[row], policy.pad_id)) == [
            text
        ]


# ---- what an update is divided by, old log-probabilities, completions cut off


@pytest.mark.parametrize(("updates", "parts"), [(1, 1), (2, 1), (1, 3)])
def test_recomputed_old_logprobs_are_those_of_the_rollout(fresh_policy, batch, updates, parts):
    """In fp32 the two differ by rounding; a wrong row or a value of a later policy would show."""
    objective = replace(NO_CLIP, updates_per_rollout=updates, minibatches=parts)
    results = []
    for old in ("rollout", "recompute"):
        policy = copied(fresh_policy)
        updater = Updater(policy, 0.05)
        rl_step(
            learner_of(policy, objective, passes=replace(PASSES, way="kept", prompts_per_pass=2, old_logprobs=old)),
            batch,
            1.0,
            updater,
        )
        results.append(updater)
    assert len(results[0].gradients) == len(results[1].gradients) == updates * parts
    for one, two in zip(results[0].gradients, results[1].gradients, strict=True):
        assert relative(one, two) < 1e-3


def test_completions_that_were_cut_off_are_filtered(policy, batch):
    seen = collected(learner_of(policy, replace(GSPO, overlong="filter")), batch, 1.0)
    ends = [policy.eos_id in ids[mask].tolist() for ids, mask in zip(*tokens_of(seen.rollout), strict=True)]
    assert not all(ends)
    assert seen.counted.any(1).tolist() == ends
    assert torch.equal(collected(learner_of(policy), batch, 1.0).counted, seen.rollout.completion_mask)


def tokens_of(rollout):
    return rollout.ids, rollout.completion_mask


def test_the_soft_penalty_lowers_the_advantage_of_long_completions(policy, batch):
    plain = collected(learner_of(policy), batch, 1.0)
    shaped = collected(learner_of(policy, replace(GSPO, overlong_cache=0.5)), batch, 1.0)
    lengths = plain.rollout.completion_mask.sum(1).reshape(3, 4)
    varied = lengths.amax(1) > lengths.amin(1)
    change = shaped.advantages - plain.advantages
    for b in varied.nonzero().flatten().tolist():
        assert change[b, lengths[b].argmax()] < change[b, lengths[b].argmin()]
    assert torch.equal(change[~varied].abs() < 0.5, torch.ones_like(change[~varied]).bool())


def test_entropy_is_that_of_the_scored_tokens(policy, batch):
    metrics, seen = rl_step(learner_of(policy), batch, 1.0, ignored)
    with torch.no_grad():
        scores = dense_scores(policy, batch.encoded, seen.rollout.ids, seen.rollout.completion_mask)
    expected = scores.entropy[seen.rollout.completion_mask].mean()
    assert metrics["entropy"] == pytest.approx(float(expected), abs=1e-4)
    policy.model.zero_grad()
