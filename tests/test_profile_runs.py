"""Profiles by the command: files in a true MLflow, one identity with and without, and mistakes told early."""

import json
from pathlib import Path

import pytest

from o3v.errors import ConfigError
from o3v.tracking.run import NOT_IDENTITY, run_signature
from o3v.train import identity_of
from tests import commands, tiny
from tests.commands import GROUP, LETTERS, QUIET, SMALL, composed, run_folder
from tests.training.test_timeline import nested

STEPS = ("trainer.batches=3", "trainer.prompts_per_device=2", "trainer.save_every=2", "trainer.profile.batches=[1,2]")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A profiled RL run with a frozen reference, logged to MLflow."""
    out = tmp_path_factory.mktemp("out")
    base = tiny.saved_policy("qwen2_5_vl", out / "base")
    model = ("model=tiny_qwen2_5_vl", "logger=mlflow", *QUIET, *SMALL, f"init_from={base}")
    commands.run("train", out, *model, *STEPS, "name=gspo", "objective=gspo", GROUP, *LETTERS)
    return out


def test_mlflow_has_the_files_the_table_and_the_metrics(out, tmp_path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{out}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "o3v"]
    (run,) = client.search_runs([experiment.experiment_id])
    for batch in (1, 2):
        names = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, f"profile/batch_{batch}")}
        assert names == {"trace.json", "sections.json", "sections.svg"}
    trace = json.loads(
        Path(client.download_artifacts(run.info.run_id, "profile/batch_2/trace.json", tmp_path)).read_text()
    )
    assert nested([event for event in trace["traceEvents"] if event["ph"] == "X"])
    assert "tables" in {file.path for file in client.list_artifacts(run.info.run_id)}
    rows = json.loads(Path(client.download_artifacts(run.info.run_id, "tables/profile.json", tmp_path)).read_text())
    assert "section" in rows["columns"]
    assert {"train/speed/tokens_per_s", "train/work/tokens", "train/memory/host_mib"} <= set(run.data.metrics)
    assert "train/speed/mfu" not in run.data.metrics, "a CPU has no peak"


def test_the_reference_has_a_vision_tower_of_its_own(out):
    found = json.loads((run_folder(out, "gspo") / "profile/batch_1/sections.json").read_text())
    rows = {row["section"] for row in found["sections"]}
    assert {"logging", "saving", "loss / reference / vision", "loss / forward"} <= rows
    assert sum(row["own_s"] for row in found["sections"]) == pytest.approx(found["step_s"])


@pytest.mark.parametrize(
    "changes", [("trainer.profile.batches=[3]", "trainer.profile.kernels=true"), ("trainer.peak_tflops=300",)]
)
def test_looking_at_a_run_makes_it_no_other(tmp_path, changes):
    names = {run_signature(identity_of(composed("train", tmp_path, *chosen))) for chosen in ((), changes)}
    assert len(names) == 1


def test_a_profile_that_is_part_of_the_identity_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("o3v.tracking.run.NOT_IDENTITY", NOT_IDENTITY - {"trainer.profile"})
    test = test_looking_at_a_run_makes_it_no_other
    with pytest.raises(AssertionError):
        test(tmp_path, ("trainer.profile.batches=[3]",))


def test_a_profile_can_be_given_whole(tmp_path):
    profile = composed("train", tmp_path, "trainer.profile={batches:[3]}").trainer.profile
    assert list(profile.batches) == [3] and profile.kernels is False


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("trainer.profile.batches=[3]", "the run has 3 batches"), ("trainer.peak_tflops=0", "must be above 0")],
)
def test_mistakes_are_told_before_a_model_is_loaded(tmp_path, wrong, said, monkeypatch):
    monkeypatch.setattr("o3v.models.load.load_policy", lambda *_: pytest.fail("loaded"))
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    with pytest.raises(ConfigError, match=said):
        commands.run("train", tmp_path, "logger=none", *QUIET, *SMALL, "trainer.batches=3", f"init_from={base}", wrong)
