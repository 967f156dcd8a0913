"""What only a GPU can show: its kernels, forward and backward, and decoding from a captured graph."""

import copy
from dataclasses import replace

import pytest
import torch

from o3v.models.decoding import Decoder
from o3v.models.flash import (
    MASK_STRIDE,
    biased_attention,
    block_attention,
    block_attention_backward,
    merge,
    shares_keys,
)
from o3v.models.graph_decoding import GraphDecoder
from o3v.models.logprobs import dense_scores, kept_scores, packed_scores
from o3v.models.prefix import read_prompts
from o3v.rollout.draw import Sampling
from o3v.rollout.sampler import sample_completions
from tests import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

LENGTHS = [5, 9, 1, 4, 7, 2]
KERNELS = ("split", "flex")
BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Relative error of attention; bf16 has 8 bits of mantissa."""


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def on_gpu(policy):
    return replace(policy, model=copy.deepcopy(policy.model).cuda())


@pytest.fixture
def batch(policy):
    prompts = policy.encode(tiny.mixed_prompts(policy)).to("cuda")
    return prompts, *(x.cuda() for x in tiny.ragged(policy, LENGTHS))


def relative(found, wanted):
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def heads(length, dtype, seed=0, kv_heads=4):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(2, kv_heads, length, 64, generator=generator, device="cuda").to(dtype).requires_grad_()


def exact(q, k, v, causal, scale):
    return block_attention(q.double(), k.double(), v.double(), causal, scale)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("keys", [300, 45])
def test_blocks_and_their_merged_gradients(dtype, keys):
    """A block of other keys, not causal, and a causal one of own keys, as completions have them."""
    q, k, v, own_k, own_v = (heads(n, dtype, seed) for seed, n in enumerate((45, keys, keys, 45, 45)))
    parts = [block_attention(q, k, v, False, 0.2), block_attention(q, own_k, own_v, True, 0.2)]
    out, lse = merge(*parts[0], *parts[1])
    wanted, wanted_lse = merge(*exact(q, k, v, False, 0.2), *exact(q, own_k, own_v, True, 0.2))
    assert relative(out, wanted) < BOUNDS[dtype] and float((lse - wanted_lse).abs().max()) < BOUNDS[dtype]
    grad = torch.randn_like(out)
    slopes = torch.autograd.grad(wanted, (q, k, v, own_k, own_v), grad.double())
    first = block_attention_backward(grad, q, k, v, out, lse, False, 0.2)
    own = [x.contiguous() for x in (grad, q, own_k, own_v, out, lse)]
    second = block_attention_backward(*own, True, 0.2)
    found = (first[0] + second[0], *first[1:], *second[1:])
    assert all(relative(a, b) < BOUNDS[dtype] for a, b in zip(found, slopes, strict=True))


@pytest.mark.parametrize("dtype", BOUNDS)
def test_attention_under_a_bias(dtype):
    q, k, v = (heads(n, dtype, seed) for seed, n in enumerate((7, 4 * MASK_STRIDE, 4 * MASK_STRIDE)))
    bias = torch.zeros(4 * MASK_STRIDE, device="cuda", dtype=dtype)
    bias[37:] = -torch.inf
    out, lse = biased_attention(q, k, v, bias, 0.2)
    wanted, wanted_lse = exact(q, k[:, :, :37], v[:, :, :37], False, 0.2)
    assert relative(out, wanted) < BOUNDS[dtype] and float((lse - wanted_lse).abs().max()) < BOUNDS[dtype]


def test_keys_that_several_query_heads_share(on_gpu):
    """Some kernels take them as they are: the same numbers as with the heads folded into one."""
    q, k, v = heads(45, torch.bfloat16), heads(64, torch.bfloat16, 1, 2), heads(64, torch.bfloat16, 2, 2)
    assert shares_keys(q) and not shares_keys(q.float())
    out, lse = block_attention(q, k, v, False, 0.2)
    found = block_attention_backward(torch.ones_like(out), q, k, v, out, lse, False, 0.2)
    wide = (q, *(x.repeat_interleave(2, 1) for x in (k, v)))
    wanted_out, wanted_lse = block_attention(*wide, False, 0.2)
    wanted = block_attention_backward(torch.ones_like(out), *wide, wanted_out, wanted_lse, False, 0.2)
    assert relative(out, wanted_out) < 1e-3 and relative(found[0], wanted[0]) < 1e-2
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert relative(one, other.unflatten(1, (2, 2)).sum(2)) < 1e-2


def scored(policy, way, batch, kernel):
    """Log-probabilities and all gradients of a weighted sum of them."""
    prompts, ids, mask = batch
    policy.model.zero_grad()
    if way == "dense":
        scores = dense_scores(policy, prompts, ids, mask)
    elif way == "packed":
        scores = packed_scores(policy, prompts, ids, mask, kernel=kernel)
    else:
        scores = kept_scores(policy, read_prompts(policy, prompts), ids, mask, kernel=kernel)
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)).cuda()
    (scores.logprobs * weights).sum().backward()
    grads = [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
    return scores.logprobs.detach(), torch.cat(grads)


@pytest.mark.parametrize("way", ["packed", "kept"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_exact_in_float32(on_gpu, batch, way, kernel):
    wanted, wanted_grads = scored(on_gpu, "dense", batch, kernel)
    found, grads = scored(on_gpu, way, batch, kernel)
    assert float((found - wanted).abs().max()) < 1e-4
    assert relative(grads, wanted_grads) < 1e-4


@pytest.mark.parametrize("way", ["packed", "kept"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_as_far_from_float32_as_dense_rows_in_bfloat16(on_gpu, batch, way, kernel):
    """Sharing adds no error of its own to that of the number type."""
    exact_values, exact_grads = scored(on_gpu, "dense", batch, kernel)
    on_gpu.model.bfloat16()
    dense, dense_grads = scored(on_gpu, "dense", batch, kernel)
    found, grads = scored(on_gpu, way, batch, kernel)
    assert relative(found, exact_values) < 1.5 * relative(dense, exact_values) + 1e-3
    assert relative(grads, exact_grads) < 1.5 * relative(dense_grads, exact_grads) + 1e-2


@pytest.mark.parametrize("kernel", KERNELS)
def test_recomputation_in_the_backward_pass(on_gpu, batch, kernel):
    _, wanted = scored(on_gpu, "packed", batch, kernel)
    on_gpu.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    on_gpu.model.train()
    for way in ("packed", "kept"):
        assert relative(scored(on_gpu, way, batch, kernel)[1], wanted) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replays_equal_the_decoder_that_grows(on_gpu, batch, dtype):
    on_gpu.model.to(dtype)
    prefix = read_prompts(on_gpu, batch[0])
    tokens = tiny.ragged(on_gpu, [40] * 6)[0].cuda()
    decoders = (Decoder(on_gpu, prefix, 2, 40), GraphDecoder(on_gpu, prefix, 2, 40, is_captured=True))
    wanted, found = (torch.stack([d.advance(column).clone() for column in tokens.T]) for d in decoders)
    assert relative(found, wanted) < (1e-4 if dtype == torch.float32 else 4e-2)


def test_the_rollout_is_the_same(on_gpu, batch):
    rollouts = [
        sample_completions(on_gpu, batch[0], Sampling(2, 1.0, 1.0, 0, 40, decoder), list(range(6)))
        for decoder in ("eager", "graph")
    ]
    assert torch.equal(rollouts[0].ids, rollouts[1].ids)
    assert torch.allclose(rollouts[0].logprobs, rollouts[1].logprobs, atol=1e-4)
