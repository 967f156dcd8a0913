"""What pyproject.toml promises about versions is what was run, and the packages import with what is installed."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import o3v

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["deepspeed"]]]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("o3v", "launchers")
    for path in (ROOT / folder).rglob("*.py")
)


def tried() -> dict[str, Version]:
    """The table of versions that were run: name -> the oldest."""
    lines = [line for line in (ROOT / "tests" / "lower_bounds.txt").read_text().splitlines() if "==" in line]
    return {name: Version(number) for name, number in (line.split("==") for line in lines)}


def lower_bound(requirement: Requirement) -> Version | None:
    found = [Version(item.version) for item in requirement.specifier if item.operator == ">="]
    return found[0] if found else None


def test_the_lower_bounds_are_those_that_were_run() -> None:
    assert {requirement.name: lower_bound(requirement) for requirement in RUNTIME} == tried()


def test_every_bound_that_was_run_is_allowed() -> None:
    allowed = {requirement.name: requirement.specifier for requirement in RUNTIME}
    assert [name for name, number in tried().items() if number not in allowed[name]] == []


def test_a_changed_bound_is_caught() -> None:
    changed = Requirement("torch>=2.14.2,<2.15")
    assert lower_bound(changed) != tried()["torch"]


def test_what_is_installed_is_allowed() -> None:
    for text in requires("o3v") or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            assert Version(version(requirement.name)) in requirement.specifier, requirement.name


def test_the_version_is_said_once() -> None:
    assert PROJECT["version"] == o3v.__version__ == version("o3v")
    assert re.search(rf"^## {re.escape(o3v.__version__)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_licence_is_there_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.bounds
@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports(module: str) -> None:
    __import__(module)


@pytest.mark.bounds
@pytest.mark.parametrize(
    "library",
    ["accelerate", "av", "lightning", "matplotlib", "mlflow", "rouge_score", "safetensors", "submitit", "torch"],
)
def test_every_library_imports(library: str) -> None:
    """Beside each other, at the versions that are installed."""
    __import__(library)


@pytest.mark.bounds
@pytest.mark.parametrize(
    "name",
    [
        "AutoProcessor",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3VLForConditionalGeneration",
        "PreTrainedTokenizerFast",
    ],
)
def test_the_classes_of_transformers_that_are_used_exist(name: str) -> None:
    import transformers

    assert hasattr(transformers, name)
