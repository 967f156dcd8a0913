"""Supervised fine-tuning: which tokens are learned, and their loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.objectives.masked import masked_sum
from o3v.objectives.output import LossOutput

IGNORED: Final = -100
"""Label of a token that is not learned."""

TRAINED_ON = ("assistant", "reference")


@dataclass(frozen=True)
class ChatTokens:
    """Token ids by which a chat sequence is read; the model family knows them.

    Attributes:
        assistant_header: ids that open an assistant turn (start of turn, "assistant", newline).
        turn_end: id that closes a turn.
        pad: id of padding.
        reference_ignored: ids that the released code does not train on, besides padding: the image pad for Qwen2.5-VL;
            vision start, vision end and video pad for Qwen2-VL.
    """

    assistant_header: tuple[int, ...]
    turn_end: int
    pad: int
    reference_ignored: tuple[int, ...]


def assistant_mask(input_ids: Tensor, tokens: ChatTokens) -> Tensor:
    """The assistant's own tokens: after each assistant header, up to and including the end of the turn.

    Args:
        input_ids: [B, L] long, with any padding.
        tokens: ids of the model family.

    Returns:
        [B, L] bool. A turn that is cut off before its end counts up to the cut.

    Example:
        >>> tokens = ChatTokens(assistant_header=(1, 7, 9), turn_end=2, pad=0, reference_ignored=())
        >>> assistant_mask(torch.tensor([[1, 5, 9, 3, 2, 9, 1, 7, 9, 4, 2, 9, 0]]), tokens).int().tolist()
        [[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]]
    """
    position = torch.arange(1, input_ids.shape[-1] + 1, device=input_ids.device).expand_as(input_ids)
    begins = _after_header(input_ids, tokens.assistant_header)
    last_begin = torch.where(begins, position, 0).cummax(-1).values
    # An end takes effect one position later, so that the end token itself belongs to its turn.
    ended = torch.roll(input_ids == tokens.turn_end, 1, dims=-1)
    ended[..., :1] = False
    last_end = torch.where(ended, position, 0).cummax(-1).values
    return (last_begin > last_end) & (input_ids != tokens.pad)


def reference_mask(input_ids: Tensor, tokens: ChatTokens) -> Tensor:
    """What the released code trains on: all tokens, prompt included, except padding and `reference_ignored`.

    Reproduces defects S1 and S2 (sft_multi_task.py:387-398); arguments and result as in `assistant_mask`.

    >>> tokens = ChatTokens(assistant_header=(1, 7, 9), turn_end=2, pad=0, reference_ignored=(5,))
    >>> reference_mask(torch.tensor([[1, 5, 9, 3, 2, 0]]), tokens).int().tolist()
    [[1, 0, 1, 1, 1, 0]]
    """
    ignored = torch.tensor([tokens.pad, *tokens.reference_ignored], device=input_ids.device)
    return ~torch.isin(input_ids, ignored)


@dataclass(frozen=True)
class SFTObjective:
    """Negative log-likelihood of the target's tokens.

    Attributes:
        trained_on: "assistant": the assistant's turn only; "reference": what the released code trains on.
    """

    trained_on: str

    def __post_init__(self) -> None:
        if self.trained_on not in TRAINED_ON:
            raise ConfigError(f"objective.trained_on={self.trained_on!r} must be one of {TRAINED_ON}")

    @property
    def needs_rollout(self) -> bool:
        """The data set has the targets."""
        return False

    @property
    def needs_reference(self) -> bool:
        """There is no KL term."""
        return False

    def warnings(self, prompts: int | None = None, group_size: int | None = None) -> tuple[str, ...]:
        """A sentence when the prompt is learned too; the arguments have no influence.

        >>> SFTObjective("assistant").warnings()
        ()
        """
        if self.trained_on == "assistant":
            return ()
        return ("objective: trained_on=reference also trains on the system text, the question and the frame labels.",)

    def mask(self, input_ids: Tensor, tokens: ChatTokens) -> Tensor:
        """[B, L] bool, True on the tokens to learn."""
        chosen = assistant_mask if self.trained_on == "assistant" else reference_mask
        return chosen(input_ids, tokens)

    def labels(self, input_ids: Tensor, tokens: ChatTokens) -> Tensor:
        """[B, L] ids with `IGNORED` on the tokens that are not learned."""
        return input_ids.masked_fill(~self.mask(input_ids, tokens), IGNORED)

    def loss(self, logprobs: Tensor, mask: Tensor, weights: Tensor | None = None) -> LossOutput:
        """Weighted mean over all tokens to learn of -log p.

        Args:
            logprobs: [B, L] log-probabilities of the target's tokens, in nats.
            mask: [B, L] bool, True on tokens to learn.
            weights: [B, L] weights of tokens, at least 0; None weighs all the same.

        Returns:
            The loss, 0 when nothing is learned, with metrics `nll` (unweighted) and `tokens` (how many are learned).

        Example:
            >>> lp, mask = torch.tensor([[-1.0, -3.0, -9.0]]), torch.tensor([[True, True, False]])
            >>> SFTObjective("assistant").loss(lp, mask, None).loss
            tensor(2.)
        """
        tokens = mask.sum()
        nll = -masked_sum(logprobs, mask).sum()
        mean = nll / tokens.clamp(min=1)
        loss = mean if weights is None else self._weighted(logprobs, mask, weights)
        return LossOutput(loss, {"nll": mean.detach(), "tokens": tokens.detach()}, tokens.detach())

    @staticmethod
    def _weighted(logprobs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        total = masked_sum(weights, mask).sum()
        weighted = -masked_sum(torch.where(mask, logprobs, torch.zeros_like(logprobs)) * weights, mask).sum()
        return weighted / torch.where(total > 0, total, torch.ones_like(total))


def _after_header(input_ids: Tensor, header: tuple[int, ...]) -> Tensor:
    """[B, L] bool, True on the first position after a header."""
    size, length = len(header), input_ids.shape[-1]
    begins = torch.zeros_like(input_ids, dtype=torch.bool)
    if length > size:
        pattern = torch.tensor(header, device=input_ids.device)
        begins[..., size:] = (input_ids.unfold(-1, size, 1)[..., :-1, :] == pattern).all(-1)
    return begins
