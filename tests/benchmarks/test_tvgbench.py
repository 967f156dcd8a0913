"""TVGBench: rows as published, scores of both definitions, known answers of the complete file.

data/tvgbench_rows.json holds 21 of its rows (github.com/xiaomi-research/time-r1, Apache-2.0).
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks.exam import baseline_results, exam_of, score_texts
from o3v.benchmarks.records import Identity
from o3v.benchmarks.tvgbench import TvgBench, read_reference_span
from o3v.errors import ConfigError, DataError
from o3v.types import BoxScale

HERE = Path(__file__).parent / "data"
FULL = Path(__file__).parents[3] / "shared" / "data" / "time_r1"
BENCH = TvgBench(str(HERE), "tvgbench_rows.json", "videos", "corrected", 100, 0)
REFERENCE = replace(BENCH, definition="reference")
needs_full = pytest.mark.skipif(not FULL.is_dir(), reason=f"{FULL} is not here: the complete TVGBench")


def score(benchmark, text, number=0):
    return benchmark.score(benchmark.questions()[number], text, BoxScale(1, 1))


def empty_row():
    return next(k for k, row in enumerate(BENCH.rows) if not row.has_length)


def test_rows_become_questions():
    questions = BENCH.questions()
    first = questions[0]
    assert (first.id, first.source, first.task) == ("0000", "charades", "Human Pose")
    assert first.video_path == HERE / "videos" / "KWZSA.mp4" and first.span_s is None
    assert "a person was sitting at a table." in first.text and first.truth["span_s"] == (13.4, 28.1)
    assert [q.id for q in questions] == sorted(q.id for q in questions)
    parts = [q for q in questions if q.span_s is not None]
    assert parts and all(q.span_s[1] - q.span_s[0] == pytest.approx(q.truth["duration_s"]) for q in parts)
    assert {q.source for q in questions} == {"charades", "anet", "tacos", "hirest", "egonlq"}


@pytest.mark.parametrize(
    ("text", "tiou"),
    [
        ("<think>x</think><answer>From <t>13.4</t>s to <t>28.1</t>s</answer>", 1.0),
        ("From 13.4s to 28.1s", 1.0),
        ("<answer>13.4 to 20.75</answer>", 0.5),
        ("<answer>From <t>28.1</t>s to <t>13.4</t>s</answer>", 0.0),
        ("<answer>never</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_scores(text, tiou):
    scores = score(BENCH, text)
    assert scores["tiou"] == pytest.approx(tiou) and scores["read"] == float(any(c.isdigit() for c in text))


def test_a_tiou_equal_to_the_threshold_does_not_count():
    row = replace(BENCH.rows[0], span_s=(0.0, 10.0))
    bench = replace(BENCH)
    bench.__dict__["rows"] = (row,)
    at, above = (score(bench, f"From 0s to {end}s") for end in ("5.0", "5.1"))
    assert at["tiou"] == 0.5 and at["R1@tIoU=0.5"] == 0.0 and above["R1@tIoU=0.5"] == 1.0 == at["R1@tIoU=0.3"]


def test_a_segment_without_length_leaves_only_the_corrected_mean():
    number = empty_row()
    text = "From 3.0s to 8.5s"
    assert score(BENCH, text, number) == {"read": 1.0}
    assert score(REFERENCE, "3.0 to 8.5", number)["tiou"] == 0.0


def test_the_reference_reads_the_last_pair_anywhere():
    assert read_reference_span("1 to 2 </think> 3.5 and 4") == (3.5, 4.0)
    assert score(REFERENCE, "<think>13.4 to 28.1</think><answer>?</answer>")["tiou"] == 1.0
    assert score(BENCH, "<think>13.4 to 28.1</think><answer>?</answer>")["tiou"] == 0.0


@given(st.text(max_size=80))
def test_any_text_scores_between_zero_and_one(text):
    for benchmark in (BENCH, REFERENCE):
        assert all(0 <= value <= 1 for value in score(benchmark, text).values())


def test_failures_stay_in_the_denominator():
    exam = exam_of(BENCH)
    records = score_texts(exam, {"0000": "From 13.4s to 28.1s"}, Identity("m", "", 0))
    usable = sum(row.has_length for row in BENCH.rows)
    summary = BENCH.summary(records)
    assert summary["mIoU"].value == pytest.approx(1 / usable) and summary["mIoU"].n == usable
    assert summary["mIoU@charades"].value > summary["mIoU"].value


@needs_full
def test_the_complete_file_loads():
    full = replace(BENCH, root=str(FULL), annotation_file="tvgbench.json")
    assert len(full.questions()) == len({q.id for q in full.questions()}) == 800
    assert len({q.video_path for q in full.questions()}) == 462
    assert Counter(row.dataset for row in full.rows) == {
        "tacos": 168,
        "anet": 168,
        "egonlq": 168,
        "hirest": 158,
        "charades": 138,
    }
    kinds = Counter(row.kind for row in full.rows)
    assert len(kinds) == 11 and max(kinds.values()) == 306 and min(kinds.values()) == 23
    assert sum(not row.has_length for row in full.rows) == 11
    assert sum(row.span_s[1] > row.duration_s + 0.5 for row in full.rows) == 21
    assert sum(row.duration_s for row in full.rows) / 800 == pytest.approx(91.7, abs=0.05)
    assert sum(row.span_s[1] - row.span_s[0] for row in full.rows) / 800 == pytest.approx(12.1, abs=0.05)


@needs_full
@pytest.mark.parametrize(
    ("definition", "whole", "third", "n"), [("corrected", 17.6, 15.6, 789), ("reference", 17.4, 15.4, 800)]
)
def test_trivial_answers_have_their_known_scores(definition, whole, third, n):
    full = replace(BENCH, root=str(FULL), annotation_file="tvgbench.json", definition=definition)
    results = baseline_results(full, exam_of(full))
    miou = {name: full.summary(records)["mIoU"] for name, records in results.items()}
    assert 100 * miou["whole_video"].value == pytest.approx(whole, abs=0.05) and miou["whole_video"].n == n
    assert 100 * miou["centre_third"].value == pytest.approx(third, abs=0.05)


def test_what_is_missing_is_named_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*tvgbench\.json.*O3V_BENCHMARKS"):
        replace(BENCH, root=str(tmp_path), annotation_file="tvgbench.json").check()
    with pytest.raises(ConfigError, match=r"videos are missing, for example"):
        BENCH.check()
    with pytest.raises(ConfigError, match=r"benchmark\.definition='paper'"):
        replace(BENCH, definition="paper")


@pytest.mark.parametrize("change", [{"answer": "soon"}, {"answer": None}, {"duration": "x"}, {"start": [1], "end": 2}])
def test_a_broken_row_is_named(tmp_path, change):
    rows = json.loads((HERE / "tvgbench_rows.json").read_text())
    rows[2] |= change
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"rows\.json, row 2"):
        replace(BENCH, root=str(tmp_path), annotation_file="rows.json").questions()
    (tmp_path / "rows.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        replace(BENCH, root=str(tmp_path), annotation_file="rows.json").questions()


def test_answers_in_the_format_of_time_r1(tmp_path):
    lines = [
        {"qid": "Charades_sta_test_0", "pred": [13.4, 28.1], "target": [13.4, 28.1], "output_text": "13.4 to 28.1"},
        {"qid": "x_1", "pred": [None, None], "target": [1, 2]},
    ]
    (tmp_path / "tg_0_1.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    records = BENCH.records_of(tmp_path / "tg_0_1.jsonl", None)
    assert [record.scores["tiou"] for record in records] == [1.0, 0.0] and records[0].model == "tg_0_1"
    (tmp_path / "bad.jsonl").write_text('{"qid": "x_9999"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        BENCH.records_of(tmp_path / "bad.jsonl", None)
