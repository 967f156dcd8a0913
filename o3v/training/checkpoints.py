"""Which checkpoint lies at a path: an exported folder, a state in one file, or a state that is a folder of parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from o3v.errors import ConfigError, DataError

Kind = Literal["folder", "file", "distributed", "parts", "deepspeed"]

KINDS: Final = {
    "folder": "a Hugging Face folder (config.json)",
    "file": "a state in one file (states/last.ckpt)",
    "distributed": "a state of FSDP2 (a folder with .metadata)",
    "parts": "a state of ZeRO (a folder with part-*.safetensors)",
    "deepspeed": "a state as DeepSpeed writes it (a folder with checkpoint/*_model_states.pt)",
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights on disk.

    Attributes:
        kind: see `KINDS`.
        path: the file or folder itself.
        run: folder of the run that wrote it; None for a Hugging Face folder of unknown origin.
    """

    kind: Kind
    path: Path
    run: Path | None


def find_checkpoint(path: Path) -> Checkpoint:
    """What lies at a path; of a run's folder the exported model where it is finished, else the newest readable state.

    Raises:
        ConfigError: nothing is there, or nothing of a known kind; names what would be.
        DataError: the run has written no state that can be read.
    """
    if not path.exists():
        raise ConfigError(f"checkpoint={path}: no such file or folder")
    if _is_run(path):
        return _of_run(path)
    kind = _kind_of(path)
    if kind is None:
        known = "; ".join(["a run's folder (config.yaml)", *KINDS.values()])
        raise ConfigError(f"checkpoint={path}: is no checkpoint of a known kind; known are {known}")
    return Checkpoint(kind, path, _run_of(path))


def _of_run(run: Path) -> Checkpoint:
    from o3v.training.state import find_state

    model = run / "model"
    if (run / "DONE.json").is_file() and _kind_of(model) == "folder":
        return Checkpoint("folder", model, run)
    state = find_state(run / "states")
    kind = None if state is None else _kind_of(state)
    if state is None or kind is None:
        raise DataError(f"checkpoint={run}: the run is not finished and has no state that can be read in states/")
    return Checkpoint(kind, state, run)


def _kind_of(path: Path) -> Kind | None:
    if path.is_file():
        return "file" if _is_archive(path) else None
    if (path / "config.json").is_file():
        return "folder"
    if (path / ".metadata").is_file():
        return "distributed"
    if any(path.glob("part-*.safetensors")):
        return "parts"
    return "deepspeed" if any(path.glob("*/*_model_states.pt")) else None


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file() and not (path / "config.json").is_file()


def _is_archive(path: Path) -> bool:
    """Whether a file is the zip archive that `torch.save` writes."""
    with path.open("rb") as handle:
        return handle.read(2) == b"PK"


def _run_of(path: Path) -> Path | None:
    """The run's folder above `model`, or above a state in `states`."""
    return next((folder for folder in list(path.absolute().parents)[:2] if _is_run(folder)), None)
