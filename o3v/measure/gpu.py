"""The parts of a GSPO step on a GPU, all ways of each part in one process: seconds, peak memory, and how exact.

A step is put together from its parts afterwards: reading the prompt, drawing its completions, forward and backward
pass of training. Vision tower and language model are real classes at real sizes with random weights; what a part costs
does not depend on what the weights are.
"""

from __future__ import annotations

import gc
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from o3v.errors import ConfigError, UserError
from o3v.measure.model import frames_prompt, random_tokenizer
from o3v.models.load import ModelSpec, make_policy
from o3v.models.logprobs import dense_scores, kept_scores, packed_scores
from o3v.models.prefix import Prefix, read_prompts
from o3v.rollout.sampler import Sampling, sample_from
from o3v.types import Rollout

if TYPE_CHECKING:
    from o3v.models.head import TokenScores
    from o3v.models.policy import Encoded, Policy

log = logging.getLogger(__name__)

DECODERS = ("dense", "eager", "graph")
TRAINING = ("dense", "packed-split", "packed-flex", "kept-split", "kept-flex")
TOLERANCE = 1e-4
"""Largest difference of a log-probability (nats) and of the gradient (relative) in float32; 36 layers of products in
different order give 1e-6 to 1e-5."""

_TOKENIZER_SIZE = 1000
_NEVER = -1
"""No token ends a completion: each reaches its full length."""


class InexactError(UserError):
    """Some way differs from dense rows in float32; there are no figures then."""


@dataclass(frozen=True)
class GpuCase:
    """What is measured.

    Attributes:
        spec: a model that is made from nothing (`architecture` is set), in the type of numbers to measure in.
        vocab_size: rows of its embedding and head.
        sizes: [prompt tokens P, completion tokens L] of each measured step.
        sampling: G, temperature; `max_new_tokens` is overwritten by each L.
        image_px: side of the square frames that fill a prompt.
        most_frames: frames of a prompt, the rest is text; null for as many as fit.
        exact_size: [P, L] at which the ways are compared in float32 first.
        repeats: measured runs of each part after a first one; the quickest counts.
        decoders: of `DECODERS`.
        training: of `TRAINING`.
        seed: of weights, frames and draws.
    """

    spec: ModelSpec
    vocab_size: int
    sizes: Sequence[Sequence[int]]
    sampling: Sampling
    image_px: int
    most_frames: int | None
    exact_size: Sequence[int]
    repeats: int
    decoders: Sequence[str]
    training: Sequence[str]
    seed: int

    def __post_init__(self) -> None:
        for name, allowed in (("decoders", DECODERS), ("training", TRAINING)):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ConfigError(f"bench gpu_step: {name} has {value!r}; allowed are {list(allowed)}")
        if self.spec.architecture is None:
            raise ConfigError("bench gpu_step: model.architecture is null; the measured model is made from nothing")


