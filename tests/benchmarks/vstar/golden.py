"""Reads golden V-STaR lines, scores their rows and says where the numbers differ."""

import functools
import gzip
import json
import math
from pathlib import Path

import pytest

from o3v.benchmarks.vstar import aggregate, items
from o3v.benchmarks.vstar.annotations import read_items
from o3v.benchmarks.vstar.judge import valid_score
from o3v.benchmarks.vstar.predictions import read_answers

SMALL = Path(__file__).parents[1] / "golden"
FULL = Path(__file__).parents[4] / "shared" / "golden"
TOLERANCE = 1e-9

NAMES = {
    "avg_all_score": "judge_score",
    "avg_valid_score": "judge_score_valid",
    "acc_vqa": "acc",
    "AM": "chain1/AM",
    "AM2": "chain2/AM",
    "mAM": "mAM",
    "LGM": "chain1/LGM",
    "LGM2": "chain2/LGM",
    "mLGM": "mLGM",
}
OF_CHAIN = {
    "r1_iou30": "R1@0.3",
    "r1_iou50": "R1@0.5",
    "r1_iou70": "R1@0.7",
    "mean_temporal_iou": "tiou",
    "mean_miou": "viou",
    "vqa_temp": "what+when",
    "vqa_spat": "what+where",
    "temp_spat": "when+where",
    "vqa_temp_spat": "what+when+where",
}
INDICES = {
    "vqa_temporal_idx": "what+when",
    "vqa_spatial_idx": "what+where",
    "temporal_spatial_idx": "when+where",
    "vqa_temp_spatial_idx": "what+when+where",
}


def small(name: str) -> list[dict]:
    return read(SMALL / name)


def full(name: str) -> list[dict]:
    """All lines, or a skipped test where the folder beside the repository is not there."""
    if not (FULL / name).is_file():
        pytest.skip(f"{FULL / name} is not here; its small copy is tested")
    return read(FULL / name)


@functools.cache
def read(path: Path) -> list[dict]:
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return [json.loads(line) for line in text.decode().splitlines()]


def score_row(row: dict, definition: str):
    """Item, answers and scores of a golden row; the judge's score is in it."""
    item = read_items([row], "golden", required=())[0]
    answers = read_answers(row, item, row.get("judge_score"), definition)
    return item, answers, items.item_scores(answers.scores, len(answers.given))


def item_faults(line: dict, definition: str) -> list[str]:
    """What differs for a line of vstar_items."""
    item, answers, scores = score_row(line["item"], definition)
    faults = [] if item.length == line["duration_group"] else ["duration_group"]
    if definition == "reference" and line["skipped_by_reference"]:
        return faults + ["answered"] * scores.answered
    if definition == "reference" and line["raises"]:
        raised = f"{line['raises']['type']}: {line['raises']['message']}"
        return faults + ["raises"] * (answers.failure != raised)
    corrected = definition == "corrected" and line["expected_corrected"] is not None
    expected = line["expected_corrected"] if corrected else line["expected"]
    rating = items.valid_rating(scores) if scores.answered else 0
    found = {
        "VQA_score": rating if definition == "reference" else valid_score(rating),
        "temporal_IoU": scores.tious[0],
        "temporal_IoU_2": scores.tious[1],
        "spatial_mIoU": scores.vious[0],
        "spatial_mIoU_2": scores.vious[1],
        "AP1@0.1:0.9": scores.aps[0],
        "AP2@0.1:0.9": scores.aps[1],
    }
    return faults + [key for key, value in expected.items() if not same(found[key], value)]


def aggregate_faults(line: dict, definition: str) -> list[str]:
    """What differs for a line of vstar_aggregate."""
    scored = [score_row(row, definition) for row in line["items"]]
    grouped = [
        aggregate.Grouped(scores, (f"length={item.length}", f"domain={item.domain}")) for item, _, scores in scored
    ]
    found = {label(name): table for name, table in aggregate.tables(grouped, definition).items()}
    if definition == "reference":
        stop = next((answers.failure for _, answers, _ in scored if answers.failure), None)
        return reference_faults(line, grouped, found, stop)
    expected = line["expected_corrected"] or line["expected"]
    faults = [] if list(found) == list(expected) else ["groups"]
    return faults + [fault for name in expected for fault in table_faults(name, found[name], expected[name])]


def reference_faults(line: dict, grouped: list, found: dict, stop: str | None) -> list[str]:
    raised = line["raises"]
    if stop is not None:
        return (
            [] if raised and raised["group"] is None and stop == f"{raised['type']}: {raised['message']}" else ["row"]
        )
    failed = [(name, table.failure) for name, table in found.items() if table.failure]
    finished = list(found)[: list(found).index(failed[0][0])] if failed else list(found)
    faults = [] if finished == line["expected_groups_in_order"] else ["groups"]
    if (failed[0] if failed else None) != (raised and (raised["group"], raised["message"])):
        faults.append("raises")
    for name, expected in line["expected"].items():
        faults += table_faults(name, found[name], expected) + index_faults(name, grouped, expected)
    return faults


def table_faults(group: str, table, expected: dict) -> list[str]:
    wanted = {}
    for key, value in expected.items():
        stem, chain = (key[:-2], 2) if key.endswith("_2") else (key, 1)
        if key in NAMES:
            wanted[NAMES[key]] = value
        elif stem in OF_CHAIN:
            wanted[f"chain{chain}/{OF_CHAIN[stem]}"] = value
        elif stem == "mean_aps":
            wanted |= {f"chain{chain}/AP@{x}": ap for x, ap in zip(items.AP_THRESHOLDS, value, strict=True)}
        else:
            assert stem == "total_samples" or stem in INDICES, key
    return [f"{group}: {name}" for name, value in wanted.items() if not same(table.values[name], value)]


def index_faults(group: str, grouped: list, expected: dict) -> list[str]:
    columns = aggregate.columns([item.scores for item in grouped], "reference", group != label(aggregate.OVERALL))
    members = [group == label(aggregate.OVERALL) or group in map(label, item.groups) for item in grouped]
    faults = []
    for key in expected:
        stem, chain = (key[:-2], 2) if key.endswith("_2") else (key, 1)
        if stem in INDICES:
            values = columns[f"chain{chain}/{INDICES[stem]}"]
            found = [i for i, (value, member) in enumerate(zip(values, members, strict=True)) if member and value == 1]
            faults += [] if found == expected[key] else [f"{group}: {key}"]
    return faults


def label(group: str) -> str:
    kind, _, name = group.partition("=")
    return {"length": f"Video Length: {name}", "domain": f"Domain: {name}"}.get(kind, "Overall Statistics")


def same(found, expected) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    value = float(expected)  # "NaN" where the script printed nan
    return math.isnan(found) if math.isnan(value) else abs(found - value) <= TOLERANCE
