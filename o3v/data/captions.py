"""Captions of generated scenes: what the tiny base model is pretrained on.

A real base model arrives knowing how to see and how to write coordinates; these captions give the tiny one the same,
without teaching the think/answer format that SFT is for. The order matters (found in trials before this code):
a colour word followed directly by its numbers is learned in minutes, the same with tags in between is not. So names
and numbers come first, tags later, moving objects last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from o3v.data.shapes import Scene, ShapeObject, ShapesWorld, render
from o3v.models.family import Family
from o3v.prompts.build import interleave
from o3v.types import BoxScale, Clip, Prompt
from o3v.video.geometry import resize


@dataclass(frozen=True)
class _View:
    """A scene with what is needed to write about it."""

    world: ShapesWorld
    scene: Scene
    scale: BoxScale

    def numbers(self, item: ShapeObject, frame: int) -> str:
        return ",".join(str(v) for v in self.scale.to_model(self.world.box(item, frame)))

    def claim(self, item: ShapeObject, frame: int) -> str:
        return f"<obj>{item.name}</obj><box>[{self.numbers(item, frame)}]</box>at<t>{self.world.time_s(frame):.1f}</t>s"

    def track(self, item: ShapeObject) -> str:
        """Time and place at first and at last, then the direction: a number stands right after what it belongs to."""
        ends = (item.first_frame, item.last_frame)
        return ";".join(f"{self.world.time_s(k):.1f},{self.numbers(item, k)}" for k in ends) + f";{item.direction}"


Caption = Callable[[_View, ShapeObject], tuple[str, str]]
"""A view and the object asked for -> (question, text to write)."""

STILL_CAPTIONS: dict[str, Caption] = {
    "colour": lambda v, o: (o.colour, f"{o.colour}{v.numbers(o, 0)}"),
    "name": lambda v, o: (o.name, f"{o.name}{v.numbers(o, 0)}"),
    "tagged": lambda v, o: (f"the {o.name}", f"<obj>{o.name}</obj><box>[{v.numbers(o, 0)}]</box>"),
    "dense": lambda v, o: ("objects", ";".join(f"{i.name}{v.numbers(i, 0)}" for i in v.scene.objects)),
}
CLIP_CAPTIONS: dict[str, Caption] = {
    "track": lambda v, o: (o.name, f"{o.name}{v.track(o)}"),
    "tracks": lambda v, o: ("objects", "\n".join(f"{i.name}{v.track(i)}" for i in _by_time(v.scene))),
    "claims": lambda v, o: (f"the {o.name}", f"{v.claim(o, o.first_frame)} {v.claim(o, o.last_frame)}"),
    "starts": lambda v, o: ("starts", " ".join(v.claim(i, i.first_frame) for i in _by_time(v.scene))),
    "when": lambda v, o: (f"when {o.name}", f"{v.world.time_s(o.first_frame):.1f} {v.world.time_s(o.last_frame):.1f}"),
}


def _by_time(scene: Scene) -> list[ShapeObject]:
    return sorted(scene.objects, key=lambda item: (item.first_frame, item.name))


@dataclass(frozen=True)
class CaptionStage:
    """A part of the curriculum.

    Attributes:
        until: share of all steps at which it ends.
        batch: captions a step.
        weights: caption kind -> how often it is drawn, relative to the others.
        max_objects: most objects of a scene.
    """

    until: float
    batch: int
    weights: Mapping[str, float]
    max_objects: int


@dataclass(frozen=True)
class Captions:
    """The stream of pretraining captions; batch i is a function of (seed, i) alone.

    Attributes:
        world: where scenes are drawn from.
        stages: the curriculum, in order.
        steps: number of batches.
    """

    world: ShapesWorld
    stages: list[CaptionStage]
    steps: int

    def prompts(self, seed: int, step: int, family: Family) -> list[Prompt]:
        """The prompts of one step.

        Args:
            seed: the run's seed; its scenes lie outside the ranges from which data sets are drawn.
            step: number of the batch.
            family: whose frames and box units.
        """
        stage = next(s for s in self.stages if step < s.until * self.steps)
        rng = np.random.default_rng([seed, step, 3])
        kinds = rng.choice(list(stage.weights), stage.batch, p=_normalised(list(stage.weights.values())))
        return [self._prompt(str(kind), rng, stage.max_objects, family) for kind in kinds]

    def _prompt(self, kind: str, rng: np.random.Generator, max_objects: int, family: Family) -> Prompt:
        number = int(rng.integers(2**40, 2**41))
        n_objects = int(rng.integers(self.world.min_objects, max_objects + 1))
        still = kind in STILL_CAPTIONS
        scene = self.world.still(number, n_objects) if still else self.world.scene(number, n_objects)
        clip = clip_of(self.world, scene, family)
        asked = scene.objects[int(rng.integers(len(scene.objects)))]
        write = STILL_CAPTIONS[kind] if still else CLIP_CAPTIONS[kind]
        box_scale = family.box_scale(clip.size_px)
        question, target = write(_View(self.world, scene, box_scale), asked)
        return Prompt("", (*interleave(clip), question), clip, box_scale, target)


def clip_of(world: ShapesWorld, scene: Scene, family: Family) -> Clip:
    """A scene as a clip, straight from the renderer (no file, no codec), in a size that the family takes."""
    side = max(1, round(world.frame_px / family.factor)) * family.factor
    frames = np.stack([resize(frame, side, side) for frame in render(world, scene)])
    times_s = () if scene.n_frames == 1 else tuple(world.time_s(k) for k in range(scene.n_frames))
    duration_s = 0.0 if scene.n_frames == 1 else scene.n_frames / world.fps
    return Clip(frames, times_s, duration_s, (world.frame_px, world.frame_px))


def _normalised(weights: list[float]) -> list[float]:
    return [w / sum(weights) for w in weights]
