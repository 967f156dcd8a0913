"""V-STaR as a benchmark: what is asked, how answers count, what is missing, and what the tables hold."""

import dataclasses
import math

import pytest

from o3v.benchmarks.question import FRAMES
from o3v.errors import ConfigError, DataError
from o3v.types import BoxScale
from tests.benchmarks.vstar.world import THOUSANDTHS, benchmark, installed, perfect, rows, write


def values_of(bench, predictions, path, judge_scores=None):
    records = bench.records_of(write(path / "predictions.json", predictions), judge_scores)
    return {name: estimate.value for name, estimate in bench.summary(records).items()}


def test_questions_are_five_an_item_in_order_of_their_ids(tmp_path):
    bench = installed(tmp_path, rows())
    questions = bench.questions()
    assert [q.id for q in questions] == sorted(q.id for q in questions) and len(questions) == 15
    assert {q.task for q in questions} == {"vqa", "temporal", "spatial", "temporal_2", "spatial_2"}
    assert all(q.video_path.is_file() for q in questions) and len({q.item for q in questions}) == 3
    texts = {q.task: q.text for q in questions if q.item == questions[0].item}
    assert "[2, 3, 4, 5, 6]" in texts["spatial"] and "[2, 3" not in texts["spatial_2"]
    assert "[[0, 0, 100, 100]" in texts["temporal_2"] and FRAMES in texts["temporal"] and FRAMES not in texts["vqa"]
    plain = dataclasses.replace(bench, think=False).questions()
    assert all("<think>" not in q.text for q in plain)


def test_what_is_missing_is_named_before_anything_else(tmp_path):
    with pytest.raises(ConfigError, match=r"V_STaR_test\.json.*paths\.benchmark_root"):
        benchmark(tmp_path / "nowhere").check()
    bench = installed(tmp_path, rows())
    bench.check()
    (tmp_path / "videos" / "some" / "v1.mp4").unlink()
    with pytest.raises(ConfigError, match=r"1 videos .*v1\.mp4"):
        bench.check()
    assert len(bench.questions()) == 15


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("fps", 0, "row 1: fps=0"),
        ("width", None, "row 1: width=None"),
        ("question", None, "row 1: no text under"),
        ("timestamps", [3], r"row 1: timestamps=\[3\]"),
        ("bboxes", [{"timestamp": 2}], r"row 1: bboxes\[0\]: xmin=None"),
        ("bboxes", [{"timestamp": "x", "xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}], "timestamp='x'"),
    ],
)
def test_a_broken_annotation_names_row_and_field(tmp_path, key, value, place):
    annotations = rows()
    annotations[1][key] = value
    bench = installed(tmp_path, annotations)
    with pytest.raises(DataError, match=place):
        bench.check()


def test_settings_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="allowed are"):
        benchmark(tmp_path, definition="official")


def test_boxes_count_in_the_units_of_the_model(tmp_path):
    bench = installed(tmp_path, rows())
    where = next(q for q in bench.questions() if q.task == "spatial")
    for scale in (BoxScale(200, 100), THOUSANDTHS, BoxScale(56, 28)):
        x, y = round(scale.width / 2), round(scale.height)
        text = "<think>t</think><answer>{" + ", ".join(f'"{s}": [0, 0, {x}, {y}]' for s in range(2, 7)) + "}</answer>"
        scores = bench.score(where, text, scale)
        assert scores["viou"] == 1.0 and scores["AP@0.9"] == 1.0 and scores["parsed"] == 1.0
        item = where.truth["item"]
        assert scores[f"length={item.length}"] == 1.0 and scores[f"domain={item.domain}"] == 1.0
    reference = dataclasses.replace(bench, definition="reference")
    assert reference.score(where, text, scale)["viou"] < 0.1


