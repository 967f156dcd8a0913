"""Option letters: the released parsers to the letter, clear letters read, nothing made up, nothing raises."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.benchmarks.mcq import letters
from o3v.benchmarks.mcq.letters import (
    API_ERROR,
    NO_ANSWER,
    PARSERS,
    answer_text,
    clear_letter,
    read_letter,
    released_letter,
)
from o3v.errors import ConfigError
from tests.benchmarks.mcq.golden_lines import FOLDERS, read_lines

OPTIONS = ["a red ball", "a blue cup", "the old man", "two dogs"]
PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "A",
    "B",
    "J",
    "(C)",
    "D.",
    " ",
    "\n",
    "answer: ",
    "no",
    "\\",
    "*",
]
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


def reference_misses(lines) -> list[str]:
    return [
        f"{line['id']} {parser}"
        for line in lines
        for parser, expected in line["expected"].items()
        if released_letter(line["response"], line["options"], parser) != expected
    ]


def corrected_misses(lines) -> list[str]:
    """Lines without a deviation give the same letter; with one, the clear letter, or anything but a made-up one."""
    missed = []
    for line in lines:
        for parser, expected in line["expected"].items():
            found = read_letter(line["response"], line["options"], parser)
            same = None if expected in (API_ERROR, NO_ANSWER) else expected
            if line["expected_corrected"] is not None:
                right = found == line["expected_corrected"]
            elif parser == "worldsense" and made_up(line):
                right = found is None or found == read_letter(line["response"], line["options"], "videomme")
            else:
                right = found == same
            missed += [] if right else [f"{line['id']} {parser}"]
    return missed


def made_up(line) -> bool:
    """WorldSense's parser found nothing and drew a letter."""
    return letters._found(line["response"], line["options"], "worldsense") == NO_ANSWER


@pytest.mark.parametrize("folder", FOLDERS)
def test_released_parsers(folder) -> None:
    assert reference_misses(read_lines(folder, "mcq_parse")) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_corrected_letters(folder) -> None:
    assert corrected_misses(read_lines(folder, "mcq_parse")) == []


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("<answer>B</answer>", "B"),
        ("<think>It is A.</think><answer>C) red</answer>", None),
        ("<think>It is A.</think>\n<answer>(C)</answer>", "C"),
        ("<think>never closed: the answer is A", None),
        ("<think>closed by the answer <answer>D</answer>", "D"),
        ("<think>x</think> The answer is D", "D"),
        ("Correct Option: B", "B"),
        ("the answer is An old man", None),
        ("", None),
    ],
)
def test_an_answer_is_read(text: str, letter: str | None) -> None:
    assert clear_letter(answer_text(text)) == letter


def test_a_letter_that_is_not_offered_is_read_but_no_option() -> None:
    assert read_letter("J", OPTIONS, "videomme") == "J"
    assert read_letter("F. something", OPTIONS, "videomme") is None


@given(TEXTS, st.integers(0, 12), st.sampled_from(PARSERS))
def test_parsers_never_raise_and_stay_among_the_options(text: str, count: int, parser) -> None:
    options = [f"option text {index}" for index in range(count)]
    offered = letters.option_letters(count)
    assert released_letter(text, options, parser) in (*offered, API_ERROR, NO_ANSWER)
    found = read_letter(text, options, parser)
    assert found is None or found in offered or found == clear_letter(answer_text(text))
    for think in (True, False):
        assert letters.released_vote(text, options, parser, think, "ABCD") in "ABCD"


@given(
    st.sampled_from("ABCD"),
    st.sampled_from(["{}", "({})", "{}.", "**{}**", " {}\n", "The answer is {}.", '"{}"']),
    TEXTS,
)
def test_what_is_thought_does_not_count(letter: str, form: str, thought: str) -> None:
    text = f"<think>{thought.replace('</think>', '')}</think><answer>{form.format(letter)}</answer>"
    assert read_letter(text, OPTIONS, "videommmu") == letter


def test_no_global_random_state_is_touched() -> None:
    random.seed(1)
    state = random.getstate()
    assert released_letter("no idea", OPTIONS, "worldsense") == "A"
    assert random.getstate() == state


@pytest.mark.parametrize("piece", ["<answer>", "<think>", "answer ", "answer:", "A" * 3, " ", "*", "\n\n"])
@settings(max_examples=1, deadline=None)
@given(st.just(None))
def test_long_texts_take_linear_time(piece: str, _: None) -> None:
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    for parser in PARSERS:
        read_letter(text, OPTIONS, parser)
    assert time.process_time() - start < 2


def test_an_unknown_parser_is_named() -> None:
    with pytest.raises(ConfigError, match="mmbench"):
        read_letter("no idea", OPTIONS, "mmbench")  # type: ignore[arg-type]


def first_hit(text, offered):
    places = [(text.rfind(form.format(c)), c) for form in letters._ALL_FORMS for c in offered if form.format(c) in text]
    return min(places)[1] if places else None


def first_said(text):
    match = letters._ALONE.match(text) or letters._CUE.search(text)
    return match[1] if match else None


# Wrong versions: an attribute of the module, what replaces it, and the lines that must miss.
MUTANTS = {
    "first hit wins": ("_last_form", first_hit, reference_misses),
    "blanks are stripped": ("_STRIPPED", (" ", *letters._STRIPPED), reference_misses),
    "no braces": ("_ALL_FORMS", tuple(f for f in letters._ALL_FORMS if f != "{{{}}}"), reference_misses),
    "option texts in short answers": ("_CONTENT_WORDS", 1, reference_misses),
    "option texts never": ("_CONTENT_WORDS", 10**6, reference_misses),
    "another seed": ("_WORLDSENSE_SEED", 3, reference_misses),
    "the whole text is read": ("answer_text", lambda text: text, corrected_misses),
    "no clear letters": ("clear_letter", lambda text: None, corrected_misses),
    "the first of two said letters": ("clear_letter", first_said, corrected_misses),
    "failures are answers": ("NO_ANSWER", "A", corrected_misses),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, misses = MUTANTS[name]
    lines = read_lines(FOLDERS[0].values[0], "mcq_parse")
    assert misses(lines) == []
    monkeypatch.setattr(letters, attribute, wrong)
    assert misses(lines) != []
