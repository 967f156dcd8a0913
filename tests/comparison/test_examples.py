"""The same questions side by side: which are chosen, what is drawn, and what is said where nothing can be."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from o3v.benchmarks.pairs import RecordScores
from o3v.benchmarks.question import Question
from o3v.comparison.collect import collect
from o3v.comparison.examples import Choice, build_examples, choose, draw_evidence, no_picture
from tests.comparison.studies import declare, record, scored
from tests.evidence.clips import NASTY, sample
from tests.video.clips import write_clip

PLAIN = RecordScores(resamples=50, seed=0)


def question(path, truth=None, **changes):
    fields = {
        "id": "q", "source": "s", "task": "t", "item": "q", "video_path": path, "image_path": None, "span_s": None,
        "system": "", "text": "What?", "image_paths": (), "truth": truth or {},
    }  # fmt: skip
    return Question(**(fields | changes))


def test_the_choice_is_that_of_the_seed():
    scores = np.array([[0.0, 1.0, 0.5, np.nan, 0.2], [0.0, 0.0, 0.4, 1.0, 0.2]])
    ids = list("abcde")
    chosen = choose(ids, scores, Choice(5, 2, 3))
    assert [index for index, _ in chosen[:2]] == [1, 2]  # equal scores and missing ones are no disagreement
    assert len(chosen) == 4 and chosen == choose(ids, scores, Choice(5, 2, 3))
    assert {tuple(choose(ids, scores, Choice(0, 2, seed))) for seed in range(20)} != {tuple(chosen[2:])}
    assert choose([], np.zeros((2, 0)), Choice(2, 2, 0)) == []


def test_every_arm_answers_the_same_question(tmp_path):
    study = declare(tmp_path, arms=("base", "x", "y"))
    rng = np.random.default_rng(0)
    scores = {(arm, seed): rng.random(20) for arm in study.arms for seed in study.seeds}
    del scores["y", 0]  # seed 1 is the first that all arms have
    scored(study, scores)
    found = build_examples(collect(study, []), "made", PLAIN, ("acc",), Choice(2, 2, 0), {}, no_picture)
    assert len(found) == 4 and {one.seed for one in found} == {1}
    for example in found:
        index = int(example.id[1:])
        assert {arm: one.scores["acc"] for arm, one in example.answers.items()} == {
            arm: pytest.approx(scores[arm, 1][index]) for arm in study.arms
        }
    spans = np.ptp(np.stack([scores[arm, 1] for arm in study.arms]), axis=0)
    assert [int(one.id[1:]) for one in found[:2]] == np.argsort(-spans)[:2].tolist()


@pytest.mark.parametrize("text", NASTY)
def test_any_text_can_be_drawn(tmp_path, text):
    path = write_clip(tmp_path / "v.mp4", [float(k) for k in range(6)])
    picture, told = draw_evidence(record("q", {}, text=text), question(path, {"sample": sample()}))
    assert told == "" and Image.open(io.BytesIO(picture)).format == "WEBP"


def test_a_benchmark_of_its_own_has_no_annotation(tmp_path):
    path = write_clip(tmp_path / "v.mp4", [float(k) for k in range(6)])
    picture, _ = draw_evidence(record("q", {}, text="no claim"), question(path, span_s=(1.0, 4.0)))
    assert Image.open(io.BytesIO(picture)).width < 600


def test_media_that_are_gone_leave_the_text():
    picture, told = draw_evidence(record("q", {}), question(Path("/nowhere.mp4")))
    assert picture is None and told.startswith("no picture: ")
    assert draw_evidence(record("q", {}), None) == (None, "no picture: the benchmark's data is not at hand")
    assert draw_evidence(record("q", {}), question(None))[1] == "no picture: the question names no media"
