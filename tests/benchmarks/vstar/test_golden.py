"""Every golden V-STaR line: `expected` in reference mode, `expected_corrected` in the default."""

import pytest

from o3v.benchmarks.vstar import judge
from o3v.benchmarks.vstar.annotations import read_items
from o3v.benchmarks.vstar.frames import frame_indices, frame_lines
from o3v.benchmarks.vstar.parsers import read_boxes, read_times
from o3v.benchmarks.vstar.prompts import question_text
from o3v.benchmarks.vstar.reference_parsers import complete_brackets, reference_boxes, reference_times
from o3v.types import BoxScale
from tests.benchmarks.vstar.golden import aggregate_faults, full, item_faults, small

DEFINITIONS = pytest.mark.parametrize("definition", ["reference", "corrected"])
SIZES = pytest.mark.parametrize("lines_of", [small, full], ids=["small", "full"])


@DEFINITIONS
@SIZES
def test_items(lines_of, definition):
    faults = {line["id"]: item_faults(line, definition) for line in lines_of("vstar_items.jsonl.gz")}
    assert {key: found for key, found in faults.items() if found} == {}


@DEFINITIONS
@SIZES
def test_aggregates(lines_of, definition):
    faults = {line["id"]: aggregate_faults(line, definition) for line in lines_of("vstar_aggregate.jsonl.gz")}
    assert {key: found for key, found in faults.items() if found} == {}


@SIZES
def test_reference_parsers(lines_of):
    readers = {
        "extract_timestamps": reference_times,
        "extract_bounding_boxes": reference_boxes,
        "fix_incomplete_json": complete_brackets,
    }
    lines = lines_of("vstar_parsers.jsonl")
    assert [x["id"] for x in lines if readers[x["function"]](x["raw"]) != x["expected"]] == []


@SIZES
def test_corrected_parsers(lines_of):
    lines = [x for x in lines_of("vstar_parsers.jsonl") if x["function"] != "fix_incomplete_json"]
    assert [(x["id"], x["raw"]) for x in lines if not corrected_agrees(x)] == []


def corrected_agrees(line) -> bool:
    if line["function"] == "extract_timestamps":
        found = read_times(line["raw"])
    else:
        size_px = (line["video_width"], line["video_height"])
        found = read_boxes(line["raw"], BoxScale(line["input_width"], line["input_height"]), size_px)
    expected = line["expected_corrected"]
    if line["deviation"] is None:
        # a cut text that happens to end behind a box is repaired like those that carry the slug truncated-json-lost
        repaired = isinstance(found, dict) and [*found.values()] == [line["expected"]]
        return found == line["expected"] or repaired
    if expected is None:
        return found != line["expected"]
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(boxes_agree(found[key], expected[key]) for key in expected)
    return found == expected


def boxes_agree(found, expected) -> bool:
    return len(found) == 4 and all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


@SIZES
def test_judge(lines_of):
    *replies, prompt = sorted(lines_of("vstar_judge.jsonl"), key=lambda x: "messages" in x)
    assert list(judge.messages(prompt["question"], prompt["groundtruth"], prompt["candidate"])) == prompt["messages"]
    for line in replies:
        reference, corrected = line["expected_score"], line["expected_corrected"]
        assert judge.parse_score(line["reply"], "reference") == reference, line
        assert (reference >= judge.CORRECT_FROM) == line["counts_as_correct"]
        assert judge.parse_score(line["reply"], "corrected") == (reference if corrected is None else corrected), line


@SIZES
def test_frames(lines_of):
    for line in lines_of("vstar_frames.jsonl"):
        asked = (line["total_frames"], line["video_fps"], line["sample_fps"], line["max_frames"])
        if line["raises"]:
            with pytest.raises(ValueError):
                frame_indices(*asked, line["unreadable_frames"])
            continue
        indices = frame_indices(*asked, line["unreadable_frames"])
        times_s = [index / line["video_fps"] for index in indices]
        assert (indices, times_s) == (line["expected_indices"], line["expected_times"]), line["id"]
        assert frame_lines(times_s) == line["expected_prompt"], line["id"]


@DEFINITIONS
@pytest.mark.parametrize(("lines_of", "name"), [(small, "vstar_prompts.jsonl"), (full, "benchmark_prompts.jsonl")])
def test_prompts(lines_of, name, definition):
    for line in lines_of(name):
        if line["benchmark"] != "vstar":
            continue
        corners = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in line["bboxes"] or []]
        boxes = [{"timestamp": second, **box} for second, box in enumerate(corners)]
        item = read_items([line["doc"] | {"bboxes": boxes}], line["id"])[0]
        text = question_text(line["function"].removeprefix("get_answer_"), item, line["think_mode"], definition)
        if line["raises"] and definition == "corrected":
            assert f"[{round(sum(item.span_s) / 2)}]" in text
        else:
            assert text == line["expected"], line["id"]
