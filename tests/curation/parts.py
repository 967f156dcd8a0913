"""A small curation of real clips with the scripted annotator, for several tests."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import yaml

from o3v.compose import compose_command, override
from o3v.curate import curation_of, main
from o3v.curation.items import Candidate
from o3v.curation.language import BoxLanguage
from o3v.data.shapes import ShapesWorld
from o3v.endpoint.loopback import said, serving
from o3v.measure.curation import World, write_world
from o3v.measure.oracle import Oracle
from o3v.types import KeyFrame
from tests import tiny

FAULT_SHARES = {
    "wrong_box": 0.1,
    "whole_frame": 0.1,
    "time_off": 0.1,
    "not_annotated": 0.1,
    "false_sentence": 0.1,
    "cut_off": 0.1,
}


def rules() -> ShapesWorld:
    values = yaml.safe_load((tiny.CONF / "bench_curation.yaml").read_text())["world"]
    values.pop("_target_")
    return ShapesWorld(**values)


def world(folder: Path, clips: int = 24) -> World:
    return write_world(rules(), folder, clips, 3)


@cache
def oracle(verifier_error: float = 0.0) -> Oracle:
    return Oracle(tuple(rules().colours), BoxLanguage("thousand", "xyxy"), FAULT_SHARES, verifier_error, 1)


@contextmanager
def annotator(answers=None):
    """The scripted annotator behind an address."""
    answers = answers or (lambda body, before: (200, said(oracle().reply(body["messages"])), {}))
    with serving(answers) as served:
        yield served


def config(world: World, out: Path, url: str, *overrides: str):
    places = {"rows": str(world.rows), "media_root": str(world.rows.parent), "out": str(out)}
    given = [override(key, value) for key, value in places.items()]
    endpoint = [f"annotator.client.url={url}", "annotator.client.model=oracle", "annotator.boxes.unit=thousand"]
    quick = ["annotator.client.backoff_s=0.01", "annotator.client.retries=1", "report.kept=1", "report.dropped=1"]
    return compose_command("curate", [*given, *endpoint, *quick, f"paths.output_dir={out}", *overrides])


def run(world: World, out: Path, url: str, *overrides: str):
    """The command in this process; the folder that it made."""
    cfg = config(world, out, url, *overrides)
    main.__wrapped__(cfg)
    return curation_of(cfg).folder


def files(folder: Path) -> dict[str, bytes]:
    """Everything that a run writes, without its configuration (it names its place) and half-written files of a kill."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "config.yaml" and path.suffix != ".tmp"
    }


def reasons(folder) -> list[tuple[str, str, str]]:
    return [(one["stage"], one["verdict"], one["reason"]) for one in decisions(folder)]


def decisions(folder) -> list[dict]:
    return [json.loads(line) for line in (folder.path / "decisions.jsonl").read_text().splitlines()]


BALL = (0.1, 0.1, 0.4, 0.4)
CLAIM = "<obj>red ball</obj><box>[0.1,0.1,0.4,0.4]</box>at<t>2.0</t>s"


def candidate(**changes) -> Candidate:
    frames = (KeyFrame(2.0, {"red ball": (BALL,)}, None), KeyFrame(5.0, {"dog": ((0.5, 0.5, 0.9, 0.9),)}, None))
    values = {
        "id": "a",
        "source": "shapes",
        "task": "temporal-spatial free-form QA",
        "video": "a.mp4",
        "question": "what?",
        "answer": "a ball",
        "description": "",
        "span_s": None,
        "duration_s": 12.0,
        "reasoning": f"I see it: {CLAIM}.",
        "key_frames": frames,
    }
    return Candidate(**{**values, **changes})
