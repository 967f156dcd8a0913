"""Rounds of sending: where they go on, what a lost note does, and that wrong versions are caught."""

import json

import pytest

from o3v.errors import StorageError
from o3v.tracking.delivery import Delivery, Sent, address, read_state, unsent, write_state
from o3v.tracking.journal import Journal
from o3v.tracking.mlflow_database import Store
from o3v.tracking.mlflow_store import MlflowRun, batches
from o3v.tracking.outbox import Outbox
from o3v.tracking.run import RunFolder
from tests.tracking.servers import assert_once_in_order
from tests.tracking.test_mlflow_tracker import client_of


@pytest.fixture
def folder(database, tmp_path):
    made = RunFolder(tmp_path / "run")
    made.create()
    address(made, Store(f"sqlite:///{database}", "exp", None), "run")
    return made


def record(folder, steps, tag_every=1):
    journal, outbox = Journal(folder), Outbox(folder)
    for step in steps:
        journal.add_metrics({"a": float(step), "b": 1.0}, step)
        if (step + 1) % tag_every == 0:
            outbox.tags({"step": str(step)})


def delivered(folder, last=True):
    delivery = Delivery(folder, tables_every_s=1000.0)
    try:
        return delivery.round(last)
    finally:
        delivery.close()


def check(database, folder, steps):
    client, run_id = client_of(database), read_state(folder).run_id
    assert_once_in_order(client, run_id, "a", [(step, float(step)) for step in steps])
    assert_once_in_order(client, run_id, "b", [(step, 1.0) for step in steps])
    assert client.get_run(run_id).data.tags["step"] == str(steps[-1])


def forget(folder):
    """As if the process had died before it noted that anything was sent."""
    path = folder.path / "mlflow.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "sent_bytes": 0, "outbox_bytes": 0, "tables": {}}))


def test_each_round_sends_what_is_new(database, folder):
    record(folder, range(10))
    assert unsent(folder, read_state(folder)) == Sent(20, 10, 0)
    assert delivered(folder) == Sent(20, 10, 0)
    assert delivered(folder) == Sent()
    record(folder, range(12))
    assert delivered(folder) == Sent(4, 12, 0)  # tags are told again, points are not
    check(database, folder, range(12))


def test_a_failure_in_the_middle_keeps_what_was_sent(database, folder, monkeypatch):
    def fails_later(run, records):
        if records[0]["step"] >= 500:
            raise ConnectionError("gone")
        return send_points(run, records)

    send_points = MlflowRun.send_points
    monkeypatch.setattr(MlflowRun, "send_points", fails_later)
    record(folder, range(1200), tag_every=1200)
    with pytest.raises(ConnectionError):
        delivered(folder)
    assert unsent(folder, read_state(folder)).points == 1400
    monkeypatch.setattr(MlflowRun, "send_points", send_points)
    assert delivered(folder).points == 1400
    check(database, folder, range(1200))


def test_a_crash_between_sending_and_noting_doubles_nothing(database, folder):
    record(folder, range(10))
    delivered(folder)
    forget(folder)
    assert delivered(folder) == Sent(20, 10, 0)
    check(database, folder, range(10))


def test_a_run_made_by_a_server_that_died_before_answering_is_found_again(database, folder):
    record(folder, range(3))
    delivered(folder)
    state = read_state(folder)
    write_state(folder, type(state)(state.store, state.name, state.token))  # the id was never told
    delivered(folder)
    assert read_state(folder).run_id == state.run_id
    check(database, folder, range(3))


def other_time(monkeypatch):
    send = MlflowRun.send_points
    lives = []

    def late(run, records):
        lives.append(1)
        return send(run, [{**line, "time_ms": line["time_ms"] + len(lives)} for line in records])

    monkeypatch.setattr(MlflowRun, "send_points", late)


def noted_before(monkeypatch):
    send = Delivery._send_metrics

    def careless(delivery, run):
        path = delivery._folder.path / "metrics.jsonl"
        delivery._note(sent_bytes=path.stat().st_size)
        return send(delivery, run)

    monkeypatch.setattr(Delivery, "_send_metrics", careless)


def no_token(monkeypatch):
    monkeypatch.setattr(
        "o3v.tracking.delivery.find_or_create",
        lambda client, experiment, name, token, tags: client.create_run(experiment, run_name=name).info.run_id,
    )


def lost_id(folder):
    state = read_state(folder)
    write_state(folder, type(state)(state.store, state.name, state.token))


@pytest.mark.parametrize(
    ("mutant", "accident"),
    [(other_time, forget), (noted_before, forget), (no_token, lost_id)],
    ids=lambda f: f.__name__,
)
def test_wrong_versions_are_caught(database, folder, monkeypatch, mutant, accident):
    mutant(monkeypatch)
    record(folder, range(10))
    delivered(folder)
    accident(folder)
    delivered(folder)
    with pytest.raises((AssertionError, KeyError)):
        check(database, folder, range(10))
        (experiment,) = [item for item in client_of(database).search_experiments() if item.name == "exp"]
        assert len(client_of(database).search_runs([experiment.experiment_id])) == 1


def test_the_offset_is_kept(database, folder, monkeypatch):
    """A version that forgets the offset sends everything in every round: the store hides it, the count does not."""
    monkeypatch.setattr(
        Delivery, "_note", lambda delivery, **changes: None if "sent_bytes" in changes else note(delivery, **changes)
    )
    record(folder, range(10))
    delivered(folder)
    with pytest.raises(AssertionError):
        assert delivered(folder) == Sent()


note = Delivery._note


def test_tables_are_sent_whole_and_not_too_often(database, folder):
    journal = Journal(folder)
    delivery = Delivery(folder, tables_every_s=1000.0)
    journal.add_table("t", [{"x": 0}], 0)
    assert delivery.round(False).tables == 1
    journal.add_table("t", [{"x": 1}], 1)
    assert delivery.round(False).tables == 0  # not yet again
    assert delivery.round(True).tables == 1  # but at the end
    assert delivery.round(True).tables == 0
    delivery.close()
    run_id = read_state(folder).run_id
    found = json.loads((database.parent / "mlflow.artifacts" / run_id / "artifacts/tables/t.json").read_text())
    assert found == {"columns": ["step", "x"], "data": [[0, 0], [1, 1]]}


def test_one_process_at_a_time(folder):
    record(folder, range(3))
    first = Delivery(folder, 1.0)
    first.round(False)
    with pytest.raises(StorageError, match="another process is sending"):
        delivered(folder)
    first.close()
    delivered(folder)


def test_another_address_starts_from_nothing(folder, tmp_path):
    record(folder, range(3))
    delivered(folder)
    before = read_state(folder)
    assert address(folder, before.store, "other name") == before
    moved = address(folder, Store("http://127.0.0.1:9", "exp", None), "run")
    assert moved.run_id is None and moved.sent_bytes == 0 and read_state(folder) == moved
    folder.write_json("mlflow.json", {"study_id": "x"})
    assert read_state(folder) is None


def test_a_line_of_many_points_is_a_batch_of_its_own():
    lines = [(1, {"values": {"a": 1}}), (2, {"values": dict.fromkeys("abcdefgh", 1)}), (3, {"values": {"a": 1}})]
    assert [(end, len(group)) for end, group in batches(lines, 4)] == [(1, 1), (2, 1), (3, 1)]
    assert list(batches([], 4)) == []
