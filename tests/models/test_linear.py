"""Products by oneDNN: the numbers of torch's own, in every model, forward and backward."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from o3v.errors import ConfigError
from o3v.models import linear
from o3v.models.linear import onednn_is_quicker, onednn_product, product_of, set_linear_kernel
from o3v.models.logprobs import packed_scores
from tests import tiny


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 33, 8), (130, 64, 17)])
def test_a_product_and_its_transposes(shape):
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, inner, generator=generator), torch.randn(columns, inner, generator=generator)
    wanted = (a.double() @ b.double().T).float()
    for left, right in ((a, b), (a.T.contiguous().T, b), (a, b.T.contiguous().T)):
        assert torch.allclose(onednn_product(left, right), wanted, atol=1e-4, rtol=1e-5)


def test_other_numbers_go_torchs_way():
    a, b = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    assert torch.equal(onednn_product(a, b), a @ b.T)
    assert onednn_product(torch.zeros(0, 4), torch.zeros(5, 4)).shape == (0, 5)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_a_layer(bias):
    plain = nn.Linear(24, 10, bias=bias)
    quick = copy.deepcopy(plain)
    set_linear_kernel(quick, "onednn")
    x = torch.randn(2, 6, 24)
    results = []
    for layer in (plain, quick):
        leaf = x.clone().requires_grad_()
        (layer(leaf) * torch.linspace(-1, 1, 10)).square().sum().backward()
        results.append([leaf.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_patch_embedding_is_the_convolution_that_it_was():
    plain = nn.Conv3d(3, 8, kernel_size=(2, 4, 4), stride=(2, 4, 4))
    quick = copy.deepcopy(plain)
    for kernel in ("torch", "onednn"):
        set_linear_kernel(quick, kernel)
        patches = torch.randn(5, 3, 2, 4, 4)
        assert torch.allclose(quick(patches), plain(patches), atol=1e-5)
        assert quick(patches).shape == plain(patches).shape
    overlapping = nn.Conv3d(3, 8, kernel_size=3, stride=1)
    set_linear_kernel(overlapping, "onednn")
    assert "forward" not in vars(overlapping)


def both(policy):
    """The same weights with torch's products and with oneDNN's, whatever this machine would choose."""
    for kernel in ("torch", "onednn"):
        model = copy.deepcopy(policy.model)
        for module in model.modules():
            for name in ("forward", "product"):
                if type(module) in (nn.Linear, nn.Conv3d):
                    vars(module).pop(name, None)
        if kernel == "onednn":
            set_linear_kernel(model, kernel)
        yield replace(policy, model=model)


def test_a_models_scores_and_gradients_are_the_same(policy):
    results = []
    for one in both(policy):
        prompts = one.encode(tiny.mixed_prompts(one))
        ids, mask = tiny.ragged(one, [5, 9, 1])
        scores = packed_scores(one, prompts, ids, mask)
        (scores.logprobs * mask.cumsum(1)).sum().backward()
        results.append((scores, torch.cat([p.grad.flatten() for p in one.model.parameters()])))
    (plain, gradient), (quick, other) = results
    assert torch.allclose(plain.logprobs, quick.logprobs, atol=1e-5)
    assert float((gradient - other).norm() / gradient.norm()) < 1e-5


def test_a_layer_says_how_it_multiplies(policy):
    layer = nn.Linear(2, 2)
    assert product_of(layer) is linear.torch_product
    set_linear_kernel(layer, "onednn")
    assert product_of(layer) is onednn_product and product_of(copy.deepcopy(layer)) is onednn_product
    set_linear_kernel(layer, "auto")
    assert (product_of(layer) is onednn_product) == onednn_is_quicker()


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ConfigError, match=r"model\.linear='mkl' is not allowed"):
        replace(tiny.spec("qwen2_5_vl"), linear="mkl")
