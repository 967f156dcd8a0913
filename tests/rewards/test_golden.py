"""Golden lines: the released code's rewards and their corrected form; wrong versions of a term are caught."""

import dataclasses
import re

import pytest

from o3v.grounding import parse
from o3v.rewards import answer, mix, reference, reference_fixed, rouge, thinking
from o3v.rewards.reference import reference_call
from tests.rewards import configured
from tests.rewards.golden_lines import FULL, SMALL, TERMS, read_lines, samples_of, to_completion, to_row, to_sample

needs_full = pytest.mark.skipif(not FULL.exists(), reason="the full golden corpus is not beside this checkout")
both = pytest.mark.parametrize("path", [SMALL, pytest.param(FULL, marks=needs_full)], ids=["small", "full"])


def first(value):
    return first(value[0]) if isinstance(value, list) else value


def same_outcome(outcome, expected, raised):
    if expected is None:
        return outcome.values is None and outcome.raised.split(":")[0] == raised.split(":")[0]
    if outcome.values is None or len(outcome.values) != len(expected):
        return False
    pairs = list(zip(outcome.values, expected, strict=True))
    return all(isinstance(a, list) == isinstance(b, list) and abs(first(a) - first(b)) <= 1e-9 for a, b in pairs)


def reference_misses(path):
    """Calls of the released functions that `reference` gets wrong: (line, term)."""
    misses = []
    for line in read_lines(path):
        rows = [to_row(record) for record in samples_of(line)]
        for name in TERMS:
            outcome = reference_call(name, line["completions"], rows, line["step_percent"])
            if not same_outcome(outcome, line["expected"][name], line["raises"].get(name)):
                misses.append((line["id"], name))
    return misses


def fixed_misses(path, rewards):
    """Completions for which a mix departs from the corrected values: (line, position, term)."""
    misses = []
    for line in read_lines(path):
        expected = line["expected_corrected"] or line["expected"]
        for i, (text, record) in enumerate(zip(line["completions"], samples_of(line), strict=True)):
            table = rewards([to_completion(text, record)], to_sample(record), line["step_percent"])
            named = zip(table.terms, table.values[0], strict=True)
            misses += [(line["id"], i, name) for name, value in named if abs(value - expected[name][i]) > 1e-9]
    return misses


@both
def test_reference_reproduces_the_released_code(path):
    assert reference_misses(path) == []


@both
def test_reference_fixed_gives_the_corrected_values(path):
    assert fixed_misses(path, configured.mix("reference_fixed")) == []


def test_reference_terms_agree_where_the_sample_is_valid():
    """The way through Sample and RewardMix: normalised boxes instead of raw pixels, the same values."""
    rewards, checked = configured.mix("reference"), 0
    for line in read_lines(SMALL):
        if line["layout"] == "batch" or line["raises"] or line["category"] == "bad_annotation":
            continue
        completions = [to_completion(text, line) for text in line["completions"]]
        table = rewards(completions, to_sample(line), line["step_percent"])
        for i, row in enumerate(table.values):
            for name, value in zip(table.terms, row, strict=True):
                expected = line["expected"][name][i]
                assert value == pytest.approx(0.0 if isinstance(expected, list) else expected, abs=1e-9)
                checked += 1
    assert checked > 1000


def test_what_the_released_code_cannot_compute_counts_nothing_and_is_reported():
    line = next(
        line for line in read_lines(SMALL) if line["raises"].get("thk_temporal_point", "").startswith("Overflow")
    )
    completions = [to_completion(text, line) for text in line["completions"]]
    table = configured.mix("reference")(completions, to_sample(line), line["step_percent"])
    column = table.terms.index("thk_temporal_point")
    lost = [
        row[column] for row, undefined in zip(table.values, table.diagnostics["undefined"], strict=True) if undefined
    ]
    assert lost
    assert set(lost) == {0.0}
    assert len(lost) < len(completions)  # the other completions keep their values


def one_sided(time_s, key_frames, gate_s):
    passing = [frame for frame in key_frames if frame.time_s - time_s <= gate_s]
    return min(passing, key=lambda frame: abs(frame.time_s - time_s), default=None)


def strict(time_s, key_frames, gate_s):
    passing = [frame for frame in key_frames if abs(frame.time_s - time_s) < gate_s]
    return min(passing, key=lambda frame: abs(frame.time_s - time_s), default=None)


def exponent_without_half(cited_s, key_s, sigma_s):
    return thinking.temporal_proximity(cited_s, key_s, sigma_s / 2**0.5) if cited_s else 0.0


OVERSPAN = re.compile(r"<obj>(.*?)</obj>((?:<box>\[.*?\]</box>)+)at<t>(.*?)</t>s", re.DOTALL)
FIXED_MUTANTS = {
    "one-sided gate": (thinking, "nearest_frame", one_sided),
    "strict boundary": (thinking, "nearest_frame", strict),
    "no gate": (
        thinking,
        "nearest_frame",
        lambda t, frames, gate: min(frames, key=lambda f: abs(f.time_s - t), default=None),
    ),
    "sigma not annealed": (thinking, "annealed_sigma", lambda *_: 4.0),
    "segment without its ends": (thinking, "contains", lambda span, t: span[0] < t < span[1]),
    "spans not ordered": (answer, "tiou", lambda a, b: min(a[1], b[1]) - max(a[0], b[0]) > 0),
    "claims run over tags": (reference_fixed, "_CLAIM", OVERSPAN),
    "first answer wins": (parse, "find_answer", lambda text: parse.first_block(text, "answer", 0)),
    "no stemming": (rouge, "tokens", lambda text: tuple(re.findall("[a-z0-9]+", text.lower()))),
    "best box instead of mean": (
        thinking,
        "_object_iou",
        lambda c, b: max(thinking.box_iou(x, y) for x in b for y in c),
    ),
}


@pytest.mark.parametrize("name", FIXED_MUTANTS)
def test_wrong_versions_of_a_term_are_caught(name, monkeypatch):
    module, attribute, wrong = FIXED_MUTANTS[name]
    monkeypatch.setattr(module, attribute, wrong)
    assert fixed_misses(SMALL, configured.mix("reference_fixed"))


def test_a_wrong_denominator_is_caught():
    rewards = configured.mix("reference_fixed")
    spatial = dataclasses.replace(rewards.terms["thk_spatial"].term, denominator="times")
    wrong = {**rewards.terms, "thk_spatial": reference_fixed.AsReference(spatial)}
    assert fixed_misses(SMALL, mix.RewardMix(wrong, rewards.weights))


def test_a_call_without_the_index_slip_is_caught(monkeypatch):
    """The released loop keeps an index behind after an error and applies the first task to all samples."""
    whole = reference._call_guarded

    def each_alone(score, texts, rows):
        return tuple(whole(score, [text], [row])[0] for text, row in zip(texts, rows, strict=True))

    monkeypatch.setattr(reference, "_call_guarded", each_alone)
    assert reference_misses(SMALL)


@pytest.mark.parametrize("gate_s", [0.999, 1.001])
def test_a_wrong_gate_of_the_reference_is_caught(gate_s, monkeypatch):
    monkeypatch.setattr(reference, "GATE_S", gate_s)
    assert reference_misses(SMALL)
