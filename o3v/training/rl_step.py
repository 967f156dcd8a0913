"""One rollout and the updates on it: prompts -> completions -> rewards -> advantages -> loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from o3v.data.stream import Batch, Example
from o3v.errors import ServiceError
from o3v.grounding.parse import parse_completion
from o3v.models.entry import through
from o3v.models.policy import Encoded
from o3v.models.prefix import Prefix, join, read_prompts
from o3v.rollout.sampler import sample_from
from o3v.sections import in_section
from o3v.training.learner import Learner, Update
from o3v.training.peers import ALONE, Peers
from o3v.training.rl_metrics import rollout_metrics
from o3v.training.rl_update import join_updates, learn
from o3v.types import Completion, RewardTable, Rollout


@dataclass(frozen=True)
class Experience:
    """A judged rollout: what the updates and the logs of one step read.

    Attributes:
        examples: B examples.
        rollout: their B*G completions.
        completions: B groups of G parsed texts.
        tables: B reward tables.
        advantages: [B, G].
        flat: [B] bool, groups that teach nothing.
        counted: [B*G, L] bool, tokens that take part in the loss.
        resampled: groups that were drawn again, summed over the rounds.
        rescued: groups that have something to teach because of that.
    """

    examples: tuple[Example, ...]
    rollout: Rollout
    completions: tuple[tuple[Completion, ...], ...]
    tables: tuple[RewardTable, ...]
    advantages: Tensor
    flat: Tensor
    counted: Tensor
    resampled: int
    rescued: int


def rl_step(
    learner: Learner, batch: Batch, progress: float, update: Update, peers: Peers = ALONE
) -> tuple[dict[str, float], Experience | None]:
    """Sample, judge, and learn from one batch of prompts.

    Args:
        learner: the parts.
        batch: B prompts.
        progress: share of the run that is done after this step, 0 to 1; reward schedules follow it.
        update: applies a loss.
        peers: the other processes of the run.

    Returns:
        Metrics, and the experience for tables and pictures (None when no sample of the batch could be read).

    Raises:
        ServiceError: an outside engine has failed this process; the others have been kept from waiting.
    """
    engine = learner.engine
    state = None if engine is None else peers.state()
    (passes,) = peers.most([0 if batch.encoded is None else batch.encoded.vision_passes])
    try:
        with peers.gathered():  # once a rollout, however long it gets
            if engine is not None:  # in any case: other processes may wait for the weights that this one brings
                engine.sampler.follow(learner.policy, batch.index, state)
            rolled_out = None if batch.encoded is None else roll_out(learner, batch, passes, progress)
    except ServiceError:
        join_updates(learner, passes, update, peers)
        raise
    if rolled_out is None:
        join_updates(learner, passes, update, peers)
        return {}, None
    prompts, kept, experience = rolled_out
    metrics = rollout_metrics(experience) | learn(learner, prompts, kept, experience, update, peers)
    return metrics, experience


def roll_out(
    learner: Learner, batch: Batch, vision_passes: int, progress: float
) -> tuple[Encoded, list[Prefix] | None, Experience]:
    """The prompts, the same as they were read where training goes on from there, and their judged completions."""
    assert batch.encoded is not None
    prompts = replace(batch.encoded.to(learner.policy.device), agreed_passes=vision_passes)
    keeps = learner.keeps_graph(len(batch.examples))
    if learner.engine is None:
        prefixes = read(learner, prompts)
        experience = collect(learner, batch, join([p.detach() for p in prefixes]), progress)
    else:
        experience = collect(learner, batch, None, progress)
        prefixes = read(learner, prompts) if keeps else []
    return prompts, prefixes if keeps else None, experience


def read(learner: Learner, prompts: Encoded) -> list[Prefix]:
    """The prompts after their one pass, in the parts in which they will be trained on; with graph where it is kept."""
    policy = learner.policy
    parts = [prompts.select(part) for part in learner.passes.chunks(list(range(len(prompts.input_ids))))]
    with torch.set_grad_enabled(learner.keeps_graph(len(prompts.input_ids))):
        return [through(policy, part, partial(read_prompts, policy, part)) for part in parts]


def collect(learner: Learner, batch: Batch, prefix: Prefix | None, progress: float) -> Experience:
    """Rollout [B*G, L] -> completions -> rewards [B, G, K] -> advantages [B, G].

    The prompts need not have been read where an engine draws.

    Groups whose rewards are all equal are drawn again, with other seeds, up to `resample_flat` times. DAPO
    (arXiv:2503.14476, sec. 3.2) takes other prompts instead; here a batch stays the batch of its number.
    """
    assert learner.sampling is not None
    everyone = list(range(len(batch.examples)))
    experience = judge(learner, batch, draw(learner, batch, prefix, everyone, 0), progress)
    for attempt in range(1, learner.objective.resample_flat + 1):
        flat = [b for b in everyone if experience.flat[b]]
        if not flat:
            break
        again = draw(learner, batch, None if prefix is None else prefix.select(flat), flat, attempt)
        judged = judge(learner, batch, exchange(experience.rollout, again, flat), progress)
        resampled = experience.resampled + len(flat)
        rescued = experience.rescued + len(flat) - int(judged.flat.sum())
        experience = replace(judged, resampled=resampled, rescued=rescued)
    return experience


def draw(learner: Learner, batch: Batch, prefix: Prefix | None, prompts: Sequence[int], attempt: int) -> Rollout:
    """Completions of some of a batch's prompts, the same whichever others are drawn with them."""
    assert learner.sampling is not None
    size = learner.sampling.group_size
    places = batch.places or tuple(range(len(batch.examples)))
    chosen = completion_seeds(learner.seed, batch.index, [places[b] for b in prompts], size, attempt)
    if prefix is not None:
        return through(learner.policy, None, partial(sample_from, learner.policy, prefix, learner.sampling, chosen))
    assert learner.engine is not None and batch.encoded is not None
    asked, encoded = [batch.examples[b].prompt for b in prompts], batch.encoded.select(prompts)
    return learner.engine.sampler.sample(learner.policy, asked, encoded, learner.sampling, chosen)


