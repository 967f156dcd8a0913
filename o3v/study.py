"""A study: arms x seeds through stages to benchmarks, declared in one file of conf/experiment.

`read_study` turns the file into runs. A run is an ordinary one of `o3v.train` or `o3v.evaluate`; arms whose
configuration of a stage is the same share its run (SFT before four rewards is trained once a seed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from o3v.compose import compose_command, composing, override
from o3v.config_check import unknown
from o3v.errors import ConfigError

COMMANDS = ("train", "evaluate")
EVERY, EVALUATION = "all", "evaluation"
"""Keys of an arm that mean several stages: every one, every benchmark's."""


@dataclass(frozen=True)
class Stage:
    """A stage as the study's file declares it; fields as in `o3v.schemas_study.StageConfig`."""

    name: str
    command: str
    overrides: tuple[str, ...]
    seeded: bool
    resources: Mapping[str, Any]
    benchmark: str | None


@dataclass(frozen=True)
class StageRun:
    """One run of a study.

    Attributes:
        key: name of its folder, NAME-SIGNATURE.
        stage: for example sft, rl, eval_shapes.
        command: train or evaluate.
        overrides: complete; composing root `command` with them gives the run.
        folder: of the run, absolute.
        parent: key of the run whose weights it starts from, None where it starts from the model preset's.
        arms, seeds: who uses it.
        resources: its whole `cluster` configuration.
        benchmark: of an evaluation.
    """

    key: str
    stage: str
    command: str
    overrides: tuple[str, ...]
    folder: Path
    parent: str | None
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    resources: Mapping[str, Any]
    benchmark: str | None

    def done(self) -> dict[str, Any] | None:
        """What the run ended with, None while it is not finished."""
        from o3v.tracking.run import RunFolder

        return RunFolder(self.folder).done()


@dataclass(frozen=True)
class Study:
    """A study with all its runs.

    Attributes:
        runs: key -> run, parents before their children.
        members: (arm, seed) -> keys of its runs in the order of the stages.
        folder: of the study itself: plan, logs of jobs, comparison.
        published: arm -> benchmark -> metric -> figure of the literature.
    """

    name: str
    title: str
    question: str
    baseline: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    stages: tuple[str, ...]
    runs: Mapping[str, StageRun]
    members: Mapping[tuple[str, int], tuple[str, ...]]
    metrics: tuple[str, ...] | None
    published: Mapping[str, Mapping[str, Mapping[str, float]]]
    folder: Path


def read_study(name: str, overrides: Sequence[str] = ()) -> Study:
    """The study that conf/experiment/NAME.yaml declares.

    Args:
        name: of the file.
        overrides: of the root conf/study.yaml: `seeds=[0]`, `cluster=slurm_1x8`, `paths.output_dir=DIR`.

    Raises:
        ConfigError: no such study, a stage or arm that cannot be, or a run whose configuration is wrong; names the
            place.
    """
    with composing():
        cfg = compose_command("study", [f"experiment={name}", *overrides])
        plain = _plain(cfg)
        stages, arms = _stages(plain), _arms(plain)
        planner = _Planner(Path(plain["paths"]["output_dir"]).absolute(), plain["common"], _places(cfg, overrides))
        for arm, changes in arms.items():
            for seed in plain["seeds"]:
                planner.add(arm, seed, changes, stages)
    return Study(
        name=name,
        title=plain["title"],
        question=plain["question"],
        baseline=plain["baseline"],
        seeds=tuple(plain["seeds"]),
        arms=tuple(arms),
        stages=tuple(stages),
        runs=planner.runs,
        members=planner.members,
        metrics=tuple(plain["metrics"]) if plain["metrics"] is not None else None,
        published=plain["published"],
        folder=planner.output_dir / "studies" / name,
    )


def study_names() -> list[str]:
    """Studies that conf/experiment declares, by their files' key `arms`."""
    import yaml

    from o3v.cli import conf_folder

    files = sorted((conf_folder() / "experiment").glob("*.yaml"))
    return [path.stem for path in files if "arms" in (yaml.safe_load(path.read_text(encoding="utf-8")) or {})]


