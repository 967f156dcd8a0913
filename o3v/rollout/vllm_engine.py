"""vLLM as an engine, in whatever process has it; imported when the first weights come.

Only vLLM's documented Python interface is used: `LLM.generate` with `prompt_token_ids` and `multi_modal_data`,
`SamplingParams`, `collective_rpc("reload_weights")` from a folder, and the resets of its caches. Its HTTP server takes
pictures beside token ids only in a form that is private to vLLM, which is why the server around this is the project's
own (`o3v.rollout.serving`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from o3v.errors import ConfigError
from o3v.rollout.engine import Ask, Drawn, EngineFault, Reply, Rules, StaleWeights

log = logging.getLogger(__name__)

OLDEST = "0.30"
"""Oldest vLLM that this is written for: its weights can be read anew from a folder, its vision cache can be reset."""

_BANNED_BIAS = -100.0
"""Of a token that must not be drawn; the least that vLLM allows, a probability of e^-100 beside one of even logit."""

_RESETS = ("reset_prefix_cache", "reset_mm_cache", "reset_encoder_cache")


@dataclass(frozen=True)
class VllmSettings:
    """How vLLM runs (conf/vllm).

    Attributes:
        dtype: of weights and computation, vLLM's name.
        tensor_parallel: GPUs over which a model is spread.
        gpu_memory_share: share of a GPU's memory that vLLM may take.
        max_model_len: longest prompt with completion, tokens; null: the model's own.
        max_images: most pictures of a prompt.
        eager: no CUDA graphs.
        sleeps: give the memory back while training computes (colocated).
    """

    dtype: str
    tensor_parallel: int
    gpu_memory_share: float
    max_model_len: int | None
    max_images: int
    eager: bool
    sleeps: bool

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_share <= 1:
            raise ConfigError(f"vllm.gpu_memory_share={self.gpu_memory_share} must be above 0 and at most 1")
        for name in ("tensor_parallel", "max_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"vllm.{name}={getattr(self, name)} must be at least 1")

    def arguments(self, folder: str) -> dict[str, Any]:
        """Keywords of `vllm.LLM`."""
        return {
            "model": folder,
            "dtype": self.dtype,
            "tensor_parallel_size": self.tensor_parallel,
            "gpu_memory_utilization": self.gpu_memory_share,
            "max_model_len": self.max_model_len,
            "limit_mm_per_prompt": {"image": self.max_images},
            "mm_processor_kwargs": {"do_resize": False},  # frames come in the size in which the model sees them
            "enforce_eager": self.eager,
            "enable_sleep_mode": self.sleeps,
            "logprobs_mode": "processed_logprobs",  # after temperature and bans: what was drawn from
            "generation_config": "vllm",  # no sampling settings from the model's folder
            "trust_remote_code": False,
        }


class VllmEngine:
    """vLLM in this process; made when the first weights come.

    Args:
        settings: how it runs.
    """

    def __init__(self, settings: VllmSettings) -> None:
        self._settings = settings
        self._vllm = import_vllm()
        self._llm: Any = None
        self._version: str | None = None

    @property
    def place(self) -> str:
        """Which vLLM."""
        return f"vLLM {self._vllm.__version__} in this process"

    def version(self) -> str | None:
        """Of its weights; None before the first."""
        return self._version

    def load(self, folder: str, version: str) -> str:
        """Take a folder's weights; prompts, pictures and their embeddings that were kept are forgotten."""
        if self._llm is None:
            self._llm = self._vllm.LLM(**self._settings.arguments(folder))
        else:
            self._wake()
            self._version = None  # half of one and half of another, should it fail
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            self._forget()
        self._version = version
        self._sleep()
        return version

    def draw(self, asks: Sequence[Ask], rules: Rules, version: str) -> Reply:
        """Completions of each ask, G of a prompt in one request."""
        if self._version != version:
            raise StaleWeights(f"asked for weights {version!r}, has {self._version!r}")
        self._wake()
        parameters = [self._vllm.SamplingParams(**sampling_arguments(rules, ask.seeds)) for ask in asks]
        outputs = self._llm.generate([_prompt(ask) for ask in asks], parameters, use_tqdm=False)
        self._sleep()
        return Reply(
            version,
            tuple(tuple(output.prompt_token_ids) for output in outputs),
            tuple(_group(output) for output in outputs),
        )

    def _forget(self) -> None:
        for name in _RESETS:
            reset = getattr(self._llm, name, None) or getattr(self._llm.llm_engine, name, None)
            if reset is None:
                raise EngineFault(
                    f"this vLLM has no {name}(), so what old weights computed would stay; wanted >={OLDEST}"
                )
            if reset() is False:
                raise EngineFault(f"vLLM could not do {name}(): something of the old weights is still in use")

    def _sleep(self) -> None:
        if self._settings.sleeps:
            self._llm.sleep(level=1)

    def _wake(self) -> None:
        if self._settings.sleeps:
            self._llm.wake_up()


def import_vllm() -> Any:
    """The library.

    Raises:
        ConfigError: it is not in this environment, with what to do.
    """
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            f"vLLM cannot be imported here ({error}). It wants another torch than the rest of this project: make an "
            "environment of its own from requirements-vllm.txt, start python -m o3v.serve_rollouts in it, and train "
            "with engine=vllm_server (docs/rollout_engines.md)"
        ) from None
    return vllm


def sampling_arguments(rules: Rules, seeds: Sequence[int]) -> dict[str, Any]:
    """Keywords of `vllm.SamplingParams` for one prompt's completions.

    vLLM gives completion k of a request the seed of the request plus k, hence consecutive ones are asked for.

    Raises:
        EngineFault: the seeds are not consecutive.

    Example:
        >>> found = sampling_arguments(Rules(1.0, 1.0, 0, 8, 2, (5,)), (40, 41))
        >>> found["n"], found["seed"], found["logit_bias"]
        (2, 40, {5: -100.0})
    """
    if list(seeds) != list(range(seeds[0], seeds[0] + len(seeds))):
        raise EngineFault(f"seeds of a prompt must be consecutive, not {list(seeds)[:8]}")
    return {
        "n": len(seeds),
        "seed": seeds[0],
        "temperature": rules.temperature,
        "top_p": rules.top_p,
        "top_k": rules.top_k,
        "max_tokens": rules.max_new_tokens,
        "stop_token_ids": [rules.eos_id],
        "ignore_eos": True,  # the model's own list of ends is not the project's
        "logit_bias": dict.fromkeys(rules.banned_ids, _BANNED_BIAS),
        "logprobs": 0,  # of the drawn token alone
        "detokenize": False,
    }


def _prompt(ask: Ask) -> dict[str, Any]:
    from PIL import Image

    prompt: dict[str, Any] = {"prompt_token_ids": list(ask.ids)}
    if ask.frames:
        prompt["multi_modal_data"] = {"image": [Image.fromarray(frame) for frame in ask.frames]}
    return prompt


def _group(output: Any) -> tuple[Drawn, ...]:
    return tuple(_drawn(one) for one in sorted(output.outputs, key=lambda one: one.index))


def _drawn(one: Any) -> Drawn:
    ids = tuple(int(token) for token in one.token_ids)
    return Drawn(ids, tuple(_logprob(chosen, token) for chosen, token in zip(one.logprobs, ids, strict=True)))


def _logprob(chosen: Mapping[int, Any], token: int) -> float:
    return float(chosen[token].logprob)
