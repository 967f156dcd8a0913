"""The generated world: coloured shapes that appear, move and vanish.

A scene is drawn from a seed, rendered to frames, and described by exact annotations: when each object is seen, where
it is in every frame. `o3v.data.shapes_rows` turns scenes into STGR rows and real media files; `o3v.data.captions`
turns them into the captions from which the tiny base model learns to see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from o3v.types import Box

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS: dict[str, tuple[int, int]] = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True)
class ShapeObject:
    """One object of a scene.

    Attributes:
        colour, shape: its look; `name` is both words.
        direction: the way it moves.
        first_frame: index of the first frame in which it is seen.
        corners_px: top left corner (x, y) in each frame in which it is seen, consecutive frames.
    """

    colour: str
    shape: str
    direction: str
    first_frame: int
    corners_px: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """For example `red circle`."""
        return f"{self.colour} {self.shape}"

    @property
    def last_frame(self) -> int:
        """Index of the last frame in which it is seen."""
        return self.first_frame + len(self.corners_px) - 1

    def is_visible(self, frame: int) -> bool:
        """Whether the object is seen in this frame."""
        return self.first_frame <= frame <= self.last_frame

    def corner_px(self, frame: int) -> tuple[int, int]:
        """Top left corner in a frame in which it is seen."""
        return self.corners_px[frame - self.first_frame]


@dataclass(frozen=True)
class Scene:
    """Objects, background and length of one clip (or still image: one frame)."""

    objects: tuple[ShapeObject, ...]
    n_frames: int
    seed: int


@dataclass(frozen=True)
class ShapesWorld:
    """The rules from which scenes are drawn; their difficulty is set here.

    Attributes:
        frame_px: width and height of a frame.
        n_frames: frames of a clip.
        fps: frames a second, so that frame k is shown at k / fps seconds.
        min_objects, max_objects: objects of a scene, each with a colour of its own.
        colours, shapes: what the objects may look like.
        size_px: width and height of an object.
        grid_px: positions are multiples of this.
        speed_px: movement from frame to frame.
        min_visible, max_visible: frames in which an object is seen.
        noise: standard deviation of the background's noise, in grey levels.
    """

    frame_px: int
    n_frames: int
    fps: float
    min_objects: int
    max_objects: int
    colours: tuple[str, ...] | list[str]
    shapes: tuple[str, ...] | list[str]
    size_px: int
    grid_px: int
    speed_px: int
    min_visible: int
    max_visible: int
    noise: float

    def scene(self, seed: int, n_objects: int | None = None) -> Scene:
        """Draw a clip; the same seed gives the same scene."""
        return self._draw(seed, self.n_frames, n_objects)

    def still(self, seed: int, n_objects: int | None = None) -> Scene:
        """Draw a still image: one frame in which every object is seen."""
        return self._draw(seed, 1, n_objects)

    def box(self, item: ShapeObject, frame: int) -> Box:
        """Normalised box of an object in a frame in which it is seen."""
        x, y = item.corner_px(frame)
        return tuple(v / self.frame_px for v in (x, y, x + self.size_px, y + self.size_px))  # type: ignore[return-value]

    def time_s(self, frame: int) -> float:
        """When a frame is shown."""
        return frame / self.fps

    def _draw(self, seed: int, n_frames: int, n_objects: int | None) -> Scene:
        rng = np.random.default_rng([seed, n_frames])
        wanted = n_objects or int(rng.integers(self.min_objects, self.max_objects + 1))
        while True:
            objects: list[ShapeObject] = []
            colours = rng.permutation(list(self.colours))[:wanted]
            for colour in colours:
                item = self._place(rng, str(colour), n_frames, objects)
                if item is not None:
                    objects.append(item)
            if len(objects) == wanted:
                return Scene(tuple(objects), n_frames, seed)

    def _place(
        self, rng: np.random.Generator, colour: str, n_frames: int, others: list[ShapeObject]
    ) -> ShapeObject | None:
        """One object that overlaps no other in any frame; None when 50 tries found no room."""
        room = (self.frame_px - self.size_px) // self.grid_px
        for _ in range(50):
            length = 1 if n_frames == 1 else int(rng.integers(self.min_visible, self.max_visible + 1))
            first = int(rng.integers(0, n_frames - length + 1))
            direction = str(rng.choice(list(DIRECTIONS)))
            x, y = (rng.integers(0, room + 1, 2) * self.grid_px).tolist()
            dx, dy = (self.speed_px * d for d in DIRECTIONS[direction])
            corners = tuple((x + dx * k, y + dy * k) for k in range(length))
            item = ShapeObject(colour, str(rng.choice(list(self.shapes))), direction, first, corners)
            if self._fits(item) and not any(self._overlap(item, other) for other in others):
                return item
        return None

    def _fits(self, item: ShapeObject) -> bool:
        limit = self.frame_px - self.size_px
        return all(0 <= x <= limit and 0 <= y <= limit for x, y in item.corners_px)

    def _overlap(self, a: ShapeObject, b: ShapeObject) -> bool:
        frames = range(max(a.first_frame, b.first_frame), min(a.last_frame, b.last_frame) + 1)
        return any(
            abs(a.corner_px(k)[0] - b.corner_px(k)[0]) < self.size_px
            and abs(a.corner_px(k)[1] - b.corner_px(k)[1]) < self.size_px
            for k in frames
        )


def render(world: ShapesWorld, scene: Scene) -> np.ndarray:
    """Frames of a scene, [T, H, W, 3] uint8 RGB: shapes over a grey gradient with a little noise."""
    rng = np.random.default_rng([scene.seed, 7])
    side = world.frame_px
    low, high = sorted(rng.uniform(60, 150, 2))
    ramp = np.linspace(low, high, side)
    plane = ramp[None, :] if rng.random() < 0.5 else ramp[:, None]
    background = np.broadcast_to(plane, (side, side))[None, :, :, None]
    frames = background + rng.normal(0, world.noise, (scene.n_frames, side, side, 1))
    frames = np.repeat(frames, 3, axis=3)
    for item in scene.objects:
        mask = _shape_mask(item.shape, world.size_px)
        for k in range(item.first_frame, item.last_frame + 1):
            x, y = item.corner_px(k)
            frames[k, y : y + world.size_px, x : x + world.size_px][mask] = COLOURS[item.colour]
    return np.clip(frames, 0, 255).astype(np.uint8)


def _shape_mask(shape: str, size: int) -> np.ndarray:
    """[size, size] bool, True inside the shape."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    if shape == "square":
        return np.ones((size, size), bool)
    if shape == "circle":
        return (x - size / 2) ** 2 + (y - size / 2) ** 2 <= (size / 2) ** 2
    return np.abs(x - size / 2) <= y / 2  # triangle, apex on top