@in_section("rewards")
def judge(learner: Learner, batch: Batch, rollout: Rollout, progress: float) -> Experience:
    """Texts -> rewards -> advantages."""
    groups = _in_groups(rollout.texts, rollout.group_size)
    completions = tuple(
        tuple(parse_completion(text, example.prompt.box_scale) for text in texts)
        for example, texts in zip(batch.examples, groups, strict=True)
    )
    tables = tuple(
        learner.rewards(group, example.sample, progress)
        for example, group in zip(batch.examples, completions, strict=True)
    )
    rewards = _rewards(tables, rollout)
    ended = _ended(rollout, learner)
    counted = rollout.completion_mask & learner.objective.kept(ended)[:, None]
    flat = learner.objective.flat(*rewards)
    advantages = learner.objective.advantages(*rewards)
    return Experience(batch.examples, rollout, completions, tables, advantages, flat, counted, 0, 0)


def _rewards(tables: Sequence[RewardTable], rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Totals [B, G], terms [B, G, K], weights [K] and completion lengths [B, G], on the host."""
    totals = torch.tensor([table.totals for table in tables], dtype=torch.float32)
    values = torch.tensor([table.values for table in tables], dtype=torch.float32)
    weights = torch.tensor(tables[0].weights, dtype=torch.float32)
    lengths = rollout.completion_mask.sum(1).reshape(len(tables), -1).cpu()
    return totals, values, weights, lengths


def _ended(rollout: Rollout, learner: Learner) -> Tensor:
    """[B*G] bool, completions whose last token is EOS."""
    last = rollout.completion_mask.sum(1, keepdim=True) - 1
    return rollout.ids.gather(1, last).squeeze(1) == learner.policy.eos_id


def exchange(rollout: Rollout, again: Rollout, prompts: Sequence[int]) -> Rollout:
    """A rollout with the groups of some prompts replaced."""
    size = rollout.group_size
    rows = torch.tensor([b * size + g for b in prompts for g in range(size)], device=rollout.ids.device)
    width = max(rollout.ids.shape[1], again.ids.shape[1])

    def replaced(old: Tensor, new: Tensor) -> Tensor:
        wide = old.new_zeros(len(old), width)
        wide[:, : old.shape[1]] = old
        wide[rows] = 0
        wide[rows, : new.shape[1]] = new
        return wide

    texts = list(rollout.texts)
    for row, text in zip(rows.tolist(), again.texts, strict=True):
        texts[row] = text
    return Rollout(
        replaced(rollout.ids, again.ids),
        replaced(rollout.completion_mask, again.completion_mask),
        replaced(rollout.logprobs, again.logprobs),
        tuple(texts),
        size,
    )


def completion_seeds(seed: int, batch: int, places: Sequence[int], group_size: int, attempt: int = 0) -> list[int]:
    """Seeds of completions, different for every run seed, batch, prompt, completion and attempt.

    They do not depend on how many processes share the batch.

    Args:
        seed: of the run.
        batch: number of the batch.
        places: of the prompts among the batch's samples over all processes.
        group_size: G completions of each.
        attempt: how often the group was drawn before.

    >>> len(set(completion_seeds(0, 0, [0, 1], 4) + completion_seeds(0, 1, [0, 1], 4) + completion_seeds(1, 0, [3], 4)))
    20
    >>> completion_seeds(0, 3, [5], 4) == completion_seeds(0, 3, [4, 5], 4)[4:]
    True
    """
    start = (attempt << 60) + ((seed & 0xFFFF) << 44) + (batch << 20)
    return [start + place * group_size + k for place in places for k in range(group_size)]


def _in_groups(texts: Sequence[str], group_size: int) -> list[Sequence[str]]:
    return [texts[i : i + group_size] for i in range(0, len(texts), group_size)]
