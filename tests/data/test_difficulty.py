"""Bands of pass rates, from rows and from a file; broken files and bands are named."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from o3v.data.difficulty import Difficulty, read_numbers
from o3v.errors import ConfigError, DataError
from tests.data.test_mix import DATA, mix_of

UPPER = {"hard": 0.25, "medium": 0.75, "easy": 1.0}


def file_of(tmp_path, values):
    path = tmp_path / "rates.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return str(path)


def test_the_file_wins_over_the_row(tmp_path):
    rows = [replace(DATA[0], pass_rate=0.9), replace(DATA[1], pass_rate=0.5), DATA[2]]
    assert Difficulty(UPPER, None).bands(rows) == ["easy", "medium", "unknown"]
    assert Difficulty(UPPER, file_of(tmp_path, {DATA[0].id: 0})).bands(rows) == ["hard", "medium", "unknown"]


def test_bands_are_weighed_in_the_mix(tmp_path):
    rates = {f"gqa-{n}": n / 10 for n in range(10)}  # hard 0..2, medium 3..7, easy 8, 9
    weights = {"difficulty": {"hard": 3, "medium": 1, "easy": 0}, "source": {"timerft": 0, "TVG_tacos": 0}}
    order = mix_of(weights, file=file_of(tmp_path, rates)).order(DATA, 0)
    drawn = Counter(DATA[order[i]].id for i in range(order.epoch_length))
    assert drawn == {f"gqa-{n}": 3 if n < 3 else 1 for n in range(8)}


def test_a_weight_for_a_band_without_samples_is_allowed_and_another_name_is_not():
    mix_of({"difficulty": {"hard": 2, "unknown": 1}}).order(DATA, 0)
    with pytest.raises(ConfigError, match=r"mix\.weights\.difficulty\.harsh: no sample has it; present are unknown"):
        mix_of({"difficulty": {"harsh": 2}}).order(DATA, 0)


@pytest.mark.parametrize("upper", [{}, {"a": 0.5}, {"a": 0.5, "b": 0.4, "c": 1}, {"a": -1, "b": 1}, {"a": 1, "b": 1}])
def test_bands_with_gaps_are_refused(upper):
    with pytest.raises(ConfigError, match="wanted pass rates that ascend to 1"):
        Difficulty(upper, None)


def test_a_band_may_not_be_called_unknown():
    with pytest.raises(ConfigError, match="samples without a pass rate"):
        Difficulty({"unknown": 1.0}, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[1]", "found a list"),
        ('{"a": 1.5}', "a=1.5, wanted a number of 0 to 1"),
        ('{"a": true}', "a=True"),
        ('{"a": NaN}', "a=nan"),
        ('{"a": "x"}', "a='x'"),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_numbers(tmp_path / file_of(tmp_path, content), 0, 1)


def test_a_missing_file_and_one_of_other_data_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        Difficulty(UPPER, str(tmp_path / "gone.json")).bands(DATA)
    with pytest.raises(DataError, match="1 pass rates, but none for a sample of this data set"):
        Difficulty(UPPER, file_of(tmp_path, {"other": 0.5})).bands(DATA)
