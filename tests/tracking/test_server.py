"""A true server that is killed, that is away at the start, and that never comes back: nothing lost, nothing twice."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from o3v.sync import Outcome, run_folders, sync
from o3v.tracking.delivery import Sent, read_state
from o3v.tracking.run import RunFolder
from tests.tracking.servers import (
    IMPATIENT,
    QUICK,
    Server,
    assert_once_in_order,
    free_port,
    only_run,
    settings_for,
    wait_until,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server"), free_port())
    yield made
    made.kill()


def tell(tracker, steps, wait_s=0.0):
    for step in steps:
        tracker.metrics({"train/loss": step / 2, "train/reward": 1.0}, step)
        if step % 10 == 0:
            tracker.table("completions", [{"text": str(step), "total": 1.0}], step)
            tracker.image("evidence", Image.new("RGB", (300, 200)), step)
        time.sleep(wait_s)


def assert_whole(server, folder, steps, status="FINISHED"):
    client = server.client()
    run = only_run(client, folder.name)
    run_id = run.info.run_id
    assert run.info.status == status and run.data.params["seed"] == "1" and run.data.tags["arm"] == "o3"
    assert_once_in_order(client, run_id, "train/loss", [(step, step / 2) for step in steps])
    assert_once_in_order(client, run_id, "train/reward", [(step, 1.0) for step in steps])
    shown = [step for step in steps if step % 10 == 0]
    (there,) = (server.folder / "artifacts").glob(f"*/{run_id}/artifacts")
    assert [row[0] for row in json.loads((there / "tables" / "completions.json").read_text())["data"]] == shown
    assert sorted(int(path.name.split("+")[2]) for path in (there / "images").glob("*.png")) == shown
    assert len(list((there / "images").glob("*.webp"))) == len(shown)
    assert (there / "files" / "extra.txt").read_text() == "x"


def start(server, folder, pace=QUICK):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "extra.txt").write_text("x")
    settings = settings_for(server.uri, pace, tags={"arm": "o3"}, experiment=folder.name)
    tracker = settings.start(RunFolder(folder), "run-1", {"seed": 1}, {})
    tracker.artifact(folder / "extra.txt", "files")
    return tracker


@dataclass(frozen=True)
class Outage:
    """Four runs around one outage, see the tests."""

    root: Path
    messages: tuple[str, ...]
    first_sync: Outcome
    second_sync: Outcome


@pytest.fixture(scope="module")
def outage(server, tmp_path_factory):
    """The server is killed in the middle of one run, away while three others start, and then started again."""
    root = tmp_path_factory.mktemp("runs")
    heard = Heard()
    logging.getLogger("o3v.tracking.sender").addHandler(heard)
    server.start()
    killed = start(server, root / "killed")
    tell(killed, range(40), 0.01)
    sent = RunFolder(root / "killed")
    wait_until(lambda: read_state(sent).sent_bytes > 0, 60, "nothing was sent before the server was killed")
    server.kill()
    tell(killed, range(40, 80), 0.01)
    early = start(server, root / "early")
    tell(early, range(25))
    abandoned = start(server, root / "abandoned", IMPATIENT)
    tell(abandoned, range(25))
    abandoned.finish("finished")
    interrupted = start(server, root / "interrupted", IMPATIENT)
    tell(interrupted, range(25))
    interrupted.finish("interrupted")
    first_sync = sync(root / "abandoned", None)
    assert server.process is None and early.run_id is None
    server.start()
    tell(killed, range(80, 100), 0.01)
    killed.finish("finished")
    tell(early, range(25, 30))
    early.finish("finished")
    logging.getLogger("o3v.tracking.sender").removeHandler(heard)
    return Outage(root, tuple(heard.messages), first_sync, sync(root / "abandoned", None))


class Heard(logging.Handler):
    """Warnings of the sender."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def test_a_server_killed_in_the_middle_of_a_run(server, outage):
    assert_whole(server, outage.root / "killed", range(100))


def test_one_outage_is_one_warning_a_run(outage):
    assert len(outage.messages) == 4 and all("the run goes on and sends later" in text for text in outage.messages)


def test_a_server_away_at_the_start_gets_everything_later(server, outage):
    assert_whole(server, outage.root / "early", range(30))


def test_a_server_that_never_comes_back_and_sync(server, outage):
    assert not outage.first_sync.sent and outage.first_sync.left.points == 50 and outage.first_sync.reason
    done = outage.second_sync
    assert done.sent.points == 50 and done.sent.tables == 1 and not done.left and done.reason == ""
    assert_whole(server, outage.root / "abandoned", range(25))
    assert sync(outage.root / "abandoned", None).sent == Sent()
    assert run_folders(outage.root) == sorted(outage.root.iterdir())


def test_the_next_start_sends_what_an_interrupted_one_left(server, outage):
    folder = outage.root / "interrupted"
    again = start(server, folder)
    tell(again, range(20, 30))  # continued from the checkpoint of step 20
    again.finish("interrupted")
    assert_whole(server, folder, range(30), "KILLED")  # not FINISHED: it goes on later


@pytest.mark.slow
def test_a_server_away_for_a_minute(server, tmp_path):
    server.start()
    folder = tmp_path / "minute"
    tracker = start(server, folder)
    tell(tracker, range(40), 0.05)
    server.kill()
    tell(tracker, range(40, 100), 1.0)
    server.start()
    tell(tracker, range(100, 110))
    tracker.finish("finished")
    assert_whole(server, folder, range(110))