@dataclass
class _Planner:
    """Collects the runs of a study, each configuration once."""

    output_dir: Path
    common: Sequence[str]
    places: Sequence[str]
    runs: dict[str, StageRun] = field(default_factory=dict)
    members: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    composed: dict[tuple[str, tuple[str, ...], tuple[str, ...]], DictConfig] = field(default_factory=dict)

    def add(self, arm: str, seed: int, changes: Mapping[str, Any], stages: Mapping[str, Stage]) -> None:
        """The runs of one arm and seed, in order."""
        parent: StageRun | None = None
        keys = []
        for stage in stages.values():
            more = _changes(changes, stage)
            if more is None:
                continue
            run = self._run(arm, seed, stage, more, parent)
            self._keep(run)
            keys.append(run.key)
            parent = run if stage.command == "train" else parent
        self.members[arm, seed] = tuple(keys)

    def _run(self, arm: str, seed: int, stage: Stage, more: Sequence[str], parent: StageRun | None) -> StageRun:
        settings = (*self.places, f"name={stage.name}", *self.common, *stage.overrides, *more)
        values = {f"cluster.{key}": value for key, value in stage.resources.items()}
        values |= {"seed": seed} if stage.seeded else {}
        if parent is not None:
            values["init_from" if stage.command == "train" else "checkpoint"] = str(parent.folder / "model")
        cfg = self._compose(stage, settings, values, f"arm {arm}, stage {stage.name}")
        key = run_key(stage.command, cfg)
        return StageRun(
            key=key,
            stage=stage.name,
            command=stage.command,
            overrides=(*settings, *(override(name, value) for name, value in values.items())),
            folder=self.output_dir / key,
            parent=parent.key if parent is not None else None,
            arms=(arm,),
            seeds=(seed,),
            resources=_plain(cfg)["cluster"],
            benchmark=stage.benchmark,
        )

    def _compose(self, stage: Stage, settings: tuple[str, ...], values: Mapping[str, Any], where: str) -> DictConfig:
        """What the overrides of a run compose to: checked once, then only the values of its seed and parent change."""
        known = (stage.command, settings, tuple(values))
        try:
            if known not in self.composed:
                lines = [override(key, value) for key, value in values.items()]
                self.composed[known] = compose_command(stage.command, [*settings, *lines])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        cfg = self.composed[known].copy()
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return cfg

    def _keep(self, run: StageRun) -> None:
        known = self.runs.get(run.key)
        if known is None:
            self.runs[run.key] = run
            return
        arms, seeds = (*known.arms, *run.arms), (*known.seeds, *run.seeds)
        self.runs[run.key] = replace(known, arms=tuple(dict.fromkeys(arms)), seeds=tuple(dict.fromkeys(seeds)))


def run_key(command: str, cfg: DictConfig) -> str:
    """Name of the folder that a run of this configuration has."""
    from o3v import evaluate, train
    from o3v.tracking.run import run_signature

    identity = (evaluate if command == "evaluate" else train).identity_of(cfg)
    return f"{cfg.name}-{run_signature({key: value for key, value in identity.items() if key != 'again'})}"


def _changes(changes: Mapping[str, Any], stage: Stage) -> list[str] | None:
    """An arm's overrides of a stage, None where it leaves the stage out."""
    wide = [EVERY, EVALUATION] if stage.command == "evaluate" else [EVERY]
    found = [changes.get(key, []) for key in (*wide, stage.name)]
    return None if any(more is None for more in found) else [line for more in found for line in more]


def _places(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """What the study's own choices of folders, logger and cluster are in every run of it."""
    groups = [line for line in overrides if line.lstrip("+~").split("=")[0].split(".")[0] in ("logger", "cluster")]
    roots = [override(f"paths.{key}", _absolute(value)) for key, value in _plain(cfg)["paths"].items()]
    return [line for line in roots if "???" not in line] + groups


def _absolute(value: str) -> str:
    """A folder or sqlite address that means the same from every working directory."""
    scheme = "sqlite:///" if value.startswith("sqlite:///") else ""
    if "???" in value or ("://" in value and not scheme):
        return value
    return f"{scheme}{Path(value.removeprefix(scheme)).absolute()}"


def _stages(plain: Mapping[str, Any]) -> dict[str, Stage]:
    """The declared stages, then one for each benchmark."""
    found = {name: _stage(name, plain["stage"], given, None) for name, given in (plain["stages"] or {}).items()}
    shared = plain["evaluation"]
    for benchmark, more in (plain["benchmarks"] or {}).items():
        given = {"overrides": [f"benchmark={benchmark}", *shared["overrides"], *(more or [])]}
        found[f"eval_{benchmark}"] = _stage(f"eval_{benchmark}", shared, given, benchmark)
    if not found:
        raise ConfigError("stages: a study has at least one stage or benchmark")
    return found


def _stage(name: str, default: Mapping[str, Any], given: Mapping[str, Any] | None, benchmark: str | None) -> Stage:
    for key in given or {}:
        if key not in default:
            raise unknown(f"stages.{name}.{key}", str(key), list(default), "key of a stage")
    merged = {**default, **(given or {})}
    if merged["command"] not in COMMANDS:
        raise unknown(f"stages.{name}.command={merged['command']}", str(merged["command"]), COMMANDS, "command")
    lines = tuple(map(str, merged["overrides"]))
    return Stage(name, merged["command"], lines, bool(merged["seeded"]), merged["resources"], benchmark)


def _arms(plain: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The declared arms; all that their keys name exists."""
    stages = _stages(plain)
    allowed = [EVERY, EVALUATION, *stages]
    arms = {str(name): changes or {} for name, changes in (plain["arms"] or {}).items()}
    for name, changes in arms.items():
        for stage in changes:
            if stage not in allowed:
                raise unknown(f"arms.{name}.{stage}", str(stage), allowed, "stage")
    if plain["baseline"] not in arms:
        raise unknown(f"baseline={plain['baseline']}", str(plain["baseline"]), list(arms), "arm")
    if len(set(plain["seeds"])) != len(plain["seeds"]) or not plain["seeds"]:
        raise ConfigError(f"seeds={plain['seeds']}: at least one, each once")
    return arms


def _plain(cfg: DictConfig) -> dict[str, Any]:
    from o3v.config import resolve

    return resolve(cfg)
