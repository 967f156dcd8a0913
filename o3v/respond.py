"""Who answers a benchmark's questions: the configured model, once a question or by vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from o3v.benchmarks.question import Question
    from o3v.benchmarks.runner import Respondent
    from o3v.benchmarks.shards import Shard
    from o3v.models.policy import Policy
    from o3v.rollout.sampler import Sampling
    from o3v.types import Prompt, Rollout
    from o3v.video.reader import Reader

SCORER_TOKENS = 8
"""Longest reply of the model about crops; it is asked for one digit."""


def respondent_of(cfg: DictConfig, reader: Reader, folder: Path, shard: Shard) -> Respondent:
    """Load the model and make the respondent of a configuration.

    Args:
        cfg: model, checkpoint, rollout, voting, trainer.
        reader: decodes and resizes.
        folder: of the run; paths of a vote are kept there.
        shard: which worker this is.

    Raises:
        ConfigError: weights are not there, or a vote among paths that are all equal.
    """
    import torch

    from o3v.benchmarks.ask import QuestionPreparer
    from o3v.benchmarks.records import Identity
    from o3v.benchmarks.runner import Respondent
    from o3v.config import build
    from o3v.models.load import load_policy

    settings, sampling, voter = build(cfg, "trainer"), build(cfg, "rollout"), build(cfg, "voting")
    if settings.threads is not None:
        torch.set_num_threads(max(1, settings.threads // shard.count))
    policy = load_policy(build(cfg, "model"), cfg.checkpoint)
    if settings.lightning["accelerator"] == "gpu":
        policy.model.to("cuda")
    if voter is None or voter.paths == 1:
        answer = _once(respond_with(policy, sampling, cfg.seed))
    else:
        file = folder / f"paths-{shard.index}-of-{shard.count}.jsonl"
        answer = _by_vote(voter, policy, sampling, build(cfg, "benchmark"), cfg.seed, file)
    prepare = QuestionPreparer(reader, policy.family)
    return Respondent(prepare, answer, Identity(cfg.checkpoint or cfg.model.path, folder.name, cfg.seed))


def respond_with(policy: Policy, sampling: Sampling, seed: int) -> Callable[[Sequence[Prompt]], list[str]]:
    """Prompts -> one text each, by this model; what a prompt is answered does not depend on its neighbours."""
    from o3v.errors import ConfigError

    if sampling.group_size != 1:
        raise ConfigError(f"rollout.group_size={sampling.group_size}: a question is answered once; allowed is 1")

    def respond(prompts: Sequence[Prompt]) -> list[str]:
        return list(_sample(policy, prompts, sampling, [seed] * len(prompts)).texts)

    return respond


def draw_with(policy: Policy, sampling: Sampling) -> Callable[[Sequence[Prompt], Sequence[int]], list[tuple[str, int]]]:
    """Prompts and N seeds each -> N texts each with their lengths in tokens; one prompt pass for all N."""

    def draw(prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[tuple[str, int]]:
        drawn = _sample(policy, prompts, sampling, seeds)
        return list(zip(drawn.texts, drawn.completion_mask.sum(1).tolist(), strict=True))

    return draw


def _sample(policy: Policy, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> Rollout:
    """Completions of prompts; questions about one clip read what they have in common once."""
    import torch

    from o3v.models.common_prompt import read_together
    from o3v.rollout.sampler import sample_from

    with torch.no_grad():
        prefix = read_together(policy, policy.encode(prompts).to(policy.device), [id(p.clip) for p in prompts])
    return sample_from(policy, prefix, sampling, seeds)


def _once(respond: Callable[[Sequence[Prompt]], list[str]]) -> Callable[[Sequence[tuple[Question, Prompt]]], list[str]]:
    def answer(asked: Sequence[tuple[Question, Prompt]]) -> list[str]:
        return respond([prompt for _, prompt in asked])

    return answer


def _by_vote(
    voter: Any, policy: Policy, sampling: Sampling, benchmark: Any, seed: int, file: Path
) -> Callable[[Sequence[tuple[Question, Prompt]]], list[str]]:
    from o3v.benchmarks.records import cut_partial_line
    from o3v.benchmarks.voting.answering import VotingRespondent, plain_key

    cut_partial_line(file)
    scorer = replace(sampling, group_size=1, temperature=0.0, max_new_tokens=SCORER_TOKENS)
    return VotingRespondent(
        voter=voter,
        draw=draw_with(policy, replace(sampling, group_size=voter.paths)),
        respond=respond_with(policy, scorer, seed),
        read=getattr(benchmark, "read_answer", plain_key),
        score=benchmark.score,
        letters=lambda question: question.truth.get("options", ()),
        seed=seed,
        file=file,
    )
