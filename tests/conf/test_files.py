"""Every file of conf/ composes, every class in it is made from what the file says, every experiment has its page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from o3v.cli import conf_folder
from o3v.config import ROOTS, register_schemas, resolve
from o3v.config_check import Composed, check_configuration, compose_root
from o3v.errors import DataError
from o3v.study import read_study, study_names

ROOT = Path(__file__).resolve().parent.parent.parent
CONF = conf_folder()
HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}

# Values that a root leaves to the command line.
GIVEN = {
    "answer": ["video=clip.mp4", "question=what"],
    "compare": ["study=shapes_rewards"],
    "study": ["experiment=shapes_rewards"],
    "paired": ["a=a.jsonl", "b=b.jsonl"],
    "curate": ["rows=r.jsonl", "media_root=videos"],
    "sync": ["folder=outputs"],
    "export": ["checkpoint=outputs/sft", "out=exported"],
}

# Constructor arguments that an entry point adds when it builds the class.
RUNTIME_ARGUMENTS: dict[str, set[str]] = {
    "o3v.benchmarks.shapes.ShapesBenchmark": {"dataset"},
    "o3v.curation.publish.Publisher": {"root", "media_root"},
}

# Options that need another group (a data set's own rows as questions are checked as that data set), or that leave
# nothing to do (the bench of the store).
NOT_ALONE = {("check", "benchmark=shapes"), ("check", "benchmark=stgr"), ("bench_video", "store=none")}

# Folders of experiments/ that are made by a root of their own instead of a file in conf/experiment.
OWN_ROOT = {
    "tiny_base": "pretrain",
    "demo": "demo",
    "step_cost": "bench_step",
    "step_cost_gpu": "bench_gpu_step",
    "decoding": "bench_video",
    "curation": "bench_curation",
    "data_check": "bench_check",
    "interval_coverage": "bench_coverage",
    "plan": "bench_plan",
    "scale": "bench_scale",
    "profile": "train",
}


# How a benchmark's own media are read: composed with benchmark=NAME, and no data to train on.
FRAMES = {("data", "frames_64")} | {
    ("data", path.stem) for path in (CONF / "benchmark").glob("*.yaml") if path.stem not in ("shapes", "stgr")
}


def groups_of(root: str) -> list[str]:
    """Groups in a root's defaults list."""
    defaults = yaml.safe_load((CONF / f"{root}.yaml").read_text())["defaults"]
    entries = [entry for entry in defaults if isinstance(entry, dict)]
    return [key for entry in entries for key in entry if not key.startswith("override") and "hydra/" not in key]


def options_of(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def root_of_experiment(name: str) -> str:
    """The root for which an experiment is meant, from the command in its head."""
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    if re.search(rf"# Run:.* python -m launchers\.submit study={name}\b", text):
        return "study"
    command = re.search(rf"# Run:.* python -m o3v\.(\w+) (-m )?experiment={name}\b", text)
    assert command, f"conf/experiment/{name}.yaml: a line '# Run: python -m o3v.ROOT experiment={name}' is missing"
    return command.group(1)


def cases() -> list[tuple[str, str]]:
    """(root, override) for each option of each group over each root that uses it."""
    found = [(root, "") for root in ROOTS]
    for root in ROOTS:
        for group in groups_of(root):
            if group != "experiment":
                found += [(root, f"{group}={option}") for option in options_of(group) if (group, option) not in FRAMES]
    found = [case for case in found if case not in NOT_ALONE]
    return found + [(root_of_experiment(name), f"experiment={name}") for name in options_of("experiment")]


def composed(root: str, override: str) -> Composed:
    register_schemas()
    overrides = [*GIVEN.get(root, []), *([override] if override else [])]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return check_configuration(root, overrides, compose_root(root, []))


def described(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping that names a class, the innermost ones last."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield place, node
        for key, value in node.items():
            yield from described(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from described(value, f"{place}[{index}]")


def missing_arguments(node: dict[str, Any]) -> set[str]:
    """Arguments without a default that neither the file nor an entry point gives; unknown ones raise TypeError."""
    if node.get("_partial_"):
        return set()
    target = str(node["_target_"])
    signature = inspect.signature(get_object(target))
    given = {key for key in node if key not in HYDRA_KEYS}
    signature.bind_partial(**dict.fromkeys(given))
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {p.name for p in signature.parameters.values() if p.kind in named and p.default is p.empty}
    return needed - given - RUNTIME_ARGUMENTS.get(target, set())


def test_every_file_is_reached() -> None:
    reached = {root for root in ROOTS} | {override.replace("=", "/") for _, override in cases() if override}
    reached |= {f"{group}/{option}" for group, option in FRAMES}
    files = {str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*.yaml")}
    assert {name for name in files - reached if not name.startswith("hydra/")} == set()


@pytest.mark.bounds
@pytest.mark.parametrize(("root", "override"), cases())
def test_it_composes_and_its_classes_are_made(
    root: str, override: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("O3V_DATA", "O3V_BENCHMARKS", "O3V_OUT"):
        monkeypatch.setenv(name, str(tmp_path / name))
    plain = resolve(composed(root, override).cfg)
    group = override.partition("=")[0]
    for place, node in ({group: plain[group]} if group in plain else plain).items():
        inner = list(described(node, place))
        for where, item in inner:
            assert missing_arguments(item) == set(), f"{where}: {item['_target_']}"
        if inner and not any(str(item["_target_"]) in RUNTIME_ARGUMENTS for _, item in inner):
            make(node)


def make(node: Any) -> None:
    """Make the objects of a group; a data set that is not on this machine may say so."""
    try:
        instantiate(node, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, DataError):
            raise


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert re.match(r"# \w.{4,}", first), "the first line tells the file's purpose"


def test_every_experiment_has_its_page_and_back() -> None:
    pages = {path.parent.name for path in (ROOT / "experiments").glob("*/README.md")}
    folders = {path.name for path in (ROOT / "experiments").glob("*") if path.is_dir()}
    assert pages == folders
    assert set(study_names()) | (set(OWN_ROOT) & folders) == pages
    assert set(OWN_ROOT.values()) <= set(ROOTS)


@pytest.mark.parametrize("name", study_names())
def test_every_study_becomes_runs(name: str, tmp_path: Path) -> None:
    places = [f"paths.{key}={tmp_path / key}" for key in ("data_root", "benchmark_root", "output_dir")]
    study = read_study(name, [*places, "cluster=slurm_1x8"])
    assert study.baseline in study.arms
    assert set(study.published) <= set(study.arms)
    assert all(study.members[arm, seed] for arm in study.arms for seed in study.seeds)
    assert all(run.resources["kind"] == "slurm" for run in study.runs.values())


@pytest.mark.parametrize("name", [name for name in options_of("cluster") if name.startswith("slurm")])
def test_a_slurm_cluster_reaches_the_launcher(name: str) -> None:
    register_schemas()
    from hydra import compose

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"cluster={name}", "cluster.account=a1"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    shared = set(cfg.cluster) - {"kind", "setup", "sbatch"}  # tests/launchers/test_resources.py looks at these two
    assert {key: launcher[key] for key in shared} == {key: cfg.cluster[key] for key in shared}