def test_answers_in_words_go_to_the_judge_without_their_reasoning(tmp_path):
    bench = installed(tmp_path, rows())
    what = next(q for q in bench.questions() if q.task == "vqa")
    asked = bench.to_judge(what, "<think>maybe a dog</think><answer>a boy</answer>")
    assert (asked.truth, asked.answer) == ("a man", "a boy") and "a boy" in asked.messages[1]["content"]
    assert bench.to_judge(what, "<think>maybe a dog") is None and bench.to_judge(what, "") is None
    assert bench.parse_judge("I give it a 2.") == 2
    when = next(q for q in bench.questions() if q.task == "temporal")
    assert bench.to_judge(when, "a boy") is None


def test_perfect_predictions_score_one_everywhere_and_no_group_crashes(tmp_path):
    bench = benchmark(tmp_path)
    values = values_of(bench, [perfect(row) for row in rows()], tmp_path)
    shares = {name: v for name, v in values.items() if "LGM" not in name and "judge_score" not in name}
    shares = {name: v for name, v in shares.items() if "parsed" not in name and "coverage" not in name}
    assert set(shares.values()) == {1.0}
    assert values["mLGM"] == pytest.approx(-math.log(1e-6)) and values["judge_score"] == 3.0
    for group in ("length=Short", "length=Medium", "length=Long", "domain=Sports", "domain=Nature"):
        assert values[f"mAM@{group}"] == 1.0 and values[f"chain2/what+when+where@{group}"] == 1.0


def test_missing_and_empty_predictions_stay_in_every_denominator(tmp_path):
    given = [perfect(rows()[0]), rows()[1], perfect(rows()[2]) | {"answer_temporal": None, "answer_spatial": {}}]
    values = values_of(benchmark(tmp_path), given, tmp_path)
    assert values["acc"] == pytest.approx(2 / 3) and values["coverage"] == pytest.approx(8 / 15)
    assert values["chain1/tiou"] == values["chain1/viou"] == pytest.approx(1 / 3)
    assert values["chain2/tiou"] == pytest.approx(2 / 3) and values["mAM@length=Medium"] == 0.0
    reference = values_of(benchmark(tmp_path, "reference"), given, tmp_path)
    assert reference["acc"] == pytest.approx(2 / 3) and reference["chain1/tiou"] == 0.5  # of two answered items
    assert math.isnan(reference["acc@length=Medium"])


def test_items_that_a_file_of_predictions_lacks_count_as_wrong(tmp_path):
    bench = installed(tmp_path, rows())
    values = values_of(bench, [perfect(row) for row in rows()[:2]], tmp_path)
    assert values["acc"] == values["chain1/viou"] == pytest.approx(2 / 3)


def test_boxes_of_predictions_are_converted_from_their_input_shape(tmp_path):
    row = perfect(rows()[0]) | {"input_shape": [100, 50]}
    for key in ("answer_spatial", "answer_spatial_2"):
        row[key] = {second: [value / 2 for value in box] for second, box in row[key].items()}
    assert values_of(benchmark(tmp_path), [row], tmp_path)["chain1/viou"] == 1.0
    assert values_of(benchmark(tmp_path, "reference"), [row], tmp_path)["chain1/viou"] == 0.25


def test_texts_are_read_again_where_the_parsed_answer_is_empty(tmp_path):
    cut = '{"2": [0, 0, 100, 100], "3": [0, 0, 100, 100'
    row = perfect(rows()[0]) | {"answer_temporal": [], "answer_temporal_pre": "From 3.0s to 8.5s"}
    row |= {"answer_spatial": None, "answer_spatial_pre": cut}
    values = values_of(benchmark(tmp_path), [row], tmp_path)
    assert values["chain1/tiou"] == pytest.approx(3 / 6.5) and values["chain1/viou"] == pytest.approx(2 / 5)
    reference = values_of(benchmark(tmp_path, "reference"), [row], tmp_path)
    assert reference["chain1/tiou"] == pytest.approx(3 / 6) and reference["chain1/viou"] == 0.0


