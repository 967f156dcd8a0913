"""The generated world on disk: real H.264 and JPEG files with rows in the official STGR layout.

    ROOT/json_data/STGR-SFT.json, STGR-RL.json
    ROOT/videos/<folder of the source>/...

so that `data=shapes` goes through the same reader, decoder, interleaver and processor as a downloaded data set.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from o3v.data.faults import Fault
from o3v.data.shapes import Scene, ShapesWorld, render
from o3v.data.shapes_rows import Row, draw_row, rl_row
from o3v.data.stgr import StgrDataset, media_folder
from o3v.errors import ConfigError, StorageError
from o3v.types import Sample, Task
from o3v.video.encode import write_video

log = logging.getLogger(__name__)

SPLITS = {"train": 0, "heldout": 1, "probe": 2}
"""Name -> number; scenes of different splits come from different seeds."""

_FILES = {"sft": "STGR-SFT.json", "rl": "STGR-RL.json"}
_FORMAT = 1  # of the files; a change of what is written makes other folders


@dataclass(frozen=True)
class ShapesDataset:
    """A data set of the generated world, written to disk when it is first read.

    Attributes:
        root: folder below which the files are written, one sub-folder a configuration.
        world: the rules of the scenes.
        split: train, heldout or probe; their scenes never overlap.
        file: sft (rows with reasoning) or rl (rows as the RL file publishes them).
        counts: task -> rows.
        seed: another seed is another data set.
        max_fault_share: share of invalid rows above which reading stops.
    """

    root: str
    world: ShapesWorld
    split: str
    file: str
    counts: Mapping[str, int]
    seed: int
    max_fault_share: float

    def __post_init__(self) -> None:
        for key, value, allowed in (("split", self.split, SPLITS), ("file", self.file, _FILES)):
            if value not in allowed:
                raise ConfigError(f"data.dataset.{key}={value!r} is not allowed; allowed are {sorted(allowed)}")
        tasks = [str(task) for task in Task]
        for task in self.counts:
            if task not in tasks:
                raise ConfigError(f"data.dataset.counts: unknown task {task!r}; allowed are {tasks}")

    @property
    def folder(self) -> Path:
        """Where this data set's files stand; named by what they depend on."""
        identity = {k: v for k, v in asdict(self).items() if k not in ("root", "file", "max_fault_share")}
        text = json.dumps(identity | {"format": _FORMAT}, sort_keys=True, default=list)
        return Path(self.root) / f"{self.split}-{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]}"

    def samples(self) -> list[Sample]:
        """Read the rows as any STGR data set, after writing the files if they are not there yet."""
        self.write()
        return self._reader().samples()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Rows that `samples` leaves out: none, unless files were damaged."""
        return self._reader().faults

    def write(self) -> None:
        """Write media and annotation files, once, whatever the number of processes that ask at the same time.

        Raises:
            StorageError: the folder cannot be written.
        """
        if self.folder.is_dir():
            return
        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            with _lock(Path(self.root) / ".lock"):
                if not self.folder.is_dir():
                    self._write_aside()
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot write the generated data ({error.strerror or error})") from error

    def _write_aside(self) -> None:
        aside = self.folder.with_name(f".{self.folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        total = sum(self.counts.values())
        log.info("writing %d clips and images of the generated world to %s", total, self.folder)
        rows = [self._write_one(aside, Task(task), k) for task, count in self.counts.items() for k in range(count)]
        (aside / "json_data").mkdir(parents=True, exist_ok=True)
        published = [{k: v for k, v in row.items() if k not in ("span", "letter")} for row in rows]
        (aside / "json_data" / _FILES["sft"]).write_text(json.dumps(published))
        rl = [{k: v for k, v in rl_row(row).items() if k not in ("span", "letter")} for row in rows]
        (aside / "json_data" / _FILES["rl"]).write_text(json.dumps(rl))
        aside.rename(self.folder)

    def _write_one(self, root: Path, task: Task, number: int) -> Row:
        row, scene = draw_row(self.world, task, self._scene_seed(task, number))
        name = f"{task.name.lower()}_{number:05d}"
        kind, ending = ("image_path", "jpg") if task is Task.VISUAL_QA else ("video_path", "mp4")
        path = root / media_folder(row["source"], is_image=task is Task.VISUAL_QA) / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write_media(path, scene)
        return {"id": f"{self.split}-{name}"} | row | {kind: path.name}

    def _write_media(self, path: Path, scene: Scene) -> None:
        frames = render(self.world, scene)
        if len(frames) == 1:
            Image.fromarray(frames[0]).save(path, quality=95)
        else:
            write_video(path, frames, fps=self.world.fps)

    def _scene_seed(self, task: Task, number: int) -> int:
        """Disjoint for all splits, tasks and numbers; below 2**40, where the captions of pretraining begin."""
        tasks = list(Task)
        block = (self.seed * len(SPLITS) + SPLITS[self.split]) * len(tasks) + tasks.index(task)
        return block * 100_000 + number

    def _reader(self) -> StgrDataset:
        return StgrDataset(
            root=str(self.folder),
            annotation_file=f"json_data/{_FILES[self.file]}",
            max_fault_share=self.max_fault_share,
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for the other processes that write below the same root."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
