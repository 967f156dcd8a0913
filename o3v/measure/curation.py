"""Curation measured where every error is known: rows of the generated world, and what a run made of them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from o3v.curation.items import CHANGED, DROPPED, Candidate, Decision
from o3v.data.shapes import Scene, ShapesWorld, render
from o3v.data.shapes_rows import draw_row
from o3v.grounding.boxes import box_iou
from o3v.grounding.parse import read_claims
from o3v.types import Box, BoxScale, Task
from o3v.video.encode import write_video

RIGHT_IOU = 0.5
HARMLESS = frozenset({"question and answer written"})
"""Reasons of decisions that say nothing against a proposal."""

_LOOKS = re.compile(r"<obj>(\w+) \w+</obj>[^.]*(?:\.[0-9][^.]*)*looks (\w+)\.")
_NOTE = re.compile(r'"note": "(\w+)"')


@dataclass(frozen=True)
class World:
    """Clips on disk with the truth about them.

    Attributes:
        rules: of the scenes.
        scenes: row id -> its scene.
        rows: the file of rows, below the folder of the clips.
    """

    rules: ShapesWorld
    scenes: Mapping[str, Scene]
    rows: Path


def write_world(rules: ShapesWorld, folder: Path, clips: int, seed: int) -> World:
    """Clips with rows: every other one with question and answer, the others with a description of a span.

    Every tenth row cannot be used: a short clip, a span of the whole clip, a broken file, a missing file, in turns.
    """
    scenes, rows = {}, []
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for n in range(clips):
        name, is_bad = f"clip-{n:04d}", n % 10 == 9
        kind = ("short", "whole", "broken", "missing")[n // 10 % 4] if is_bad else ""
        world = replace(rules, n_frames=max(rules.max_visible, rules.n_frames // 2)) if kind == "short" else rules
        given, scene = draw_row(world, Task.TEMPORAL_SPATIAL, seed * 100_000 + n)
        row: dict[str, Any] = {"id": name, "source": "shapes", "video": f"clips/{name}.mp4"}
        rows.append(row | (_asked(given) if n % 2 == 0 and kind != "whole" else _described(world, scene, kind)))
        scenes[name] = scene
        path = folder / "clips" / f"{name}.mp4"
        if kind == "broken":
            path.write_bytes(b"no video")
        elif kind != "missing":
            write_video(path, render(world, scene), fps=world.fps)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return World(rules, scenes, file)


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"question": given["question"], "answer": given["answer"], "task": str(Task.TEMPORAL_SPATIAL)}


def _described(world: ShapesWorld, scene: Scene, kind: str) -> dict[str, Any]:
    item = scene.objects[0]
    span = [world.time_s(item.first_frame), world.time_s(item.last_frame)]
    return {
        "task": str(Task.TEMPORAL_QA),
        "description": f"The {item.name} moves {item.direction}.",
        "span": [0.0, (world.n_frames - 1) / world.fps] if kind == "whole" else span,
    }


def truth_of(world: World, row: str, name: str, time_s: float) -> Box | None:
    """Where an object of that name is at a time; None where it is not."""
    scene, frame = world.scenes[row], round(time_s * world.rules.fps)
    for item in scene.objects:
        if item.name == name.lower() and item.is_visible(frame):
            return world.rules.box(item, frame)
    return None


def faults_of(world: World, candidate: Candidate) -> list[str]:
    """What is wrong with a kept row: boxes, names, times, claims, a colour that an object has not, the answer."""
    found: list[str] = []
    annotated = [
        (name, box, frame.time_s)
        for frame in candidate.key_frames
        for name, boxes in frame.boxes.items()
        for box in boxes
    ]
    claims = read_claims(candidate.reasoning, BoxScale(1, 1))
    cited = [(claim.name, box, claim.time_s) for claim in claims for box in claim.boxes]
    for place, entries in (("annotation", annotated), ("reasoning", cited)):
        for name, box, time_s in entries:
            truth = truth_of(world, candidate.id, name, time_s)
            if truth is None:
                found.append(f"{place}: no such object")
            elif box_iou(box, truth) < RIGHT_IOU:
                found.append(f"{place}: box")
    names = [item.name for item in world.scenes[candidate.id].objects]
    if any(colour != looks for colour, looks in _LOOKS.findall(candidate.reasoning)):
        found.append("reasoning: colour")
    if not any(name in candidate.answer for name in names):
        found.append("answer")
    return sorted(set(found))


def injected_in(replies: Path) -> dict[str, str]:
    """Row -> error that the oracle put into its proposal, from the kept replies."""
    found = {}
    for path in sorted(replies.rglob("*.json")):
        record = json.loads(path.read_text())
        note = _NOTE.search(record["reply"])
        if record["stage"] == "propose" and note:
            found[record["sample"]] = note[1]
    return found


def first_objection(decisions: Sequence[Decision], row: str) -> str:
    """Stage that first dropped a row after its proposal, or a part of it; "" for none."""
    for one in decisions:
        if one.sample == row and one.verdict in (CHANGED, DROPPED) and one.reason not in HARMLESS:
            return one.stage
    return ""


def measured(
    world: World, kept: Sequence[Candidate], decisions: Sequence[Decision], injected: Mapping[str, str]
) -> dict[str, Any]:
    """Precision of the kept rows, and for each injected error where it was first objected to and what became of it.

    A kept row is wrong where `faults_of` finds anything: its box against the truth at an IoU of 0.5, and so on.
    """
    wrong = {candidate.id: faults_of(world, candidate) for candidate in kept}
    right = sum(not faults for faults in wrong.values())
    by_fault: dict[str, Any] = {}
    for fault in sorted(set(injected.values())):
        rows = [row for row, kind in injected.items() if kind == fault]
        noticed = Counter(first_objection(decisions, row) or "nowhere" for row in rows)
        by_fault[fault] = {
            "injected": len(rows),
            "first_noticed": dict(sorted(noticed.items())),
            "rows_kept": sum(row in wrong for row in rows),
            "kept_wrong": sum(bool(wrong.get(row)) for row in rows),
        }
    return {
        "proposed": len(injected),
        "kept": len(kept),
        "right": right,
        "precision": round(right / len(kept), 4) if kept else None,
        "precision_95": wilson(right, len(kept)),
        "sound_proposals_kept": _share_kept(injected, wrong),
        "faults": by_fault,
        "faults_of_kept": dict(Counter(fault for faults in wrong.values() for fault in faults).most_common()),
    }


def _share_kept(injected: Mapping[str, str], kept: Mapping[str, object]) -> list[int]:
    """[kept, all] of the proposals without an injected error."""
    sound = [row for row, kind in injected.items() if kind == "none"]
    return [sum(row in kept for row in sound), len(sound)]


def wilson(successes: int, n: int) -> list[float] | None:
    """95 % interval of a share (Wilson 1927); None without a trial.

    >>> wilson(9, 10), wilson(0, 0)
    ([0.5958, 0.9821], None)
    """
    if n == 0:
        return None
    z, p = 1.959964, successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return [round(centre - half, 4), round(centre + half, 4)]
