"""Matrix products of a model's linear layers, by the quicker of the two libraries that torch brings for CPUs.

torch multiplies float32 matrices by MKL, which leaves AVX-512 unused on processors that are not Intel's; oneDNN, also
in torch, uses it: 2.2 times as many operations a second on an AMD EPYC, the same numbers to rounding
(experiments/step_cost).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Product = Callable[[Tensor, Tensor], Tensor]
"""a [..., K] and b [N, K] -> a b^T [..., N]."""


def torch_product(a: Tensor, b: Tensor) -> Tensor:
    """The product a b^T by torch's own choice."""
    return a @ b.T


def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """The product a b^T by oneDNN; anything but float32 on a CPU as torch does it."""
    if a.dtype is torch.float32 and b.dtype is torch.float32 and not a.is_cuda and a.numel():
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return torch_product(a, b)


def set_linear_kernel(model: nn.Module, kernel: str) -> None:
    """Let all linear layers and the patch embedding of a model use a kernel, in place.

    Args:
        model: any model; layers that are put in later (adapters) keep torch's.
        kernel: "torch", "onednn", or "auto": oneDNN where `onednn_is_quicker`.
    """
    product = onednn_product if kernel == "onednn" or (kernel == "auto" and onednn_is_quicker()) else torch_product
    for module in model.modules():
        layer: Any = module
        if type(module) is nn.Linear:
            layer.product = product
            if product is not torch_product:
                layer.forward = MethodType(_linear_forward, module)
        elif type(module) is nn.Conv3d and module.kernel_size == module.stride and not any(module.padding):
            layer.product = product
            layer.forward = MethodType(_patch_forward, module)


def product_of(layer: Any) -> Product:
    """The product of a layer, for who multiplies by its weight without calling it."""
    return getattr(layer, "product", torch_product)


@cache
def onednn_is_quicker() -> bool:
    """Whether this is a CPU with AVX-512 which MKL does not use: one that is not Intel's."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    about = Path("/proc/cpuinfo")
    vendor = about.read_text() if about.is_file() else "GenuineIntel"
    return torch.backends.mkl.is_available() and "GenuineIntel" not in vendor


def _linear_forward(layer: Any, states: Tensor) -> Tensor:
    """`nn.Linear.forward`; numbers for which oneDNN is not meant go torch's way."""
    if states.is_cuda or states.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(states, layer.weight, layer.bias)
    return _Linear.apply(states.flatten(0, -2), layer.weight, layer.bias, layer.product).unflatten(0, states.shape[:-1])


def _patch_forward(layer: Any, patches: Tensor) -> Tensor:
    """`nn.Conv3d.forward` of a kernel that is as large as its input: [N, C, T, P, P] -> [N, D, 1, 1, 1].

    A product of two matrices, for which the convolution's kernels take twice the time on a CPU.
    """
    weight = layer.weight.flatten(1)
    flat = patches.flatten(1).to(weight.dtype)
    return _Linear.apply(flat, weight, layer.bias, layer.product)[:, :, None, None, None]


class _Linear(torch.autograd.Function):
    """x W^T + b with all three products, forward and backward, by one kernel."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, product: Product) -> Tensor:
        ctx.save_for_backward(states, weight)
        ctx.product = product
        out = product(states, weight)
        return out if bias is None else out.add_(bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        d_states = ctx.product(grads[0], weight.T) if ctx.needs_input_grad[0] else None
        d_weight = ctx.product(grads[0].T, states.T) if ctx.needs_input_grad[1] else None
        d_bias = grads[0].sum(0) if ctx.needs_input_grad[2] else None
        return d_states, d_weight, d_bias, None
