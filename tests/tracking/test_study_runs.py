"""The runs above the stages: made once, by whoever comes first, and closed by the state of what lies below."""

import json
import subprocess
import sys

import pytest

from o3v.errors import ServiceError
from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import close_member, close_study, open_study_runs, read_study_runs, state_of
from tests.tracking.servers import settings_for
from tests.tracking.test_mlflow_tracker import client_of, settings

MEMBERS = [("o3", 0), ("o3", 1), ("no_gate", 0)]


def all_runs(client):
    (experiment,) = [item for item in client.search_experiments() if item.name == "exp"]
    return client.search_runs([experiment.experiment_id], max_results=1000)


def test_a_study_is_made_once_and_grows(database, tmp_path):
    folder = RunFolder(tmp_path / "study")
    first = open_study_runs(settings(database), folder, "rewards", MEMBERS, {"git_commit": "c"})
    assert open_study_runs(settings(database), folder, "rewards", MEMBERS, {"git_commit": "c"}) == first
    grown = open_study_runs(settings(database), folder, "rewards", [("sft_only", 0), ("o3", 0)], {})
    assert grown.study_id == first.study_id and grown.member_ids[("o3", 0)] == first.member_ids[("o3", 0)]
    client = client_of(database)
    assert len(all_runs(client)) == 1 + 4
    assert read_study_runs(folder).member_ids == {**first.member_ids, **grown.member_ids}
    assert read_study_runs(RunFolder(tmp_path / "none")) is None
    child = client.get_run(first.member_ids[("no_gate", 0)])
    expected = {"study": "rewards", "arm": "no_gate", "seed": "0", "level": "member", "git_commit": "c"}
    assert expected.items() <= child.data.tags.items()
    assert child.data.tags["mlflow.parentRunId"] == first.study_id and child.info.run_name == "no_gate seed 0"


def test_stages_are_grandchildren_with_the_tags_of_their_arm(database, tmp_path):
    study = open_study_runs(settings(database), RunFolder(tmp_path / "study"), "rewards", MEMBERS, {})
    parent = study.member_ids[("o3", 1)]
    tags = {"study": "rewards", "arm": "o3", "seed": "1", "stage": "rl", "reward": "o3"}
    stage = settings(database, parent=parent, tags=tags).start(RunFolder(tmp_path / "rl"), "rl-1", {}, {"seed": "1"})
    stage.finish("finished")
    run = client_of(database).get_run(stage.run_id)
    assert {**tags, "mlflow.parentRunId": parent}.items() <= run.data.tags.items()


def test_ids_that_were_never_told_are_found_again(database, tmp_path):
    folder = RunFolder(tmp_path / "study")
    first = open_study_runs(settings(database), folder, "rewards", MEMBERS, {})
    state = json.loads((folder.path / "mlflow.json").read_text())
    state.pop("study_id")
    folder.write_json("mlflow.json", {**state, "members": {}})  # killed before it could write them down
    assert open_study_runs(settings(database), folder, "rewards", MEMBERS, {}) == first
    client_of(database).delete_run(first.member_ids[("o3", 0)])
    again = open_study_runs(settings(database), folder, "rewards", MEMBERS, {})
    assert again.member_ids[("o3", 0)] != first.member_ids[("o3", 0)]
    assert again.member_ids[("o3", 1)] == first.member_ids[("o3", 1)]


SUBMIT = """
import sys
from pathlib import Path
from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import open_study_runs
from tests.tracking.servers import settings_for
runs = open_study_runs(settings_for(sys.argv[1]), RunFolder(Path(sys.argv[2])), "s", [("a", 0), ("b", 0)], {})
print(runs.study_id, *sorted(runs.member_ids.values()))
"""


def test_two_submits_at_once_make_one_study_on_a_fresh_store(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-c", SUBMIT, uri, str(tmp_path / "study")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=200)[0] for process in running]
    assert told[0] == told[1] and len(told[0].split()) == 3
    assert len(all_runs(client_of(tmp_path / "mlflow.db"))) == 3


def test_closing_by_the_state_of_the_stages(database, tmp_path):
    runs = open_study_runs(settings(database), RunFolder(tmp_path / "study"), "rewards", MEMBERS, {})
    client, done, failed, open_ = client_of(database), *(runs.member_ids[member] for member in MEMBERS)
    numbers = {"R1@tIoU=0.5": 0.5, "nothing": float("nan")}
    for _ in range(2):  # told twice, stored once
        states = [
            close_member(settings(database), done, ["finished", "FINISHED"], numbers),
            close_member(settings(database), failed, ["finished", "failed"]),
            close_member(settings(database), open_, ["failed", "pending"]),
        ]
    assert states == ["FINISHED", "FAILED", "RUNNING"]
    assert [client.get_run(run).info.status for run in (done, failed, open_)] == states
    assert [point.value for point in client.get_metric_history(done, "R1_tIoU_0.5")] == [0.5]
    assert close_study(settings(database), runs.study_id, states) == "RUNNING"
    assert close_study(settings(database), runs.study_id, ["FINISHED", "FINISHED"]) == "FINISHED"
    assert close_member(settings(database), done, ["running"]) == "RUNNING"  # an added benchmark opens it again
    assert client.get_run(done).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("stages", "state"),
    [
        (["finished"], "FINISHED"),
        (["Failed"], "FAILED"),
        ([], "RUNNING"),
        (["finished", "failed", "unknown"], "RUNNING"),
    ],
)
def test_state_of(stages, state):
    assert state_of(stages) == state


def test_a_server_that_is_away_is_a_sentence(tmp_path):
    folder = RunFolder(tmp_path / "study")
    with pytest.raises(ServiceError, match="mlflow-server"):
        open_study_runs(settings_for("http://127.0.0.1:9"), folder, "s", MEMBERS, {})
    with pytest.raises(ServiceError, match="127"):
        close_member(settings_for("http://127.0.0.1:9"), "x", ["finished"])
