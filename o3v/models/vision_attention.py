"""Attention inside the vision tower's windows and frames, one kernel call a layer.

The library's plain attention is called for every window by itself, thousands of times for a video: on a GPU the tower
then takes as long as starting its kernels does. Here all windows go to a kernel for rows of different length together;
where there is none (CPU, float32), to one call for each run of equal windows.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

VISION_ATTENTION = "windows_flash"
"""Name under which the library finds it; "flash" in a name asks it for all windows at once."""


def window_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Each token attends to the tokens of its own window.

    Args:
        module: the library's layer.
        query: [1, H, N, D].
        key: as query.
        value: as query.
        attention_mask: None.
        scaling: of the scores, 1 over the root of D.
        cu_seq_lens_q: [windows + 1] int32, where windows begin, and N.
        max_length_q: tokens of the longest window.
        kwargs: what other kernels want to know.

    Returns:
        [1, N, H, D] and no weights.
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        longest, kernel = int(max_length_q), cast(Any, varlen_attn)
        return kernel(q, k, v, cu_seq_lens_q, cu_seq_lens_q, longest, longest)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    return torch.cat([out.transpose(1, 2) for out in _runs(query, key, value, lengths, scaling)], 1), None


def _runs(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float) -> list[Tensor]:
    """Attention [1, H, n * length, D] of each run of n windows of equal length."""
    found, start = [], 0
    for length, run in groupby(lengths):
        count = len(list(run))
        part = slice(start, start + count * length)
        q, k, v = (x[0, :, part].unflatten(1, (count, length)).transpose(0, 1) for x in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, scale=scaling)  # [n, H, length, D]
        found.append(out.transpose(0, 1).flatten(1, 2)[None])
        start += count * length
    return found


AttentionInterface.register(VISION_ATTENTION, window_attention)
