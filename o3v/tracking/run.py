"""What a run is: the signature of its configuration, the code it ran from, and its folder on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import yaml

from o3v.errors import ConfigError, DataError, StorageError

NOT_IDENTITY = frozenset(
    {"cluster", "logger", "paths", "hydra", "store", "trainer.lightning.enable_progress_bar", "trainer.num_workers"}
    | {"trainer.profile", "trainer.peak_tflops"}
    | {"trainer.lightning.devices", "trainer.lightning.num_nodes", "trainer.prompts_per_device"}
    | {"data.lengths_folder"}
    | {"engine.url", "engine.weights_folder", "engine.timeout_s", "engine.patience_s", "engine.pause_s"}
    | {"engine.key_variable"}
)
"""Keys, with dots for parts of a group, that say where and how a run happens, not what it computes.

Devices, nodes and prompts a device are among them: their product, the batch over all processes, is what counts, and
`o3v.train` gives it to the signature as `global_batch`.
"""


class GitState(TypedDict):
    """Which code ran: the commit (None outside a repository) and whether the working tree differed from it."""

    commit: str | None
    dirty: bool


def run_signature(config: Mapping[str, Any]) -> str:
    """Name of a resolved configuration: sha1 over its canonical JSON without `NOT_IDENTITY`, 8 hex characters.

    Keys are sorted and whole floats written as integers, so neither the order of keys nor `0` instead of `0.0` on
    the command line makes another run. A file below one of `paths` counts by its place there, so a run keeps its name
    when its folders move to another machine.

    Args:
        config: resolved configuration of plain dicts, lists, strings, numbers, booleans and None.

    Returns:
        8 characters of 0-9a-f.

    Raises:
        ConfigError: a value that JSON cannot hold (an object, a NaN); names its key.

    Example:
        >>> run_signature({"lr": 1.0, "seed": 0, "paths": {"out": "/a"}})
        '1bcdaa11'
        >>> run_signature({"seed": 0, "lr": 1, "paths": {"out": "/b"}}) == run_signature({"lr": 1.0, "seed": 0})
        True
        >>> a = run_signature({"paths": {"out": "/a"}, "init_from": "/a/sft/model"})
        >>> a == run_signature({"paths": {"out": "b"}, "init_from": "b/sft/model"})
        True
    """
    roots = _roots(config.get("paths") or {})
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    identity = {key: _canonical(value, str(key), roots) for key, value in kept.items()}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _roots(paths: Mapping[str, Any]) -> dict[str, str]:
    """Folder as it may stand in a configuration -> a name for it; the longest first, as folders lie in each other."""
    given = {str(value): key for key, value in paths.items() if value not in (None, "", "/", ".", "???")}
    roots = {folder: f"<{key}>" for folder, key in given.items()}
    roots |= {os.path.abspath(folder): f"<{key}>" for folder, key in given.items() if "://" not in folder}
    return dict(sorted(roots.items(), key=lambda item: -len(item[0])))


def _canonical(value: Any, key: str, roots: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        items = {str(name): (f"{key}.{name}", item) for name, item in value.items()}
        return {name: _canonical(item, at, roots) for name, (at, item) in items.items() if at not in NOT_IDENTITY}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{key}[{index}]", roots) for index, item in enumerate(value)]
    if isinstance(value, float) and value == value and value not in (float("inf"), float("-inf")):
        return int(value) if value.is_integer() else value
    if isinstance(value, str):
        return next((name + value[len(root) :] for root, name in roots.items() if _is_below(value, root)), value)
    if value is None or isinstance(value, bool | int):
        return value
    raise ConfigError(
        f"{key}: {value!r} ({type(value).__name__}) cannot be part of a run's signature; "
        "allowed are dicts, lists, strings, finite numbers, booleans and null"
    )


def _is_below(value: str, root: str) -> bool:
    return value.startswith(root.rstrip("/") + "/")


def git_state(root: Path) -> GitState:
    """Commit of the working tree around `root`, and whether tracked files differ from it.

    Returns:
        `{"commit": None, "dirty": False}` outside a repository, without a commit, or where git is not installed.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": False}
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block (read-only, full, no such folder) into a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot write ({error.strerror or error}); choose another folder or free space"
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old content or the new one, never a part; also after a crash.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; every file in it is written atomically.

    Attributes:
        path: the folder; made on the first write.
    """

    path: Path

    def create(self) -> None:
        """Makes the folder, so that an unwritable place is told before anything heavy starts (StorageError)."""
        with storage(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable.{os.getpid()}"
            probe.write_text("1", encoding="utf-8")
            probe.unlink()

    def write_json(self, name: str, value: Any) -> Path:
        """Writes `value` as indented JSON to `path / name`; returns that path. Raises StorageError."""
        target = self.path / name
        write_atomically(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        return target

    def read_json(self, name: str) -> Any | None:
        """Content of a JSON file of the folder, None where it is absent. Raises DataError where it is not JSON."""
        target = self.path / name
        if not target.is_file():
            return None
        try:
            return json.loads(target.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{target}: not JSON ({error}); delete the file to start it afresh") from error

    def write_config(self, config: Mapping[str, Any]) -> Path:
        """Writes the resolved configuration to config.yaml, keys in the given order. Raises StorageError."""
        target = self.path / "config.yaml"
        write_atomically(target, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        return target

    def done(self) -> dict[str, Any] | None:
        """Result of a finished run (DONE.json), None while it is not finished."""
        result: dict[str, Any] | None = self.read_json("DONE.json")
        return result

    def mark_done(self, result: Mapping[str, Any]) -> None:
        """Says that the run is finished and keeps its result, in one atomic step."""
        self.write_json("DONE.json", dict(result))
