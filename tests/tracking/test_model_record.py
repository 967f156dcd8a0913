"""What a model's folder tells of its run, and which evaluations are taken for its own."""

import json

import pytest
import yaml

from o3v.errors import DataError
from o3v.tracking.model_record import find_scores, read_record, run_record

SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "se": 0.05, "n": 20, "clusters": 20}


def evaluation(out, name, checkpoint, label="model", done=True, results=None):
    folder = out / name
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"checkpoint": checkpoint, "label": label}))
    results = {"whole_video": {}, label: {"acc": SCORE}} if results is None else results
    (folder / "report.json").write_text(json.dumps({"title": f"{label} on shapes", "results": results}))
    if done:
        (folder / "DONE.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "rl-12345678"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "checkpoint",
    ["outputs/rl-12345678", "/moved/elsewhere/rl-12345678/", "outputs/rl-12345678/model", "rl-12345678"],
)
def test_an_evaluation_is_found_by_the_runs_name(run, checkpoint):
    evaluation(run.parent, "evaluate-1", checkpoint)
    (found,) = find_scores(run)
    assert found["columns"] == {"acc": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20}}
    assert found["folder"] == "evaluate-1" and found["title"] == "model on shapes"


@pytest.mark.parametrize(
    "checkpoint",
    [None, "", "model", "outputs/rl-12345679", "outputs/rl-12345678/states/last.ckpt", "rl-12345678/other/model"],
)
def test_evaluations_of_other_models_are_not(run, checkpoint):
    evaluation(run.parent, "evaluate-1", checkpoint)
    assert find_scores(run) == []


def test_unfinished_and_broken_evaluations_are_left_out(run, caplog):
    evaluation(run.parent, "evaluate-1", str(run), done=False)
    evaluation(run.parent, "evaluate-2", str(run), results={"another": {}})
    (evaluation(run.parent, "evaluate-3", str(run)) / "report.json").write_text("{")
    assert find_scores(run) == []
    assert "evaluate-2" in caplog.text and "evaluate-3" in caplog.text


def test_scores_come_in_a_fixed_order(run):
    for name in ("evaluate-3", "evaluate-1", "evaluate-2"):
        evaluation(run.parent, name, str(run))
    assert [one["folder"] for one in find_scores(run)] == ["evaluate-1", "evaluate-2", "evaluate-3"]


def test_shares_are_those_of_the_newest_counts_and_values_the_last(run):
    steps = [
        {"train/data/a": 1.0, "train/data/task/x": 1.0, "train/loss": 3.0, "train/data_off": 0.5},
        {"train/data/a": 3.0, "train/data/b": 1.0, "train/data/task/x": 4.0, "train/reward/total": 0.7},
        {"train/loss": 2.0, "train/store/hits": 9.0},
    ]
    lines = [json.dumps({"step": step, "time_ms": 0, "values": values}) for step, values in enumerate(steps)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (run / "git.json").write_text(json.dumps({"commit": "abc", "dirty": False}))
    (run / "environment.json").write_text(json.dumps({"packages": {"torch": "2.0", "Flask": "1.0"}}))
    config = {
        "objective": {"_target_": "o3v.objectives.policy.PolicyObjective", "clip_low": 0.2, "parts": {"a": 1}},
        "reward": {"weights": {"format": 1.0}, "terms": {}},
        "global_batch": 8,
        "init_from": "outputs/sft-1",
    }
    found = run_record(run, config)
    assert found["mix"] == {
        "source": {"a": {"samples": 3.0, "share": 0.75}, "b": {"samples": 1.0, "share": 0.25}},
        "task": {"x": {"samples": 4.0, "share": 1.0}},
    }
    assert found["summary"] == {"loss": 2.0, "reward/total": 0.7}
    assert found["objective"] == "PolicyObjective(clip_low=0.2)" and found["rewards"] == {"format": 1.0}
    assert (found["commit"], found["packages"], found["signature"]) == ("abc", {"torch": "2.0"}, "12345678")
    assert found["finished"] is False
    (run / "DONE.json").write_text(json.dumps({"loss": 2.0, "model": "x", "store/hits": 1.0}))
    assert run_record(run, config)["finished"] is True and run_record(run, config)["result"] == {"loss": 2.0}
    assert json.loads(json.dumps(found)) == found, "plain JSON"


def test_an_empty_folder_has_an_empty_record(run):
    found = run_record(run, {})
    assert found["mix"] == {"source": {}, "task": {}} and found["summary"] == {} and found["objective"] is None
    assert found["rewards"] == {}


def test_a_record_is_read_back(tmp_path):
    assert read_record(tmp_path / "training.json") == {}
    (tmp_path / "training.json").write_text('{"run": "a"}')
    assert read_record(tmp_path / "training.json") == {"run": "a"}
    for broken in ("[1]", "{"):
        (tmp_path / "training.json").write_text(broken)
        with pytest.raises(DataError, match=r"training\.json"):
            read_record(tmp_path / "training.json")
