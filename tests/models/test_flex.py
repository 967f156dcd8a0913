"""FlexAttention's passes against the oracle's mask; what needs a backward pass runs on a GPU only."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.models import flex
from o3v.models.flex import FlexPass, Owners
from o3v.models.kernels import KERNELS, check_kernel
from o3v.models.logprobs import kept_scores, mask_scores, packed_scores
from o3v.models.prefix import read_prompts
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")

LENGTHS = [5, 9, 1, 4, 7, 2]  # three prompts, two completions each
ROWS = st.lists(
    st.tuples(st.integers(1, 40), st.lists(st.integers(0, 30), min_size=1, max_size=4)), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def batch(policy):
    return policy.encode(tiny.mixed_prompts(policy)), *tiny.ragged(policy, LENGTHS)


def seen_by(prompts, completions):
    """[N, N] who sees whom, token by token from the definition."""
    tokens = [(b, None, t) for b, n in enumerate(prompts) for t in range(n)]
    tokens += [(b, r, t) for b, rows in enumerate(completions) for r, n in enumerate(rows) for t in range(n)]

    def sees(one, other):
        if one[0] != other[0] or (other[1] is not None and other[1] != one[1]):
            return False
        return other[2] <= one[2] if one[1] == other[1] else True

    return torch.tensor([[sees(one, other) for other in tokens] for one in tokens])


def shown_by(mask, queries, keys):
    """[Q, N] what a kernel computes from a mask of blocks: whole blocks unlooked at, others token by token."""
    found = torch.zeros(queries, keys, dtype=torch.bool)
    token = mask.mask_mod(None, None, torch.arange(queries)[:, None], torch.arange(keys)[None])
    size = flex._BLOCK
    for i in range(-(-queries // size)):
        rows = slice(i * size, (i + 1) * size)
        for j in mask.kv_indices[0, 0, i, : mask.kv_num_blocks[0, 0, i]].tolist():
            columns = slice(j * size, (j + 1) * size)
            found[rows, columns] |= token[rows, columns]
        for j in mask.full_kv_indices[0, 0, i, : mask.full_kv_num_blocks[0, 0, i]].tolist():
            found[rows, j * size : (j + 1) * size] = True
    return found


@given(ROWS, st.sampled_from([4, 16, 128]))
@settings(max_examples=25, deadline=None)
def test_a_mask_of_blocks_shows_what_the_definition_shows(rows, size):
    prompts, completions = [p for p, _ in rows], [c for _, c in rows]
    total, first = sum(prompts) + sum(map(sum, completions)), sum(prompts)
    wanted = seen_by(prompts, completions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex, "_BLOCK", size)
        owners = Owners.of(prompts, completions, "cpu")
        for queries in (torch.arange(total), torch.arange(first, total), torch.arange(0, total, 3)):
            if len(queries):
                assert torch.equal(shown_by(owners.mask(queries), len(queries), total), wanted[queries])


def test_most_blocks_of_a_long_row_are_left_out():
    prompts, completions = [1024, 1024], [[128] * 8] * 2
    seen, whole = Owners.of(prompts, completions, "cpu")._blocks(torch.arange(4096))
    assert int(seen.sum()) == 2 * (8 * 9 // 2 + 8 * 8 + 8)
    assert int(whole.sum()) == 2 * (8 * 7 // 2 + 8 * 8)


@torch.no_grad()
def test_equal_to_the_oracle(policy, batch):
    encoded, ids, mask = batch
    wanted = mask_scores(policy, encoded, ids, mask, 0.7)
    packed = packed_scores(policy, encoded, ids, mask, 0.7, "flex")
    kept = kept_scores(policy, read_prompts(policy, encoded), ids, mask, 0.7, "flex")
    for found in (packed, kept):
        assert torch.allclose(found.logprobs, wanted.logprobs, atol=1e-5)
        assert torch.allclose(found.entropy, wanted.entropy, atol=1e-5)


@torch.no_grad()
def test_one_mask_serves_all_layers(policy, batch, monkeypatch):
    made = []
    original = Owners.mask
    monkeypatch.setattr(Owners, "mask", lambda self, queries: made.append(len(queries)) or original(self, queries))
    packed_scores(policy, *batch, kernel="flex")
    assert len(made) == 2  # the row, and the last layer's tokens
    kept_scores(policy, read_prompts(policy, batch[0]), *batch[1:], kernel="flex")
    assert len(made) == 3


@torch.no_grad()
def test_a_mask_that_shows_other_completions_is_caught(policy, batch, monkeypatch):
    wanted = mask_scores(policy, *batch).logprobs
    original = Owners.of

    def careless(*args):
        owners = original(*args)
        return Owners(owners.group, torch.full_like(owners.own, -1))

    monkeypatch.setattr(Owners, "of", careless)
    assert float((packed_scores(policy, *batch, kernel="flex").logprobs - wanted).abs().max()) > 0.05


def test_a_cpu_has_no_backward_pass(fresh_policy, batch):
    with pytest.raises(NotImplementedError, match="backward on CPU"):
        packed_scores(fresh_policy, *batch, kernel="flex")
    with pytest.raises(ConfigError, match=r"trainer\.attention_kernel='flex' .* 'cpu'; allowed there: \['split'\]"):
        check_kernel("flex", "cpu")
    with pytest.raises(ConfigError, match=r"attention_kernel='sparse' is unknown; allowed there: \['split', 'flex'\]"):
        check_kernel("sparse", "cuda")
    check_kernel("split", "cpu")
    check_kernel("flex", "cuda")


def test_both_kernels_make_passes_over_the_same_tokens():
    keep = torch.tensor([3, 4, 5, 6])
    for kernel in KERNELS.values():
        made = kernel.packed((4,), ((2, 1),), keep)
        assert made.keep is keep
    keys = {0: (torch.zeros(1, 2, 4, 8),)}
    assert KERNELS["flex"].later(keys, keys, ((2, 1),)).keep is None
    assert isinstance(KERNELS["flex"].later(keys, keys, ((2, 1),)), FlexPass)