def measure_gpu(case: GpuCase) -> Iterator[dict[str, Any]]:
    """Exactness in float32, then seconds and memory of every part; a plain dictionary for a results file a size.

    Raises:
        ConfigError: there is no GPU.
        InexactError: a way of training differs from dense rows.
    """
    if not torch.cuda.is_available():
        raise ConfigError("bench gpu_step: no GPU here; python -m o3v.bench step measures on a CPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    policy = _policy(case)
    exactness = _exactness(case, policy)
    log.info("float32 differences from dense rows: %s", exactness)
    for weight in policy.model.parameters():
        weight.data = weight.data.to(getattr(torch, case.spec.dtype))
    common = {"case": _plain(case), "machine": _machine(), "exactness_float32": exactness}
    for size in case.sizes:
        yield common | _measure_size(case, policy, *size)


def _policy(case: GpuCase) -> Policy:
    with torch.device("cuda"):
        policy = make_policy(case.spec, random_tokenizer(_TOKENIZER_SIZE), case.seed)
        policy.model.resize_token_embeddings(case.vocab_size, mean_resizing=False)
    policy.model.cuda().train()
    return policy


def _prompt(case: GpuCase, policy: Policy, tokens: int) -> Encoded:
    prompt = frames_prompt(policy, tokens, case.image_px, case.seed, case.most_frames)
    encoded = policy.encode([prompt]).to("cuda")
    return replace(encoded, pixel_values=encoded.pixel_values.to(next(policy.model.parameters()).dtype))


def _completions(case: GpuCase, length: int) -> tuple[Tensor, Tensor]:
    """Random ids [G, L], and a mask that counts all of them."""
    generator = torch.Generator().manual_seed(case.seed)
    ids = torch.randint(_TOKENIZER_SIZE // 2, case.vocab_size, (case.sampling.group_size, length), generator=generator)
    return ids.cuda(), torch.ones_like(ids, dtype=torch.bool).cuda()


def _scores(way: str, policy: Policy, encoded: Encoded, ids: Tensor, mask: Tensor) -> TokenScores:
    name, _, kernel = way.partition("-")
    if name == "dense":
        return dense_scores(policy, encoded, ids, mask)
    if name == "packed":
        return packed_scores(policy, encoded, ids, mask, kernel=kernel)
    return kept_scores(policy, read_prompts(policy, encoded), ids, mask, kernel=kernel)


# ---- exactness


def _exactness(case: GpuCase, policy: Policy) -> dict[str, dict[str, float]]:
    """Largest difference of a log-probability, and relative difference of the whole gradient, from dense rows."""
    encoded = _prompt(case, policy, case.exact_size[0])
    given = (policy, encoded, *_completions(case, case.exact_size[1]))
    wanted, slopes = _with_gradient("dense", *given)
    found = {way: _difference(wanted, slopes, *_with_gradient(way, *given)) for way in case.training if way != "dense"}
    for way, differences in found.items():
        if max(differences.values()) > TOLERANCE:
            raise InexactError(f"bench gpu_step: {way} differs from dense rows: {differences}; allowed is {TOLERANCE}")
    return found


def _with_gradient(way: str, policy: Policy, *given: Any) -> tuple[Tensor, list[Tensor]]:
    scores = _scores(way, policy, *given)
    weights = torch.linspace(-1, 1, scores.logprobs.numel(), device="cuda").view_as(scores.logprobs)
    (scores.logprobs * weights).sum().backward()
    grads = [weight.grad for weight in policy.model.parameters() if weight.grad is not None]
    policy.model.zero_grad(set_to_none=True)
    return scores.logprobs.detach(), grads


def _difference(wanted: Tensor, slopes: list[Tensor], found: Tensor, found_slopes: list[Tensor]) -> dict[str, float]:
    apart = sum(float((a - b).norm()) ** 2 for a, b in zip(found_slopes, slopes, strict=True)) ** 0.5
    size = sum(float(slope.norm()) ** 2 for slope in slopes) ** 0.5
    return {"logprobs": float((found - wanted).abs().max()), "gradient": apart / size}


# ---- seconds and memory


@contextmanager
def _timed(figures: dict[str, float], name: str) -> Iterator[None]:
    """Adds the seconds between two moments at which the device has finished."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    yield
    end.record()
    torch.cuda.synchronize()
    figures[name] = start.elapsed_time(end) / 1000


def _best(case: GpuCase, run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Smallest seconds and largest memory over the repeats; the first run, which compiles and warms up, apart."""
    runs = [_with_peak(run) for _ in range(1 + case.repeats)]
    first = {f"first_{name}": value for name, value in runs[0].items() if name.endswith("_s")}
    seconds = {name: min(figures[name] for figures in runs[1:]) for name in runs[0] if name.endswith("_s")}
    return seconds | {"peak_mb": max(figures["peak_mb"] for figures in runs[1:])} | first


def _with_peak(run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Adds the highest memory of a run above what there was before it, MiB."""
    gc.collect()
    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    figures = run()
    return figures | {"peak_mb": (torch.cuda.max_memory_allocated() - base) / 2**20}


def _measure_size(case: GpuCase, policy: Policy, prompt: int, completion: int) -> dict[str, Any]:
    encoded = _prompt(case, policy, prompt)
    ids, mask = _completions(case, completion)
    policy.model.train()
    parts: dict[str, dict[str, float]] = {"read": _best(case, partial(_read, policy, encoded))}
    for name in case.decoders:
        run = _dense_rollout if name == "dense" else partial(_shared_rollout, decoder=name)
        parts[f"rollout {name}"] = _best(case, partial(run, case, policy, encoded, completion))
        log.info("P=%d L=%d rollout %s: %s", prompt, completion, name, parts[f"rollout {name}"])
    for way in case.training:
        parts[f"training {way}"] = _best(case, partial(_train, policy, encoded, ids, mask, way))
        log.info("P=%d L=%d training %s: %s", prompt, completion, way, parts[f"training {way}"])
    size = {"prompt": prompt, "completion": completion, "frames": sum(encoded.images)}
    return size | {"parts": parts, "parity": _parity(case, policy, encoded, completion)}


def _read(policy: Policy, encoded: Encoded) -> dict[str, float]:
    figures: dict[str, float] = {}
    with torch.no_grad(), _timed(figures, "vision_s"):
        policy.model.model.visual(encoded.pixel_values, grid_thw=encoded.image_grid_thw)
    with torch.no_grad(), _timed(figures, "whole_s"):
        read_prompts(policy, encoded)
    return figures


def _draw(case: GpuCase, policy: Policy, prefix: Prefix, length: int, decoder: str) -> Rollout:
    sampling = replace(case.sampling, max_new_tokens=length, decoder=decoder)
    return sample_from(policy, prefix, sampling, list(range(sampling.group_size)), _NEVER)


def _shared_rollout(case: GpuCase, policy: Policy, encoded: Encoded, length: int, decoder: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    with torch.no_grad(), _timed(figures, "read_s"):
        prefix = read_prompts(policy, encoded)
    with _timed(figures, "decode_s"):
        _draw(case, policy, prefix, length, decoder)
    return figures


def _dense_rollout(case: GpuCase, policy: Policy, encoded: Encoded, length: int) -> dict[str, float]:
    """The library's `generate` over G rows that each carry the prompt."""
    figures: dict[str, float] = {}
    policy.model.eval()
    with torch.no_grad(), _timed(figures, "decode_s"):
        policy.model.generate(
            **encoded.repeat(case.sampling.group_size).inputs(),
            do_sample=True,
            top_k=0,
            min_new_tokens=length,
            max_new_tokens=length,
        )
    policy.model.train()
    return figures | {"read_s": 0.0}


def _train(policy: Policy, encoded: Encoded, ids: Tensor, mask: Tensor, way: str) -> dict[str, float]:
    """Forward and backward pass; a kept prompt is read with its graph, in place of the rollout's reading."""
    figures: dict[str, float] = {}
    with _timed(figures, "read_s"):
        prefix = read_prompts(policy, encoded) if way.startswith("kept") else None
    with _timed(figures, "forward_s"):
        if prefix is None:
            scores = _scores(way, policy, encoded, ids, mask)
        else:
            scores = kept_scores(policy, prefix, ids, mask, kernel=way.partition("-")[2])
    with _timed(figures, "backward_s"):
        scores.logprobs.mean().backward()
    policy.model.zero_grad(set_to_none=True)
    return figures


def _parity(case: GpuCase, policy: Policy, encoded: Encoded, length: int) -> dict[str, dict[str, float]]:
    """How far the log-probabilities of the draw are from those of the training pass, nats."""
    found = {}
    for decoder in set(case.decoders) - {"dense"}:
        with torch.no_grad():
            rollout = _draw(case, policy, read_prompts(policy, encoded), length, decoder)
            scores = packed_scores(policy, encoded, rollout.ids, rollout.completion_mask)
        apart = (scores.logprobs - rollout.logprobs).abs()
        found[decoder] = {"mean": float(apart.mean()), "max": float(apart.max())}
    return found


def _plain(case: GpuCase) -> dict[str, Any]:
    plain = asdict(case)
    return plain | {"sizes": [list(size) for size in case.sizes], "exact_size": list(case.exact_size)}


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "gpu": torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }
