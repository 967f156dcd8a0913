"""Commands as a user types them: what a mistake says, how a failure ends, and that the help loads nothing heavy.

Most of it runs on a small configuration of its own (`small_conf`), whose classes cannot be imported at all: a message
that comes although their module would fail proves that nothing was imported for it.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from o3v.cli import Job, conf_folder, run_command
from o3v.config import ROOTS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "mlflow", "lightning", "matplotlib", "rouge_score", "av")

FILES = {
    "train.yaml": """
defaults:
  - base_train
  - hydra/settings
  - paths: default
  - model: tiny
  - data: shapes
  - objective: sft
  - reward: o3
  - trainer: cpu
  - cluster: inline
  - _self_
  - experiment: null
name: train
seed: 0
init_from: null
again: false
optim: null
hydra: {job: {name: train}, help: {header: "Try it: python -m app reward=no_gate"}}
""",
    "paths/default.yaml": """
data_root: ${oc.env:O3V_DATA,???}
benchmark_root: ???
model_root: ${oc.env:O3V_MODELS,???}
output_dir: ${oc.env:O3V_OUT,outputs}
mlflow_uri: sqlite:///${paths.output_dir}/mlflow.db
""",
    "model/tiny.yaml": "path: null\nseed: ${seed}\n",
    "model/big.yaml": "path: ${paths.model_root}/big\nseed: 0\n",
    "data/shapes.yaml": "weights: {shapes: 1.0}\n",
    "data/stgr.yaml": "root: ${paths.data_root}\n",
    "data/open.yaml": "weights: {}\n",
    "data/own.yaml": "root: ???\n",
    "objective/sft.yaml": "_target_: heavy.Objective\nclip_low: 3.0e-4\nkl_coef: 0\nkind: mean\nnote: null\n",
    "reward/o3.yaml": "weights: {ans_acc: 1.0}\n",
    "reward/no_gate.yaml": "defaults: [o3, _self_]\nweights: {ans_acc: 0.5}\n",
    "trainer/cpu.yaml": "_target_: lightning.Trainer\nmax_steps: 2\ndevices: 1\n",
    "experiment/good.yaml": "# @package _global_\ndefaults: [{override /reward: no_gate}]\nobjective: {clip_low: 1}\n",
    "experiment/opened.yaml": "# @package _global_\ndefaults: [{override /data: open}]\ndata: {weights: {clips: 2}}\n",
    "experiment/bad_key.yaml": "# @package _global_\nobjective: {clip_lo: 0.2}\n",
    "experiment/bad_term.yaml": "# @package _global_\nreward: {weights: {ans_ac: 0.2}}\n",
    "experiment/bad_root.yaml": "# @package _global_\nsed: 3\n",
    "experiment/bad_file.yaml": "# @package _global_\ndefaults: [{override /reward: no_gte}]\n",
    "experiment/bad_value.yaml": "# @package _global_\nobjective: {clip_low: much}\n",
}
MODULES = {
    "heavy.py": """
from dataclasses import dataclass
from typing import Literal

raise RuntimeError("imported although nothing had been built yet")

@dataclass(frozen=True)
class Objective:
    clip_low: float
    kl_coef: float
    kind: Literal["mean", "sum"]
    note: str | None
""",
    "app.py": """
import sys
from pathlib import Path
from o3v.cli import Job, command, run_command
from o3v.errors import UserError

@command(config_name="train")
def main(cfg):
    if cfg.seed == 7:
        raise UserError("seven is not allowed")
    if cfg.seed == 8:
        raise ValueError("eight is a bug")
    if cfg.seed == 9:
        raise KeyboardInterrupt
    (Path(cfg.paths.output_dir) / f"seed_{cfg.seed}").write_text(str(cfg.reward))
    return 1.0

if __name__ == "__main__":
    sys.exit(run_command("train", Job("app", "main"), Path(__file__).parent / "conf"))
