"""An engine that answers with the project's own tiny policy, and ways in which an engine can be wrong.

It stands where vLLM would: behind the same server, with the same questions, weights of its own that it reads from the
same folder, and pictures that it turns into tokens itself. It draws with the project's sampler, so that what comes back
can be compared number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from o3v.models.load import load_policy
from o3v.models.policy import Encoded, Policy
from o3v.rollout.draw import Sampling
from o3v.rollout.engine import Ask, Drawn, Reply, Rules, StaleWeights
from o3v.rollout.engines import RolloutEngine, ServerEngine
from o3v.rollout.sampler import sample_completions
from o3v.rollout.serving import ServerSettings, serving
from tests import tiny


class PolicyEngine:
    """What an engine should be; the methods below are where the others go wrong."""

    place = "test engine"

    def __init__(self, family: str = "qwen2_5_vl"):
        self.family = family
        self.policy: Policy | None = None
        self.held: str | None = None
        self.loads: list[str] = []
        self.draws = 0

    def version(self):
        return self.held

    def load(self, folder: str, version: str) -> str:
        self.loads.append(version)
        self.policy = self.read(folder)
        self.held = version
        return version

    def read(self, folder: str) -> Policy:
        return load_policy(tiny.spec(self.family), folder)

    def draw(self, asks: Sequence[Ask], rules: Rules, version: str) -> Reply:
        if version != self.held:
            raise StaleWeights(f"asked for {version!r}, has {self.held!r}")
        self.draws += 1
        answers = [self.one(ask, rules) for ask in asks]
        return Reply(version, tuple(ids for ids, _ in answers), tuple(group for _, group in answers))

    def one(self, ask: Ask, rules: Rules):
        encoded = self.encode(ask)
        sampling = Sampling(
            len(ask.seeds), rules.temperature, rules.top_p, rules.top_k, rules.max_new_tokens, decoder="eager"
        )
        rollout = sample_completions(self.policy, encoded, sampling, ask.seeds)
        rows = zip(rollout.ids, rollout.logprobs, rollout.completion_mask, strict=True)
        group = tuple(Drawn(tuple(ids[kept].tolist()), tuple(lps[kept].tolist())) for ids, lps, kept in rows)
        return tuple(encoded.input_ids[0].tolist()), group

    def encode(self, ask: Ask) -> Encoded:
        """Pictures to pixels and every placeholder to as many as its picture has tokens, as an engine does it."""
        processor, config = self.policy.processor, self.policy.model.config
        pixels = [torch.tensor(frame).movedim(-1, -3) for frame in ask.frames]
        media = processor.image_processor(images=pixels, do_resize=False, return_tensors="pt")
        counts = iter((media["image_grid_thw"].prod(-1) // processor.image_processor.merge_size**2).tolist())
        written = [[token] * (next(counts) if token == config.image_token_id else 1) for token in ask.ids]
        ids = torch.tensor([[token for run in written for token in run]])
        no_pixels, no_grid = media["pixel_values"][:0], media["image_grid_thw"][:0]
        return Encoded(
            ids,
            torch.ones_like(ids),
            (ids == config.image_token_id).long(),
            media["pixel_values"],
            media["image_grid_thw"],
            (len(ask.frames),),
            no_pixels,
            no_grid,
            torch.ones(0),
            (0,),
        )


class Deaf(PolicyEngine):
    """Is told of new weights and keeps the first."""

    def load(self, folder, version):
        return super().load(folder, version) if self.held is None else self.held


class Liar(PolicyEngine):
    """Keeps the first weights and says that it has taken the new ones."""

    def read(self, folder):
        return self.policy or super().read(folder)


class StaleVision(PolicyEngine):
    """Takes new weights, but embeddings of pictures stay those that the first vision tower computed."""

    def read(self, folder):
        fresh = super().read(folder)
        if self.policy is not None:
            fresh.model.model.visual.load_state_dict(self.policy.model.model.visual.state_dict())
        return fresh


class OtherTokens(PolicyEngine):
    """Writes out one placeholder too few, as an engine with another rule for pictures would."""

    def one(self, ask, rules):
        ids, group = super().one(ask, rules)
        return ids[:-1], group


class OtherTemperature(PolicyEngine):
    """Gives log-probabilities before the temperature, as `logprobs_mode=raw_logprobs` would."""

    def one(self, ask, rules):
        return super().one(ask, replace(rules, temperature=1.3 * rules.temperature))


class Noisy(PolicyEngine):
    """Log-probabilities that are a little off, as those of other kernels are."""

    noise = 0.05

    def one(self, ask, rules):
        ids, group = super().one(ask, rules)
        turn = iter(range(10**6))
        return ids, tuple(
            Drawn(d.ids, tuple(min(lp + self.noise * (-1) ** next(turn), 0.0) for lp in d.logprobs)) for d in group
        )


@contextmanager
def served(engine, folder, port: int = 0):
    """The project's server around an engine."""
    with serving(engine, ServerSettings("127.0.0.1", port, str(folder), "O3V_TEST_ENGINE_KEY")) as url:
        yield url


def settings_of(url: str, folder, **changes) -> ServerEngine:
    """As conf/engine/vllm_server.yaml, for a server that is near."""
    from o3v.objectives.correction import Correction

    made = ServerEngine(
        url, str(folder), 60.0, 0.0, 0.05, "O3V_TEST_ENGINE_KEY", Correction("none", "truncate", 2.0), 0.2
    )
    return replace(made, **changes)


def opened(url: str, folder, **changes) -> RolloutEngine:
    return settings_of(url, folder, **changes).open(folder, "run", 0)
