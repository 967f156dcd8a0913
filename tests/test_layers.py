"""The house rules that a reader relies on, held by walking the source: layers, one package a library, short pieces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    0: {"types", "errors", "stop", "sections", "grounding"},
    1: {"rewards", "prompts", "video", "objectives"},
    2: {"data", "models", "benchmarks", "tracking", "evidence", "replay", "endpoint"},
    3: {"rollout", "training", "measure", "curation", "comparison", "datacheck", "planning"},
}
ENTRY_LAYER = 4  # every other module directly below o3v/
LAUNCHERS_LAYER = 5
LIBRARY_HOMES = {
    "transformers": {"models"},
    "peft": {"models"},
    "av": {"video"},
    "mlflow": {"tracking"},
    "submitit": {"launchers"},
    "trl": {"measure"},
}
ENTRY_LIBRARIES = {"hydra", "omegaconf"}
TORCH_FREE = {"rewards", "grounding"}
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
NO_HOMES = {"utils.py", "helpers.py", "util.py", "misc.py", "common.py"}

SOURCES = sorted(p for folder in ("o3v", "launchers") for p in (ROOT / folder).rglob("*.py"))


def unit_of(module: str) -> str:
    """The package or entry module that a dotted name belongs to; "" for the package o3v itself."""
    parts = module.split(".")
    if parts[0] == "launchers":
        return "launchers"
    return parts[1] if len(parts) > 1 else ""


def layer_of(unit: str) -> int:
    if unit == "":
        return 0
    if unit == "launchers":
        return LAUNCHERS_LAYER
    return next((layer for layer, units in LAYERS.items() if unit in units), ENTRY_LAYER)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def import_faults(module: str, source: str) -> list[str]:
    """What a module may not import, one sentence each."""
    faults = []
    unit = unit_of(module)
    layer = layer_of(unit)
    for line, name in imported(ast.parse(source)):
        library = name.split(".")[0]
        place = f"{module}:{line} imports {name}"
        if library in {"o3v", "launchers"}:
            other = unit_of(name if name != "o3v.__version__" else "o3v")
            if layer_of(other) > layer:
                faults.append(f"{place}: layer {layer} may not use layer {layer_of(other)}")
            if layer == layer_of(other) == 1 and other != unit:
                faults.append(f"{place}: packages of layer 1 do not know each other")
        if library in LIBRARY_HOMES and unit not in LIBRARY_HOMES[library]:
            faults.append(f"{place}: only {sorted(LIBRARY_HOMES[library])} may")
        if library in ENTRY_LIBRARIES and layer < ENTRY_LAYER:
            faults.append(f"{place}: only the entry points and launchers may")
        if library == "torch" and unit in TORCH_FREE:
            faults.append(f"{place}: {unit} is torch-free")
    return faults


def shape_faults(name: str, source: str) -> list[str]:
    """What is too long, prints, or changes the environment by being imported."""
    tree = ast.parse(source)
    faults = []
    lines = len(source.splitlines())
    if lines > MAX_FILE_LINES:
        faults.append(f"{name}: {lines} lines, at most {MAX_FILE_LINES}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                faults.append(f"{name}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            faults.append(f"{name}:{node.lineno}: print")
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.Expr) and "os.environ" in ast.unparse(statement):
            faults.append(f"{name}:{statement.lineno}: the environment is changed at import")
    return faults


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_sources_are_found() -> None:
    assert len(SOURCES) > 10


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_stay_within_the_layers(path: Path) -> None:
    assert import_faults(module_name(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_pieces_are_short_and_quiet(path: Path) -> None:
    assert shape_faults(module_name(path), path.read_text(encoding="utf-8")) == []


def test_no_file_without_a_subject() -> None:
    assert [str(path) for path in SOURCES if path.name in NO_HOMES] == []


def test_every_package_is_in_the_table() -> None:
    packages = {path.name for path in (ROOT / "o3v").iterdir() if (path / "__init__.py").is_file()}
    assert packages <= set().union(*LAYERS.values())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("o3v.types", "from o3v.rewards.mix import RewardMix"),
        ("o3v.rewards.mix", "import o3v.training.module"),
        ("o3v.rewards.mix", "from o3v import video"),
        ("o3v.rewards.mix", "def f():\n    from o3v.prompts.build import build_prompt"),
        ("o3v.training.module", "from o3v.config import resolve"),
        ("o3v.train", "from launchers.local import launch"),
        ("o3v.rewards.mix", "def f():\n    import torch.nn"),
        ("o3v.grounding.boxes", "from torch import Tensor"),
        ("o3v.data.stgr", "import transformers"),
        ("o3v.training.module", "from peft import LoraConfig"),
        ("o3v.training.module", "from trl import GRPOTrainer"),
        ("o3v.data.stgr", "from av.container import open"),
        ("o3v.train", "import mlflow.tracking"),
        ("o3v.cli", "import submitit"),
        ("o3v.training.module", "from omegaconf import DictConfig"),
        ("o3v.tracking.run", "from hydra.utils import instantiate"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str) -> None:
    assert len(import_faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("o3v.rewards.mix", "from o3v.rewards.answer import ans_acc\nfrom o3v.types import Box"),
        ("o3v.models.load", "import transformers, torch"),
        ("o3v.train", "from omegaconf import DictConfig\nfrom o3v.training.module import Module"),
        ("launchers.local", "import submitit\nfrom o3v.cli import Job"),
        ("o3v.cli", "import o3v"),
    ],
)
def test_an_allowed_import_is_not(module: str, source: str) -> None:
    assert import_faults(module, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n" + "    x = 1\n" * 60,
        "# line\n" * 401,
        "def f():\n    print(1)\n",
        "import os\nos.environ['A'] = 'b'\n",
        "import os\nos.environ.setdefault('A', 'b')\n",
    ],
)
def test_a_wrong_shape_is_caught(source: str) -> None:
    assert len(shape_faults("module", source)) == 1
