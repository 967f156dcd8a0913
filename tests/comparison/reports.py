"""A report with everything in it, hostile text included."""

from __future__ import annotations

from o3v.comparison.collect import Unfinished
from o3v.comparison.curves import Chart, Line
from o3v.comparison.differences import Difference
from o3v.comparison.examples import Answered, Example
from o3v.comparison.report import Report
from o3v.comparison.tables import BenchmarkTable, Cell, TrivialCell
from o3v.comparison.twoway import Spread

HOSTILE = (
    "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<svg onload=alert(1)>\"'><style>*{display:none}</style>&amp;\ud800\x00\u202e</script></style>"
    "<iframe src=https://example.invalid/a></iframe>"
)
NAN = float("nan")


def cell(value, half, difference=None) -> Cell:
    return Cell(Spread(value, value - half, value + half, half / 4.3, 2, 0.01, "seeds"), 3, 80, 240, difference)


def difference(value, half, p, verdict) -> Difference:
    return Difference(
        Spread(value, value - half, value + half, half / 2, 20.5, p, "seeds and videos"), p, p, p, verdict, 3, 80, 240
    )


def report(**changes) -> Report:
    arms = {
        "base": {"acc": cell(0.5, 0.02), "mAM": cell(0.4, 0.03)},
        "x_1": {
            "acc": cell(0.7, 0.05, difference(0.2, 0.05, 0.0004, "better")),
            "mAM": cell(0.41, 0.02, difference(0.01, 0.05, 0.7, "no difference shown")),
        },
        HOSTILE: {"acc": cell(0.3, 0.01, difference(-0.2, 0.05, 0.001, "worse"))},
        "none": {},
    }
    table = BenchmarkTable(
        "made & more",
        "base",
        ("acc", "mAM"),
        arms,
        {"guess": {"acc": TrivialCell(0.25, NAN, NAN)}},
        {"base": {"mAM": 33.7}},
        (f"a note {HOSTILE}",),
    )
    line = Line(("base",), 3, (0.0, 1.0), (0.1, 0.2), (0.0, 0.1), (0.2, 0.3))
    other = Line((HOSTILE,), 1, (0.0,), (0.1,), (0.1,), (0.1,))
    answer = Answered(HOSTILE, {"acc": 0.5, HOSTILE: 1.0}, HOSTILE, None, HOSTILE)
    fields = {
        "name": "made",
        "title": "A <study> & 5 %",
        "question": HOSTILE,
        "baseline": "base",
        "arms": tuple(arms),
        "seeds": (0, 1, 2),
        "source": "folders",
        "command": "python -m o3v.compare study=made",
        "states": {"finished": 22, "failed": 1},
        "tables": (table,),
        "charts": (Chart("rl", "train/reward", 1, (line, other)), Chart("sft", "train/loss", 10, (line,))),
        "examples": (
            Example("made & more", "q1", HOSTILE, "drawn at random", 0, HOSTILE, HOSTILE, dict.fromkeys(arms, answer)),
        ),
        "unfinished": (Unfinished("rl-x", "rl", (HOSTILE,), (1, 2), "failed", "3 of 36 batches"),),
        "notes": ("a note",),
    }
    return Report(**(fields | changes))