@pytest.mark.parametrize("key", ["id/vqa", "id", "row", "list"])
def test_judge_scores_come_from_a_file(tmp_path, key):
    bench = benchmark(tmp_path)
    given = [{k: v for k, v in perfect(row).items() if k != "judge_score"} for row in rows()]
    path = write(tmp_path / "p.json", given)
    ids = [q.id for q in bench.questions_of(path) if q.task == "vqa"]
    names = {"id/vqa": ids, "id": [name.removesuffix("/vqa") for name in ids], "row": ["0", "1", "2"]}
    scores = [3, 1, 2] if key == "list" else dict(zip(names[key], (3, 1, 2), strict=True))
    values = values_of(bench, given, tmp_path, write(tmp_path / "judge.json", scores))
    assert values["acc"] == pytest.approx(2 / 3) and values["judge_score"] == 2.0
    unjudged = values_of(bench, given, tmp_path)
    assert "acc" not in unjudged and "mAM" not in unjudged and unjudged["chain1/when+where"] == 1.0


def test_judge_scores_of_other_questions_are_refused(tmp_path):
    path = write(tmp_path / "judge.json", {"somebody else/vqa": 3})
    with pytest.raises(DataError, match="no key belongs to a row"):
        benchmark(tmp_path).records_of(write(tmp_path / "p.json", rows()), path)
    with pytest.raises(DataError, match="wanted a whole number"):
        benchmark(tmp_path).records_of(tmp_path / "p.json", write(path, {"0": "good"}))


def test_intervals_are_clustered_by_video_for_groups_and_joint_shares_too(tmp_path):
    bench = benchmark(tmp_path)
    given = [perfect(row) if i % 3 == 0 else row for i, row in enumerate(rows(12))]
    estimates = bench.summary(bench.records_of(write(tmp_path / "p.json", given), None))
    for name in ("acc", "chain1/what+when+where", "chain2/R1@0.5", "acc@domain=Sports", "mAM", "mLGM"):
        estimate = estimates[name]
        assert estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high, name
    assert estimates["acc"].n == 12 and estimates["acc"].clusters == 6
    assert estimates["acc@length=Long"].n == estimates["mAM@length=Long"].n == 4


def test_a_group_of_one_video_has_no_interval(tmp_path):
    bench = benchmark(tmp_path)
    estimates = bench.summary(bench.records_of(write(tmp_path / "p.json", [perfect(row) for row in rows()]), None))
    for name in ("acc@length=Long", "mAM@length=Long", "chain1/LGM@length=Long"):
        assert estimates[name].clusters == 1 and math.isnan(estimates[name].low) and math.isnan(estimates[name].se)


def test_baselines_score_what_they_should(tmp_path):
    bench = installed(tmp_path, rows())
    questions = {question.id: question for question in bench.questions()}
    baselines = bench.baselines()
    assert {"whole_video", "centre_third", "full_frame", "centre_box", "all_whole"} == set(baselines)
    for key, text in baselines["all_whole"].items():
        scores = bench.score(questions[key], text, THOUSANDTHS)
        item = questions[key].truth["item"]
        expected = 4 / item.duration_s if "temporal" in key else 0.5
        assert scores["tiou" if "temporal" in key else "viou"] == pytest.approx(expected)


def test_tables_show_every_group_and_both_chains(tmp_path):
    bench = benchmark(tmp_path)
    records = bench.records_of(write(tmp_path / "p.json", [perfect(row) for row in rows()]), None)
    by_group, by_chain = bench.grids(bench.summary(records))
    assert [row[0] for row in by_group.rows] == ["all", "Short", "Medium", "Long", "Nature", "Sports"]
    assert by_group.header[1:] == (*bench.shown[:7], "items") and by_group.rows[0][1].startswith("100.0 ±")
    assert [row[-1] for row in by_group.rows] == ["3", "1", "1", "1", "1", "2"]
    named = [row[0] for row in by_chain.rows]
    assert {"tiou", "R1@0.7", "viou", "AP@0.1", "what+when+where", "AM", "LGM"} <= set(named)
    assert not any("=" in name for name in named) and all(len(row) == 3 for row in by_chain.rows)
    assert "| Long |" in by_group.markdown()
