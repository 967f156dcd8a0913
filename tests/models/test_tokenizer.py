"""The tiny models' tokenizer: nothing is lost, and what the prompts repeat is one token."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from o3v.models.tokenizer import SPECIAL_TOKENS, TAGS, train_tokenizer
from tests import tiny

LITERAL = dict(add_special_tokens=False, split_special_tokens=True)


def ids_of(text):
    return tiny.tokenizer()(text, add_special_tokens=False)["input_ids"]


@given(st.text(max_size=60))
@example("  two  spaces\n\n\ttab ")
@example("Größe 12.5 s, 猫 <obj>é</obj>\r\n")
@example("<|im_end|> written out <|image_pad|>")
def test_every_text_survives(text):
    ids = tiny.tokenizer()(text, **LITERAL)["input_ids"]
    assert tiny.tokenizer().decode(ids, skip_special_tokens=True) == text


@given(st.lists(st.sampled_from(["a", " ", "red", "3.0", "\n", "ü", *TAGS, *tiny.PHRASES]), max_size=12))
def test_tags_and_phrases_survive_among_text(pieces):
    assert tiny.tokenizer().decode(ids_of("".join(pieces)), skip_special_tokens=True) == "".join(pieces)


@pytest.mark.parametrize("text", [*SPECIAL_TOKENS, *TAGS, *tiny.PHRASES])
def test_special_tokens_tags_and_phrases_are_one_token(text):
    assert len(ids_of(text)) == 1
    assert len(ids_of(f"x{text}y")) == 3


def test_special_tokens_are_not_written_into_texts():
    ids = [ids_of(token)[0] for token in SPECIAL_TOKENS]
    assert tiny.tokenizer().decode(ids, skip_special_tokens=True) == ""


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_worlds_numbers_are_whole_tokens(family):
    texts = [prompt.target for prompt in tiny.captions(1, 96).prompts(0, 0, tiny.find_family(family))]
    numbers = {n for text in texts for n in text.replace(";", ",").replace("[", ",").replace("]", ",").split(",")}
    whole = {n for n in numbers if n.isdigit()}
    assert len(whole) > 3
    assert all(len(ids_of(n)) == 1 for n in whole)
    assert [len(ids_of(f"{k}.0")) for k in range(10)] == [2] * 10


def test_attributes_that_the_processors_read():
    tokenizer = tiny.tokenizer()
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == ("<|im_end|>", "<|endoftext|>", "left")
    assert (tokenizer.image_token, tokenizer.video_token) == ("<|image_pad|>", "<|video_pad|>")


def test_the_same_corpus_gives_the_same_tokens():
    made = [train_tokenizer(["red ball 12", "blue ball 12"] * 3, ["Frame "], 320) for _ in range(2)]
    assert made[0].get_vocab() == made[1].get_vocab()
    assert len(made[0]) <= 320