""",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    for part in ("hydra", "cluster"):
        shutil.copytree(ROOT / "conf" / part, folder / "conf" / part)
    for name, text in {**MODULES, **{f"conf/{name}": text for name, text in FILES.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(
    folder: Path, *args: str, module: str = "app", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("O3V_", "HYDRA_", "SUBMITIT"))}
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=folder,
        env={**clean, "PYTHONPATH": path, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def in_process(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The exit code of a command that is not meant to get as far as its work."""
    monkeypatch.setattr(sys, "argv", ["app", *args])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.syspath_prepend(str(folder))
    for name in ("O3V_DATA", "O3V_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return run_command("train", Job("app", "main"), folder / "conf")


ROOT_KEYS = "again, cluster, data, engine, experiment, init_from, logger, model, name, objective, optim, paths, reward"
MISTAKES = {
    "rewrd=o3": ["rewrd", "did you mean 'reward'", ROOT_KEYS],
    "reward=no_gte": ["reward=no_gte", "did you mean 'no_gate'", "Allowed: no_gate, o3"],
    "sed=1": ["sed=1", "did you mean 'seed'", ROOT_KEYS],
    "seed=abc": ["seed", "'abc'", "Integer"],
    "objective.clip_lo=0.1": ["objective.clip_lo", "'clip_low'", "Allowed: clip_low, kind, kl_coef, note"],
    "trainer.max_stepz=3": ["trainer.max_stepz", "'max_steps'", "max_epochs"],
    "experiment=bad_key": ["objective.clip_lo", "experiment=bad_key", "'clip_low'", "kl_coef"],
    "+trainer.max_stepz=3": ["trainer.max_stepz", "'max_steps'", "max_epochs"],
    "+objective.clip_lo=3": ["objective.clip_lo", "'clip_low'"],
    "+sed=3": ["+sed=3", "'seed'", ROOT_KEYS],
    "objective.clip_low=much": ["objective.clip_low", "'much'", "float"],
    "objective.kind=men": ["objective.kind=men", "'mean'", "Allowed: mean, sum"],
    "experiment=bad_term": ["reward.weights.ans_ac", "experiment=bad_term", "Allowed: ans_acc"],
    "experiment=bad_root": ["conf/experiment/bad_root.yaml", "sed", "'seed'"],
    "experiment=bad_file": ["reward=no_gte", "'no_gate'", "Allowed: no_gate, o3"],
    "experiment=bad_value": ["objective.clip_low", "'much'", "float"],
    "experiment=god": ["experiment=god", "'good'", "bad_key"],
    "cluster=slurm_1x9": ["cluster=slurm_1x9", "'slurm_1x8'", "inline, local"],
    "cluster.nodez=2": ["cluster.nodez", "'nodes'", "partition"],
    "cluster.nodes=two": ["cluster.nodes", "'two'", "Integer"],
    "cluster.nodes=0": ["cluster.nodes", "1 or more"],
    "cluster.kind=slum": ["cluster.kind=slum", "did you mean 'slurm'"],
    "cluster=local": ["cluster=local", "add -m"],
    "seed=0,1": ["seed=0,1", "add -m"],
    "seed=[1": ["seed=[1", "key=value"],
    "reward=null": ["reward=null", "~reward"],
    "~seed": ["~seed", "cannot be left out"],
    "~objective": ["objective has no value", "objective=VALUE"],
    "data=stgr": ["paths.data_root", "data.root", "paths.data_root=VALUE", "O3V_DATA"],
    "data=open data.weights.clips=2": ["data.weights.clips", "+data.weights.clips=2"],
    "data=own": ["data.root has no value", "data.root=VALUE"],
    "model=big": ["paths.model_root", "model.path", "O3V_MODELS"],
}


# These run as commands; the others in this process, which is quicker and says the same.
AS_COMMANDS = [*list(MISTAKES)[:7], "cluster.nodes=two", "data=stgr"]


@pytest.mark.bounds
@pytest.mark.parametrize("mistake", AS_COMMANDS)
def test_a_mistake_stops_the_command_with_one_message(app: Path, mistake: str) -> None:
    done = run(app, mistake)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [part for part in MISTAKES[mistake] if part not in done.stderr] == []
    assert done.stdout == ""


@pytest.mark.parametrize("mistake", [mistake for mistake in MISTAKES if mistake not in AS_COMMANDS])
def test_a_mistake_is_named_with_what_is_allowed(
    app: Path, mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(app, monkeypatch, *mistake.split()) == 2
    said = capsys.readouterr().err
    assert [part for part in MISTAKES[mistake] if part not in said] == []
    assert "heavy" not in sys.modules


def test_a_mistake_in_one_value_of_a_sweep_stops_all_of_it(app: Path, tmp_path: Path) -> None:
    done = run(app, "-m", "seed=0,1", "reward=o3,no_gte", env={"O3V_OUT": str(tmp_path)})
    assert done.returncode == 2
    assert "did you mean 'no_gate'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_allowed_runs_and_writes_only_where_it_is_told(app: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in app.iterdir() if path.name != "__pycache__")
    given = ["experiment=good", "++objective.note=x", "trainer.devices=auto", "+trainer.max_time=1"]
    done = run(app, *given, "objective.kl_coef=1", "data=stgr", env={"O3V_OUT": str(tmp_path), "O3V_DATA": "/data"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["seed_0"]
    assert (tmp_path / "seed_0").read_text() == "{'weights': {'ans_acc': 0.5}}"
    assert sorted(path.name for path in app.iterdir() if path.name != "__pycache__") == before


def test_a_mapping_that_is_empty_in_its_file_takes_any_key(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_process(app, monkeypatch, "--cfg", "job", "experiment=opened") == 0
    assert in_process(app, monkeypatch, "--cfg", "job", "data=open", "+data.weights.clips=2") == 0


def test_a_configuration_can_be_shown_before_it_can_run(app: Path) -> None:
    done = run(app, "--cfg", "job", "-p", "data", "data=stgr", "cluster=local")
    assert done.returncode == 0
    assert "root: ${paths.data_root}" in done.stdout


@pytest.mark.parametrize(
    ("seed", "code", "message", "trace"),
    [(7, 2, "seven is not allowed", False), (8, 1, "eight is a bug", True), (9, 130, "interrupted", False)],
)
def test_a_failure_ends_with_its_code(
    app: Path, tmp_path: Path, seed: int, code: int, message: str, trace: bool
) -> None:
    done = run(app, f"seed={seed}", env={"O3V_OUT": str(tmp_path)})
    assert done.returncode == code
    assert message in done.stderr
    assert ("Traceback" in done.stderr) == trace


def test_a_sweep_in_one_process_goes_on_after_a_failure_and_fails_at_its_end(app: Path, tmp_path: Path) -> None:
    done = run(app, "-m", "seed=7,0", env={"O3V_OUT": str(tmp_path)})
    assert done.returncode == 2
    assert "seven is not allowed" in done.stderr
    assert (tmp_path / "seed_0").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".multirun", "seed_0"]


@pytest.mark.bounds
def test_a_sweep_as_local_processes(app: Path, tmp_path: Path) -> None:
    done = run(app, "-m", "seed=0,1", "cluster=local", env={"O3V_OUT": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".multirun", "seed_0", "seed_1"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 8])
def test_a_failed_job_fails_the_sweep(app: Path, tmp_path: Path, seed: int) -> None:
    done = run(app, "-m", f"seed={seed}", "cluster=local", env={"O3V_OUT": str(tmp_path)})
    assert done.returncode == 1
    assert "a run of the sweep failed" in done.stderr
    assert ("seven is not allowed" if seed == 7 else "ValueError: eight is a bug") in done.stderr


def test_help_lists_groups_options_and_examples(app: Path) -> None:
    done = run(app, "--help")
    assert done.returncode == 0
    assert "Try it: python -m app reward=no_gate" in done.stdout
    assert "reward: no_gate, o3" in done.stdout
    clusters = "inline, local, slurm_1x8, slurm_1x8_preempt, slurm_4x8, slurm_cpu, slurm_cpu_preempt"
    assert f"cluster: {clusters}" in done.stdout


def entry_points() -> list[str]:
    """Modules of o3v that are started by `python -m`; a subcommand of the bench is not."""
    found = []
    for path in sorted((ROOT / "o3v").glob("*.py")):
        if path.stem.startswith("bench_"):
            continue
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        if any(ast.unparse(item).startswith("command(") for node in functions for item in node.decorator_list):
            found.append(f"o3v.{path.stem}")
    return found


@pytest.mark.parametrize("module", entry_points())
def test_the_help_of_an_entry_point_imports_nothing_heavy(module: str, tmp_path: Path) -> None:
    done = run(tmp_path, "--help", module=module, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    assert f"python -m {module}" in done.stdout
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in names
    assert names & set(HEAVY) == set()
    assert list(tmp_path.iterdir()) == []


def test_conf_is_found_beside_the_package() -> None:
    assert conf_folder() == ROOT / "conf"
    assert {path.stem for path in conf_folder().glob("*.yaml")} <= set(ROOTS)


def test_a_package_without_its_repository_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import o3v
    from o3v.errors import ConfigError

    monkeypatch.setattr(o3v, "__file__", str(tmp_path / "o3v" / "__init__.py"))
    with pytest.raises(ConfigError, match="conf does not exist"):
        conf_folder()
