"""ROUGE and stems: the numbers of the packages that define them, to the last bit."""

import gzip
import json
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

from o3v.rewards.rouge import longest_common, rouge, tokens
from o3v.rewards.stem import IRREGULAR, stem
from tests.rewards.golden_lines import SMALL

PORTER = PorterStemmer()
SCORER = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
ENDINGS = re.findall(r"\S+", (
    "ational tional enci anci izer abli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti "
    "iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion "
    "ou ism ate iti ous ive ize s es ies sses ss ed eed ied ing y ll e at bl iz tt li 's ying ally"
))  # fmt: skip
endings = st.sampled_from(ENDINGS)
words = st.one_of(
    st.text("abeilnosty", max_size=12),
    st.tuples(st.text("abcdeilnosty", max_size=6), endings, st.one_of(st.just(""), endings)).map("".join),
    st.sampled_from(sorted(IRREGULAR)),
)  # fmt: skip
texts = st.one_of(st.text(), st.lists(words).map(" ".join))


@settings(deadline=None, max_examples=600)
@given(words)
@example("apologize")
@example("geologies")
@example("generically")
def test_stems_are_those_of_nltk(word):
    assert stem(word) == PORTER.stem(word)


@settings(deadline=None, max_examples=300)
@given(texts, texts)
def test_scores_are_those_of_rouge_score(reference, hypothesis):
    scores = SCORER.score(reference, hypothesis)
    found = rouge(reference, hypothesis)
    assert [found.one, found.two, found.longest] == [scores[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]
    assert found.mean == sum(score.fmeasure for score in scores.values()) / 3


def test_the_words_of_real_completions():
    with gzip.open(SMALL, "rt") as lines:
        completions = [text for line in lines for text in json.loads(line)["completions"] if text]
    assert len(completions) > 300
    for text in completions:
        assert list(tokens(text)) == SCORER._tokenizer.tokenize(text)


@settings(deadline=None)
@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_the_longest_common_subsequence(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert longest_common(a, b) == table[-1][-1]
