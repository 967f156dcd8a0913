"""From values of tokens to one number: which completion and which token weighs how much."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from o3v.objectives.masked import masked_mean, masked_sum

AGGREGATIONS = ("sequence", "token", "constant")


@dataclass(frozen=True)
class UpdateSize:
    """What the loss of one optimizer step is divided by.

    The completions of an update may pass in several parts whose gradients are added up; each part is then divided by
    the size of the whole, so that the parts make the same update as one pass. Where the gradients of several processes
    are averaged, the size is that of the update over all processes divided by their number.

    Attributes:
        rows: completions with at least one token that counts.
        tokens: tokens that count.
    """

    rows: float
    tokens: float

    @classmethod
    def of(cls, completion_mask: Tensor) -> UpdateSize:
        """Size of all completions of an update, [N, L] bool; what a filter removes is False there and not counted.

        >>> import torch
        >>> UpdateSize.of(torch.tensor([[True, True], [True, False], [False, False]]))
        UpdateSize(rows=2, tokens=3)
        """
        return cls(int(completion_mask.any(-1).sum()), int(completion_mask.sum()))


def aggregate(
    values: Tensor, completion_mask: Tensor, aggregation: str, max_length: int, total: UpdateSize | None = None
) -> Tensor:
    """Weighted sum over the tokens of an update.

    sequence: (1 / N) sum_i (1 / |y_i|) sum_t v_it, every completion weighs the same    GRPO, arXiv:2402.03300, eq. 3
    token:    (1 / sum_i |y_i|) sum_it v_it, every token weighs the same                DAPO, arXiv:2503.14476, sec. 3.3
    constant: (1 / (N * max_length)) sum_it v_it, no length in the denominator      Dr. GRPO, arXiv:2503.20783, sec. 3.2

    Args:
        values: [N, L]; what stands under False may be anything, NaN included.
        completion_mask: [N, L] bool.
        aggregation: one of `AGGREGATIONS`.
        max_length: L_max of "constant", in tokens.
        total: size of the update of which these completions are a part; None: they are all of it.

    Returns:
        Scalar; 0 where nothing counts. A completion without tokens is not counted among the N.

    Example:
        >>> import torch
        >>> values, mask = torch.tensor([[2.0, 4.0], [1.0, 9.0]]), torch.tensor([[True, True], [True, False]])
        >>> [round(float(aggregate(values, mask, name, 5)), 3) for name in AGGREGATIONS]
        [2.0, 2.333, 0.7]
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation {aggregation!r} must be one of {AGGREGATIONS}")
    rows = completion_mask.any(-1).sum().clamp(min=1) if total is None else max(total.rows, 1)
    tokens = completion_mask.sum().clamp(min=1) if total is None else max(total.tokens, 1)
    if aggregation == "sequence":
        return masked_mean(values, completion_mask).sum() / rows
    return masked_sum(values, completion_mask).sum() / (tokens if aggregation == "token" else rows * max_length)
