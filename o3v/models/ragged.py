"""Rows of different length laid end to end, and the padded form that a batched kernel wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """N rows of tokens laid end to end, T in all.

    Attributes:
        rows: N.
        width: longest row.
        padded: [rows * width] the token at each place of the padded rows, padding repeats a row's last token; None
            where all rows are equally long and the two forms are one.
        places: [T] place of each token in the padded rows; None as above.
    """

    rows: int
    width: int
    padded: Tensor | None
    places: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str) -> Ragged:
        """From the lengths of rows, which are left out where empty.

        >>> Ragged.of([2, 0, 1], "cpu").padded.tolist()
        [0, 1, 2, 2]
        """
        lengths = [n for n in lengths if n]
        width = max(lengths, default=0)
        if all(n == width for n in lengths):
            return cls(len(lengths), width, None, None)
        sizes = torch.tensor(lengths)
        starts = sizes.cumsum(0) - sizes
        steps = torch.arange(width)
        padded = (starts[:, None] + torch.minimum(steps, sizes[:, None] - 1)).flatten()
        places = torch.arange(len(lengths) * width)[(steps < sizes[:, None]).flatten()]
        return cls(len(lengths), width, padded.to(device), places.to(device))

    def pad(self, tokens: Tensor) -> Tensor:
        """[1, H, T, ...] -> [rows, H, width, ...]; padding repeats a row's last token."""
        full = tokens if self.padded is None else tokens.index_select(2, self.padded)
        return full.reshape(tokens.shape[1], self.rows, self.width, *tokens.shape[3:]).transpose(0, 1)

    def pad_zeros(self, tokens: Tensor) -> Tensor:
        """As `pad`, with zeros for padding: what a gradient needs."""
        if self.places is None:
            return self.pad(tokens)
        full = tokens.new_zeros(1, tokens.shape[1], self.rows * self.width, *tokens.shape[3:])
        full.index_copy_(2, self.places, tokens)
        return full.reshape(tokens.shape[1], self.rows, self.width, *tokens.shape[3:]).transpose(0, 1)

    def unpad(self, rows: Tensor) -> Tensor:
        """[rows, H, width, ...] -> [1, H, T, ...], the inverse of `pad`."""
        flat = rows.transpose(0, 1).reshape(1, rows.shape[1], self.rows * self.width, *rows.shape[3:])
        return flat if self.places is None else flat.index_select(2, self.places)
