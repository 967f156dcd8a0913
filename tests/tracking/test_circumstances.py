"""What a run ran on: files that say so, under SLURM's variables too."""

import json
import subprocess

import pytest

from o3v.errors import StorageError
from o3v.tracking import circumstances
from o3v.tracking.circumstances import batch_path, environment, git_diff, write_circumstances
from o3v.tracking.run import RunFolder


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    (root / "a").write_text("before\n")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    return root


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch):
    for name in (*circumstances.JOB_VARIABLES.values(), "O3V_BATCH_FILE"):
        monkeypatch.delenv(name, raising=False)


def names(paths):
    return [path.name for path in paths]


def test_code_and_environment(tree, tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert names(write_circumstances(folder, tree)) == ["environment.json", "git.json"]
    (tree / "a").write_text("after\n")
    assert names(write_circumstances(folder, tree)) == ["environment.json", "git.json", "code.diff"]
    difference = (folder.path / "code.diff").read_text()
    assert "-before" in difference and "+after" in difference and folder.read_json("git.json")["dirty"]
    found = folder.read_json("environment.json")
    assert found["packages"]["mlflow"] and found["cpus"] >= 1 and isinstance(found["gpus"], list)


def test_a_large_difference_is_cut_and_says_so(tree, monkeypatch):
    (tree / "a").write_text("x" * 5000)
    whole = git_diff(tree)
    monkeypatch.setattr(circumstances, "MAX_DIFF_BYTES", 1000)
    cut = git_diff(tree)
    assert len(cut) < 1100 and cut.endswith(f"[cut: {len(whole.encode())} bytes in all]\n")
    assert git_diff(tree.parent / "absent") == ""


def test_a_job_leaves_its_script_and_a_line_for_every_start(tree, tmp_path, monkeypatch):
    (tmp_path / "17_submission.sh").write_text("#!/bin/sh\n")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("O3V_BATCH_FILE", str(tmp_path / "%A_submission.sh"))
    folder = RunFolder(tmp_path / "run")
    write_circumstances(folder, tree)
    files = write_circumstances(folder, tree)
    assert names(files)[-2:] == ["jobs.jsonl", "18.sh"] and files[-1].read_text() == "#!/bin/sh\n"
    jobs = [json.loads(line) for line in files[-2].read_text().splitlines()]
    assert [job["job_id"] for job in jobs] == ["18", "18"] and jobs[0]["array_job_id"] == "17"


def test_a_script_that_this_node_does_not_see_is_asked_of_slurm(tree, tmp_path, monkeypatch):
    asked = tmp_path / "bin" / "scontrol"
    asked.parent.mkdir()
    asked.write_text('#!/bin/sh\necho "$@"\n')
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{asked.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("O3V_BATCH_FILE", str(tmp_path / "absent-%j.sh"))
    assert write_circumstances(RunFolder(tmp_path / "run"), tree)[-1].read_text() == "write batch_script 5 -\n"


def test_placeholders_of_an_array():
    variables = {"O3V_BATCH_FILE": "/x/%A/%a/%j", "SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3"}
    assert str(batch_path({**variables, "SLURM_ARRAY_JOB_ID": "7"})) == "/x/7/3/9"
    assert str(batch_path(variables)) == "/x/9/3/9"


def test_a_folder_that_cannot_be_written(tree, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_circumstances(RunFolder(tmp_path / "file" / "run"), tree)


def test_environment_has_no_secrets(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "very-secret")
    assert "very-secret" not in json.dumps(environment())
