"""Which engine draws the completions of training (conf/engine)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from o3v.errors import ConfigError
from o3v.objectives.correction import Correction
from o3v.rollout.draw import Sampling
from o3v.rollout.remote import RemoteEngine
from o3v.rollout.vllm_engine import VllmEngine, VllmSettings, import_vllm

if TYPE_CHECKING:
    from o3v.rollout.outside import OutsideEngine


@dataclass(frozen=True)
class RolloutEngine:
    """An outside engine and what is made of its answers.

    Attributes:
        sampler: draws.
        correction: for its numerics.
        max_gap: nats by which its log-probabilities and those of training may differ on average over a step's tokens;
            beyond, the run stops: the engine computes with something else than the weights it was given.
    """

    sampler: OutsideEngine
    correction: Correction
    max_gap: float


class EngineSettings(Protocol):
    """What training asks every engine of conf/engine."""

    def check(self, sampling: Sampling, old_logprobs: str) -> None:
        """Refuse what cannot go together, before anything heavy is loaded. Raises ConfigError."""
        ...

    def open(self, folder: Path, name: str, rank: int) -> RolloutEngine:
        """The engine for process `rank` of run `name`; `folder` takes the weights where no other is configured."""
        ...


@dataclass(frozen=True)
class ServerEngine:
    """vLLM in an environment and process of its own (conf/engine/vllm_server.yaml).

    Attributes:
        url: where `python -m o3v.serve_rollouts` listens.
        weights_folder: where weights are written for it, on a disk that both see; null: in the run's folder.
        timeout_s: of one question.
        patience_s: how long a server that does not answer is waited for before the run stops.
        pause_s: between two looks at it.
        key_variable: environment variable with the server's key.
        correction: for the engine's numerics.
        max_gap: nats; see `RolloutEngine`.
    """

    url: str
    weights_folder: str | None
    timeout_s: float
    patience_s: float
    pause_s: float
    key_variable: str
    correction: Correction
    max_gap: float

    def check(self, sampling: Sampling, old_logprobs: str) -> None:
        """Settings that go together, and an address."""
        _check(self.max_gap, sampling, old_logprobs)
        if self.patience_s < 0 or self.pause_s <= 0:
            raise ConfigError(f"engine.patience_s={self.patience_s} must be 0 or more, engine.pause_s above 0")
        self._engine()

    def open(self, folder: Path, name: str, rank: int) -> RolloutEngine:
        """One server for all processes; the first brings the weights."""
        from o3v.rollout.outside import OutsideEngine

        place = Path(self.weights_folder) / name if self.weights_folder else folder
        sampler = OutsideEngine(self._engine(), place, name, rank == 0, self.patience_s, self.pause_s)
        return RolloutEngine(sampler, self.correction, self.max_gap)

    def _engine(self) -> RemoteEngine:
        return RemoteEngine(self.url, self.timeout_s, self.key_variable)


@dataclass(frozen=True)
class ColocatedEngine:
    """vLLM in the training process, on its GPU (conf/engine/vllm_colocated.yaml).

    Attributes:
        vllm: how it runs.
        weights_folder: where weights are written for it, for example below /dev/shm; null: in the run's folder.
        correction: for the engine's numerics.
        max_gap: nats; see `RolloutEngine`.
    """

    vllm: VllmSettings
    weights_folder: str | None
    correction: Correction
    max_gap: float

    def check(self, sampling: Sampling, old_logprobs: str) -> None:
        """Settings that go together, and vLLM beside the rest."""
        _check(self.max_gap, sampling, old_logprobs)
        import_vllm()

    def open(self, folder: Path, name: str, rank: int) -> RolloutEngine:
        """An engine of this process."""
        from o3v.rollout.outside import OutsideEngine

        place = (Path(self.weights_folder) / name if self.weights_folder else folder) / f"rank-{rank}"
        sampler = OutsideEngine(VllmEngine(self.vllm), place, name, True, 0.0, 1.0)
        return RolloutEngine(sampler, self.correction, self.max_gap)


def _check(max_gap: float, sampling: Sampling, old_logprobs: str) -> None:
    """What every engine outside of training asks of the rest."""
    if max_gap <= 0:
        raise ConfigError(f"engine.max_gap={max_gap} must be above 0")
    if old_logprobs != "recompute":
        raise ConfigError(
            f"trainer.old_logprobs={old_logprobs!r}: an outside engine has other numerics than training, so the old "
            "log-probabilities are computed by training: set trainer.old_logprobs=recompute"
        )
    if sampling.temperature == 0 and sampling.group_size > 1:
        raise ConfigError(
            "rollout.temperature=0 with rollout.group_size above 1: the completions would all be the same"
        )
