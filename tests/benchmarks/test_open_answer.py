"""Open answers: the released arithmetic, on the answer block alone in the corrected definition."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import open_answer
from o3v.benchmarks.open_answer import gold_answers, is_right, read_parts, released_is_right
from tests.benchmarks.mcq.golden_lines import FOLDERS, read_lines

PIECES = ["<answer>", "</answer>", "</think>", "is ", "so ", "=", "5", "1,200", "1e3", "-", ".", "\n", "nan", "x"]
TEXTS = st.one_of(st.text(max_size=100), st.lists(st.sampled_from(PIECES), max_size=20).map("".join))


def reference_misses(lines) -> list[str]:
    return [x["id"] for x in lines if released_is_right(x["response"], x["gold"]) != x["expected_correct"]]


def parse_misses(lines) -> list[str]:
    kept = [line for line in lines if isinstance(line["expected_parsed"], list)]
    return [line["id"] for line in kept if list(read_parts(line["response"])) != line["expected_parsed"]]


def corrected_misses(lines) -> list[str]:
    def expected(line):
        return line["expected_correct"] if line["expected_corrected"] is None else line["expected_corrected"]

    return [line["id"] for line in lines if is_right(line["response"], line["gold"]) != expected(line)]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("misses", [reference_misses, parse_misses, corrected_misses])
def test_golden_lines(folder, misses) -> None:
    assert misses(read_lines(folder, "open_answer")) == []


def test_an_empty_answer_is_compared_letter_by_letter_in_the_reference_alone() -> None:
    assert released_is_right("", "") and not is_right("", "")
    assert not released_is_right("API Error", "5")


def test_an_annotated_list_is_a_list() -> None:
    annotated = "['24/7', '3.429', '3.43]"
    assert is_right("<answer>It is 3.43</answer>", annotated) and is_right("24/7", annotated)
    assert not released_is_right("It is 3.43", annotated)
    assert gold_answers("[]") == () and gold_answers("[1, 2]") == ("1", "2") and gold_answers("[" * 9999 + "]")


@given(TEXTS, TEXTS)
def test_nothing_raises(text: str, gold: str) -> None:
    assert isinstance(is_right(text, gold), bool)
    assert isinstance(released_is_right(text, [gold, "5"]), bool)
    assert all(isinstance(part, float | str) for part in read_parts(text))


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)))
def test_a_number_is_right_however_it_is_introduced(value: float) -> None:
    for form in ("{}", "The answer is {}", "x = {}", "<think>so 7</think><answer>{}</answer>"):
        assert is_right(form.format(value), f"{value:,}")


@pytest.mark.parametrize("piece", ["1", "is ", ",111", "1.", "\n", "-", "=", "1e"])
def test_long_texts_take_linear_time(piece: str) -> None:
    start = time.perf_counter()
    read_parts(piece * (100_000 // len(piece)) + "x")
    assert time.perf_counter() - start < 2


MUTANTS = {
    "reasoning counts": ("answer_text", lambda text: text, corrected_misses),
    "no equation in the last line": ("_result", lambda line, keys: line, reference_misses),
    "no exponents": ("_NUMBERS", (open_answer._NUMBERS[0], open_answer._NUMBERS[2]), parse_misses),
    "no thousands": ("_NUMBERS", open_answer._NUMBERS[1:], reference_misses),
    "numbers as texts": ("normalise", lambda text: (text.strip().lower(),), reference_misses),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, misses = MUTANTS[name]
    lines = read_lines(FOLDERS[0].values[0], "open_answer")
    monkeypatch.setattr(open_answer, attribute, wrong)
    assert misses(lines) != []
