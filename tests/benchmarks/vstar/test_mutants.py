"""Wrong versions of the metrics, each of which the golden lines or a known answer must catch."""

import math

import numpy as np
import pytest

from o3v.benchmarks.vstar import aggregate, items, judge, parsers, predictions
from o3v.benchmarks.vstar.annotations import LENGTHS, read_items
from tests.benchmarks.vstar.golden import aggregate_faults, item_faults, small
from tests.benchmarks.vstar.world import rows

ITEM = read_items(rows(1), "world")[0]  # 2 to 6 s, the left half of 200 x 100 pixels at seconds 2 to 6


def known_answers() -> list[str]:
    """Names of small sums that come out wrong."""
    half = {str(second): [0, 0, 50, 100] for second in range(2, 7)}  # IoU exactly 0.5 in every second
    where = items.where_scores(ITEM, half, "corrected")
    one = items.where_scores(ITEM, {"2": [[0, 0, 100, 100], [0, 0, 1, 1]]}, "corrected")
    at_limits = items.ItemScores(True, 2, (0.3, 0.7), (0.1, 0.1), ((0.0,) * 5, (0.0,) * 5), 1.0, 1.0)
    columns = {name: values[0] for name, values in aggregate.columns([at_limits], "corrected", False).items()}
    out_of_range = items.ItemScores(True, 5, (0.0, 0.0), (0.0, 0.0), ((0.0,) * 5, (0.0,) * 5), 1.0, 1.0)
    boxes = predictions.read_answers({"answer_spatial": half, "input_shape": [100, 100]}, ITEM, None, "corrected")
    found = {
        "iou equal to the limit": where["AP@0.5"] == 1.0 and where["AP@0.7"] == 0.0,
        "missing seconds": one["viou"] == pytest.approx(0.2) and one["AP@0.9"] == 0.2,
        "hull": items.when_scores(ITEM, [4, 8])["tiou"] == pytest.approx(2 / 6),
        "apart": items.when_scores(ITEM, [7, 8])["tiou"] == 0.0,
        "R1 at the limit": columns["chain1/R1@0.3"] == 1.0 and columns["chain2/R1@0.7"] == 1.0,
        "joint at the limits": columns["chain1/what+when+where"] == 1.0,
        "converted": boxes.scores["spatial"]["viou"] == pytest.approx(1.0),
        "a score of 5 is none": aggregate.columns([out_of_range], "corrected", False)["acc"][0] == 0.0,
        "60 s is medium": read_items(rows(2), "world")[1].length == "Medium",
    }
    return [name for name, right in found.items() if not right]


def faults() -> list[str]:
    found = known_answers()
    for definition in ("corrected", "reference"):
        found += [x["id"] for x in small("vstar_items.jsonl.gz") if item_faults(x, definition)]
        found += [x["id"] for x in small("vstar_aggregate.jsonl.gz") if aggregate_faults(x, definition)]
    return found


def strict_ap(original):
    """A hair below every IoU makes `>=` a `>`."""
    return lambda a, b: float(np.nextafter(original(a, b), 0))


def strict_r1(original):
    def chain_columns(chain, right, tious, vious, aps):
        wrong = original(chain, right, np.nextafter(tious, 0), vious, aps)
        return original(chain, right, tious, vious, aps) | {name: wrong[name] for name in wrong if "R1@" in name}

    return chain_columns


def over_processed_only(original):
    def columns(scores, definition, in_group):
        found = original(scores, definition, in_group)
        answered = np.array([item.answered for item in scores], dtype=bool)
        return {name: np.where(answered, values, np.nan) for name, values in found.items()}

    return columns


def over_predicted_seconds(original):
    def where_scores(item, value, definition):
        boxes = value if isinstance(value, dict) else {}
        seconds = {parsers.second_of(key) for key in boxes}
        kept = tuple(box for box in item.boxes if box.second in seconds)
        return original(type(item)(**{**vars(item), "boxes": kept}), value, definition)

    return where_scores


def shared_over_sum(a, b):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0]) if a[1] > a[0] else 0.0


def exclusive_hull(a, b):
    """Counts whole seconds with the last one left out of the hull."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / max(a[1] - a[0], b[1] - b[0], 1e-9) if a[1] >= a[0] else 0.0


def mean_box(original):
    def best(truth, candidates):
        values = [original(truth, [candidate]) for candidate in candidates]
        return sum(values) / len(values) if values else 0.0

    return best


def first_box(original):
    return lambda truth, candidates: original(truth, candidates[:1])


def swapped(original):
    def item_scores(found, answered_kinds):
        names = {"temporal": "temporal_2", "temporal_2": "temporal"}
        return original({names.get(kind, kind): scores for kind, scores in found.items()}, answered_kinds)

    return item_scores


MUTANTS = {
    "mean over processed items only": (aggregate, "columns", over_processed_only),
    "temporal IoU over the sum of lengths": (items, "tiou", lambda _: shared_over_sum),
    "exclusive hull": (items, "tiou", lambda _: exclusive_hull),
    "strict AP limits": (items, "box_iou", strict_ap),
    "strict R1 limits": (aggregate, "_chain_columns", strict_r1),
    "strict joint limit of when": (aggregate, "JOINT_TIOU", lambda x: np.nextafter(x, 1)),
    "strict joint limit of where": (aggregate, "JOINT_VIOU", lambda x: np.nextafter(x, 1)),
    "missing seconds ignored": (items, "where_scores", over_predicted_seconds),
    "mean over the boxes of a second": (items, "_best", mean_box),
    "first box of a second": (items, "_best", first_box),
    "seconds compared as text": (items, "_as_number", lambda _: items._as_text),
    "only a score of 3 is right": (aggregate, "CORRECT_FROM", lambda _: 3),
    "a score of 1 is right": (aggregate, "CORRECT_FROM", lambda _: 1),
    "scores out of range are right": (aggregate, "valid_score", lambda _: int),
    "times of the other chain": (items, "item_scores", swapped),
    "boxes not converted": (predictions, "scaled_boxes", lambda _: lambda boxes, factors: boxes),
    "larger constant in LGM": (aggregate, "log_geometric_mean", lambda f: lambda *x: f(*(0.999 * v for v in x))),
    "AM of two": (aggregate, "arithmetic_mean", lambda _: lambda acc, when, where: (acc + when) / 2),
    "chains added": (aggregate, "mean_over_chains", lambda _: lambda one, two: one + two),
    "times read like the released parser": (predictions, "read_times", lambda _: predictions.reference_times),
}


def test_the_right_version_has_no_fault():
    assert faults() == []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(monkeypatch, name):
    module, attribute, change = MUTANTS[name]
    original = getattr(module, attribute)
    changed = change(original)
    for place in (module, predictions):  # both use the functions of items under their own names
        if getattr(place, attribute, None) is original:
            monkeypatch.setattr(place, attribute, changed)
    assert faults()


def test_a_missing_lower_limit_in_lgm_is_caught():
    one = np.array([1.0])
    assert math.isfinite(aggregate.log_geometric_mean(one, one, one)[0])
    assert math.isnan(aggregate._lgm_without_limit(one, one, one)[0])


def test_limits_of_lengths_and_scores_are_what_the_benchmark_says():
    assert (judge.CORRECT_FROM, LENGTHS["Short"], LENGTHS["Medium"]) == (2, 60.0, 180.0)
