"""Completions from an engine outside of training: weights are brought to it, its answers are checked."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.models.load import save_policy
from o3v.models.policy import Encoded, Policy, pad_right
from o3v.models.weights import save_gathered
from o3v.rollout.draw import Sampling
from o3v.rollout.engine import Ask, Drawn, Engine, EngineAway, EngineFault, Reply, Rules, StaleWeights
from o3v.sections import in_section
from o3v.types import Prompt, Rollout

log = logging.getLogger(__name__)

T = TypeVar("T")

_ROUNDING: Final = 1e-3  # a log-probability may be so much above 0


class OutsideEngine:
    """An engine with the weights that learn, by a folder on a disk that both sides see.

    The weights at the start of batch n of a run have the version `NAME/n`; they are a function of the run's
    configuration and of n, so all processes of a run name them alike, and so does a continued run. An engine that dies
    is waited for. One that comes back with other weights is given the right ones, and the same completions are drawn:
    they follow from their seeds.

    Args:
        engine: the engine.
        folder: where weights are written, one Hugging Face folder at a time.
        name: of the run.
        is_writer: this process brings the weights; the others of a run wait until they are there.
        patience_s: how long an engine that does not answer is waited for.
        pause_s: between two looks at it.
    """

    def __init__(
        self, engine: Engine, folder: Path, name: str, is_writer: bool, patience_s: float, pause_s: float
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._name = name
        self._is_writer = is_writer
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._version: str | None = None
        self._written: Path | None = None

    @property
    def place(self) -> str:
        """Where the engine is."""
        return self._engine.place

    @in_section("weights to engine")
    def follow(self, policy: Policy, batch: int, state: Mapping[str, Tensor] | None = None) -> None:
        """Bring the weights with which a batch starts, once; adapters are built into them.

        Args:
            policy: with these weights.
            batch: number of the batch.
            state: the weights where they are spread over processes, on the process that writes them.

        Raises:
            EngineAway: nobody answered for `patience_s`.
            StaleWeights: the engine says that it has others.
            ConfigError: the weights are spread over processes.
        """
        version = f"{self._name}/{batch}"
        if version == self._version:
            return
        if self._is_writer:
            self._write(policy, batch, state)
        self._version = version
        self._patiently(self._bring)

    @in_section("decode tokens")
    def sample(
        self, policy: Policy, prompts: Sequence[Prompt], encoded: Encoded, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollout:
        """As `o3v.rollout.sampler.sample_completions`, by the engine; log-probabilities are the engine's.

        They are of the distribution it drew from: with top_p or top_k that is the narrowed one.

        Args:
            policy: whose tokens and devices; its weights are not used.
            prompts: B prompts.
            encoded: the same, tokenized.
            sampling: how to draw.
            seeds: B*G integers, G consecutive ones a prompt.

        Raises:
            EngineAway: nobody answered for `patience_s`.
            StaleWeights: the engine keeps other weights.
            EngineFault: an answer that cannot be; says which completion and why.
            ConfigError: a prompt with a native video.
        """
        asks = asks_of(policy, prompts, encoded, list(seeds))
        rules = rules_of(policy, sampling)
        reply = self._patiently(lambda: self._draw(asks, rules))
        rows = policy.model.get_output_embeddings().weight.shape[0]
        check_reply(reply, full_ids(encoded), rules, sampling.group_size, rows, self.place)
        return _rollout(policy, reply, sampling.group_size)

    def close(self) -> None:
        """Remove the weights that were written for the engine."""
        if self._is_writer:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _draw(self, asks: Sequence[Ask], rules: Rules) -> Reply:
        assert self._version is not None, "weights are brought before anything is drawn"
        try:
            reply = self._engine.draw(asks, rules, self._version)
        except StaleWeights as stale:
            log.warning("%s; bringing them again", stale)
            self._bring()
            reply = self._engine.draw(asks, rules, self._version)
        if reply.version != self._version:
            raise StaleWeights(f"{self.place}: drew with weights {reply.version!r}, wanted {self._version!r}")
        return reply

    def _bring(self) -> None:
        assert self._version is not None
        if not self._is_writer:
            self._await_version()
            return
        found = self._engine.load(str(self._written), self._version)
        if found != self._version:
            raise StaleWeights(f"{self.place}: was given weights {self._version!r} and still has {found!r}")

    def _await_version(self) -> None:
        start_s = time.monotonic()
        while (found := self._engine.version()) != self._version:
            if time.monotonic() - start_s > self._patience_s:
                raise StaleWeights(f"{self.place}: has weights {found!r}; {self._version!r} have not come")
            time.sleep(self._pause_s)

    def _write(self, policy: Policy, batch: int, state: Mapping[str, Tensor] | None) -> None:
        target = self._folder / f"weights-{batch}"
        if state is None:
            check_whole(policy)
            save_policy(policy, target)
        else:
            save_gathered(policy, state, target)
        if self._written is not None and self._written != target:
            shutil.rmtree(self._written, ignore_errors=True)
        self._written = target.resolve()

    def _patiently(self, work: Callable[[], T]) -> T:
        start_s = time.monotonic()
        while True:
            try:
                return work()
            except EngineAway as error:
                waited_s = time.monotonic() - start_s
                if waited_s >= self._patience_s:
                    raise EngineAway(
                        f"{error}; waited {waited_s:.0f} s (engine.patience_s={self._patience_s:g}). Start "
                        "python -m o3v.serve_rollouts there, then the same command again: it continues"
                    ) from None
                log.warning("%s; looking again in %g s", error, self._pause_s)
                time.sleep(self._pause_s)


def check_whole(policy: Policy) -> None:
    """Refuse weights of which each process has a part: what would be written is no model.

    Raises:
        ConfigError: names the weight.
    """
    for name, weight in policy.model.named_parameters():
        if hasattr(weight, "ds_id") or hasattr(weight, "device_mesh"):
            raise ConfigError(
                f"{name} is spread over processes (ZeRO-3 or FSDP): engine=vllm_server and vllm_colocated need whole "
                "weights in a process, as with trainer=gpu or ddp; allowed here is engine=own"
            )


def rules_of(policy: Policy, sampling: Sampling) -> Rules:
    """How the engine draws, from how the project draws."""
    return Rules(
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.max_new_tokens,
        policy.eos_id,
        policy.banned_ids,
    )


def asks_of(policy: Policy, prompts: Sequence[Prompt], encoded: Encoded, seeds: list[int]) -> list[Ask]:
    """One question a prompt: its own token ids, one placeholder a picture, and the pictures.

    Raises:
        ConfigError: a prompt has a native video. Engines and transformers count M-RoPE positions after one
            differently (transformers 5 goes on after the larger side of a frame, vLLM after the longest axis).
    """
    placeholder = policy.model.config.image_token_id
    size = len(seeds) // len(prompts)
    asks = []
    for b, (prompt, ids) in enumerate(zip(prompts, full_ids(encoded), strict=True)):
        if encoded.videos[b]:
            raise ConfigError(
                "engine: an outside engine reads frames as pictures, not native videos, whose positions it counts "
                "differently; give the model frames, or draw with engine=own"
            )
        frames = tuple(prompt.clip.frames[part] for part in prompt.parts if isinstance(part, int))
        asks.append(Ask(collapsed(ids, placeholder), frames, tuple(seeds[b * size : (b + 1) * size])))
    return asks


def full_ids(encoded: Encoded) -> list[tuple[int, ...]]:
    """Token ids of each prompt without padding."""
    rows = zip(encoded.input_ids.tolist(), encoded.attention_mask.tolist(), strict=True)
    return [tuple(token for token, kept in zip(ids, mask, strict=True) if kept) for ids, mask in rows]


def collapsed(ids: Sequence[int], placeholder: int) -> tuple[int, ...]:
    """Every run of the placeholder as one: a picture's tokens stand together, two pictures' never do.

    >>> collapsed([1, 9, 9, 9, 2, 9, 9, 3], placeholder=9)
    (1, 9, 2, 9, 3)
    """
    before = (None, *ids)[: len(ids)]
    return tuple(token for token, last in zip(ids, before, strict=True) if token != placeholder or last != placeholder)


def check_reply(
    reply: Reply, prompts: Sequence[Sequence[int]], rules: Rules, group_size: int, vocabulary: int, place: str
) -> None:
    """Is this an answer to what was asked?

    Args:
        reply: the answer.
        prompts: the prompts as training reads them.
        rules: how it was to be drawn.
        group_size: G.
        vocabulary: rows of the model's head.
        place: where the engine is, for messages.

    Raises:
        EngineFault: says which prompt or completion, and why.
    """
    if len(reply.prompt_ids) != len(prompts) or len(reply.completions) != len(prompts):
        raise EngineFault(f"{place}: {len(reply.completions)} prompts answered of {len(prompts)}")
    for b, (own, theirs) in enumerate(zip(prompts, reply.prompt_ids, strict=True)):
        _check_prompt(own, theirs, f"{place}, prompt {b}")
        if len(reply.completions[b]) != group_size:
            raise EngineFault(f"{place}, prompt {b}: {len(reply.completions[b])} completions of {group_size}")
        for g, drawn in enumerate(reply.completions[b]):
            fault = _fault(drawn, rules, vocabulary)
            if fault:
                raise EngineFault(f"{place}, prompt {b}, completion {g}: {fault}")


def _check_prompt(own: Sequence[int], theirs: Sequence[int], place: str) -> None:
    if tuple(own) == tuple(theirs):
        return
    pairs = zip(own, theirs, strict=False)
    first = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(own), len(theirs)))
    raise EngineFault(
        f"{place}: the engine read {len(theirs)} tokens, training reads {len(own)}; they differ from position {first} "
        f"({list(theirs[first : first + 4])} for {list(own[first : first + 4])}), so both would see different prompts"
    )


def _fault(drawn: Drawn, rules: Rules, vocabulary: int) -> str:
    """Why a completion cannot be; "" where it can."""
    length, banned = len(drawn.ids), set(rules.banned_ids)
    if not 1 <= length <= rules.max_new_tokens:
        return f"{length} tokens, allowed are 1 to {rules.max_new_tokens}"
    if len(drawn.logprobs) != length:
        return f"{length} tokens with {len(drawn.logprobs)} log-probabilities"
    wrong = [token for token in drawn.ids if token in banned or not 0 <= token < vocabulary]
    if wrong:
        return f"token {wrong[0]} may never be drawn (a vision or turn token, or none of {vocabulary})"
    if rules.eos_id in drawn.ids[:-1]:
        return f"goes on after the end, {length - drawn.ids.index(rules.eos_id) - 1} tokens"
    if drawn.ids[-1] != rules.eos_id and length < rules.max_new_tokens:
        return f"stops after {length} tokens without the end {rules.eos_id}"
    odd = [value for value in drawn.logprobs if not math.isfinite(value) or value > _ROUNDING]
    return f"a log-probability of {odd[0]}" if odd else ""


def _rollout(policy: Policy, reply: Reply, group_size: int) -> Rollout:
    rows = [drawn for group in reply.completions for drawn in group]
    ids, mask = (part.to(policy.device) for part in pad_right([drawn.ids for drawn in rows], policy.pad_id))
    logprobs = torch.zeros(ids.shape, device=ids.device)
    logprobs[mask] = _flat([drawn.logprobs for drawn in rows]).to(ids.device)
    return Rollout(ids, mask, logprobs, tuple(policy.decode(ids)), group_size)


def _flat(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.float32)
