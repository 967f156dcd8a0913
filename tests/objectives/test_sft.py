"""SFT: golden labels of both variants, wrong versions caught, the loss."""

from pathlib import Path

import pytest
import torch

from o3v.errors import ConfigError
from o3v.objectives import sft
from o3v.objectives.sft import ChatTokens, SFTObjective
from tests.objectives.golden_lines import SMALL, both, read_lines

CONF = Path(__file__).parents[2] / "conf"
IGNORED_BY_PROCESSOR = {"Qwen2_5_VLProcessor": (151655,), "Qwen2VLProcessor": (151652, 151653, 151656)}
FIELDS = {"assistant": "expected_corrected", "reference": "expected_labels"}


def tokens_of(line):
    return ChatTokens((151644, 77091, 198), 151645, 151643, IGNORED_BY_PROCESSOR[line["processor"]])


def misses(folder):
    return [
        (line["id"], trained_on)
        for line in read_lines(folder, "sft_labels")
        for trained_on, field in FIELDS.items()
        if SFTObjective(trained_on).labels(torch.tensor([line["input_ids"]]), tokens_of(line)).tolist() != [line[field]]
    ]


@both
def test_golden(folder):
    assert misses(folder) == []


def header_included(input_ids, header):
    return torch.roll(sft_after_header(input_ids, header), -len(header), dims=-1)


sft_after_header = sft._after_header
MUTANTS = {
    "header learned": ("_after_header", header_included),
    "image pads learned": ("reference_mask", lambda ids, tokens: ids != tokens.pad),
    "everything learned": ("assistant_mask", sft.reference_mask),
    "end of turn not learned": (
        "assistant_mask", lambda ids, tokens, right=sft.assistant_mask: right(ids, tokens) & (ids != tokens.turn_end)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    monkeypatch.setattr(sft, *MUTANTS[name])
    assert misses(SMALL)


TOKENS = ChatTokens(assistant_header=(1, 7, 9), turn_end=2, pad=0, reference_ignored=())


@pytest.mark.parametrize(
    ("ids", "learned"),
    [
        ([1, 7, 9, 4, 2, 9, 1, 5, 9, 4, 2, 9, 1, 7, 9, 6, 2], [3, 4, 15, 16]),  # two assistant turns
        ([0, 0, 1, 7, 9, 4, 2], [5, 6]),  # padding in front
        ([1, 7, 9, 4, 4], [3, 4]),  # cut off
        ([1, 7, 9], []),
        ([1, 7], []),
        ([2, 4, 5], []),
        ([3, 4, 1, 5, 9, 2, 4], []),
    ],
)
def test_assistant_mask(ids, learned):
    assert torch.nonzero(sft.assistant_mask(torch.tensor([ids]), TOKENS)[0]).flatten().tolist() == learned


def test_loss_is_the_mean_over_learned_tokens():
    logprobs = torch.tensor([[-1.0, -2.0], [-6.0, float("nan")]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    output = SFTObjective("assistant").loss(logprobs, mask)
    assert output.loss.item() == pytest.approx(3.0)
    assert {name: float(value) for name, value in output.metrics.items()} == {"nll": 3.0, "tokens": 3.0}
    output.loss.backward()
    assert logprobs.grad.tolist() == [[pytest.approx(-1 / 3)] * 2, [pytest.approx(-1 / 3), 0.0]]


def test_weights_shift_the_mean_and_not_its_scale():
    logprobs, mask = torch.tensor([[-1.0, -3.0, -9.0]]), torch.tensor([[True, True, False]])
    objective = SFTObjective("assistant")
    assert objective.loss(logprobs, mask, torch.tensor([[3.0, 1.0, 5.0]])).loss.item() == pytest.approx(1.5)
    assert objective.loss(logprobs, mask, torch.full((1, 3), 7.0)).loss.item() == pytest.approx(2.0)
    assert objective.loss(logprobs, mask, torch.zeros(1, 3)).loss.item() == 0.0
    assert objective.loss(logprobs, torch.zeros_like(mask)).loss.item() == 0.0


def test_surface():
    assert not SFTObjective("assistant").needs_rollout
    with pytest.raises(ConfigError, match="trained_on"):
        SFTObjective("all")
