"""python -m o3v.curate on real clips with a scripted annotator behind a real address."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from o3v.curation.items import DROPPED
from o3v.curation.pipeline import OPTIONAL
from o3v.data.stgr import read_stgr
from o3v.endpoint.loopback import said
from o3v.errors import ConfigError, DataError, ServiceError
from o3v.measure.curation import faults_of, first_objection, injected_in
from tests import tiny
from tests.curation import parts


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return parts.world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """One run of everything: folder, what the server saw."""
    with parts.annotator() as served:
        return parts.run(world, tmp_path_factory.mktemp("whole"), served.url), served


def test_what_is_kept_is_right_and_reads_back(world, whole):
    folder, _ = whole
    kept = folder.candidates_after("write")
    assert len(kept) >= 8
    assert [one.id for one in kept if faults_of(world, one)] == []
    for name in ("STGR-SFT.json", "STGR-RL.json"):
        rows = read_stgr(folder.path / "data" / "json_data" / name, folder.path / "data")
        assert rows.faults == () and [sample.id for sample in rows.samples] == [one.id for one in kept]
        for sample, one in zip(rows.samples, kept, strict=True):
            assert (sample.reasoning == one.reasoning) == (name == "STGR-SFT.json")
            assert [frame.boxes for frame in sample.key_frames] == [frame.boxes for frame in one.key_frames]
            assert all(frame.image_path.is_file() for frame in sample.key_frames)
            assert (sample.question, sample.answer) == (one.question, one.answer)


def test_every_row_has_its_decisions_and_every_stage_catches_something(world, whole):
    folder, served = whole
    decisions = parts.decisions(folder)
    assert all(one.keys() == {"sample", "stage", "verdict", "reason", "values"} for one in decisions)
    rows = [json.loads(line) for line in world.rows.read_text().splitlines()]
    dropped = [one["sample"] for one in decisions if one["verdict"] == DROPPED]
    kept = [one.id for one in folder.candidates_after("write")]
    named = [name.replace("row-", "clip-") for name in dropped if not name.startswith("row-")]
    assert len(dropped) + len(kept) == len(rows) and not set(named) & set(kept)
    assert {"propose", "boxes", "verify", "consistency", "sentences"} <= {
        one["stage"] for one in decisions if one["verdict"] != "kept"
    }
    asked = [one for one in decisions if one["stage"] == "propose" and one["verdict"] in ("kept", DROPPED)]
    assert len(served.requests) > len(asked) > 0


WHO_CATCHES = {
    "whole_frame": "boxes",
    "wrong_box": "verify",
    "time_off": "consistency",
    "not_annotated": "consistency",
    "false_sentence": "sentences",
    "cut_off": "propose",
}


def caught(folder) -> dict[str, set[str]]:
    injected = injected_in(folder.path / "replies")
    found: dict[str, set[str]] = {}
    for row, fault in injected.items():
        found.setdefault(fault, set()).add(first_objection(folder.decisions(), row))
    return found


def test_each_injected_error_is_caught_by_its_stage(whole):
    found = caught(whole[0])
    assert found.pop("none") == {""}
    assert set(found) == set(WHO_CATCHES)
    assert found == {fault: {stage} for fault, stage in WHO_CATCHES.items()}


@pytest.mark.parametrize("stage", ["boxes", "verify", "consistency", "sentences"])
def test_a_stage_left_out_is_caught(world, whole, stage, tmp_path):
    """Each check is needed: without it, an error that it catches is not objected to by it, or stays."""
    shutil.copytree(whole[0].path / "replies", tmp_path / "replies")  # little is asked anew
    left = [name for name in ("filter", "propose", *OPTIONAL[1:], "write") if name != stage]
    with parts.annotator() as served:
        folder = parts.run(world, tmp_path, served.url, f"stages=[{','.join(left)}]")
    found = caught(folder)
    found.pop("none")
    assert found != {fault: {place} for fault, place in WHO_CATCHES.items()}
    if stage in ("consistency", "sentences"):
        assert any(faults_of(world, one) for one in folder.candidates_after("write"))


def test_stages_one_by_one_and_any_number_of_workers_write_the_same_bytes(world, whole, tmp_path):
    folder, _ = whole
    with parts.annotator() as served:
        for stage in folder.stages:
            other = parts.run(world, tmp_path, served.url, f"stage={stage}", "annotator.client.concurrency=1")
    assert parts.files(other.path) == parts.files(folder.path)


def test_a_second_run_asks_nothing(world, whole, tmp_path):
    folder, _ = whole
    before = parts.files(folder.path)
    with parts.annotator() as served:
        parts.run(world, folder.path, served.url)
    assert served.requests == [] and parts.files(folder.path) == before


def test_a_killed_run_goes_on_without_asking_again(world, whole, tmp_path):
    """SIGKILL at several points; only what was under way is asked twice, and the result is the same."""
    expected, first = whole

    def slowly(body, before):
        time.sleep(0.02)
        return 200, said(parts.oracle().reply(body["messages"])), {}

    command = [sys.executable, "-m", "tests.curation.killed", str(world.rows), str(tmp_path)]
    kills = 0
    with parts.annotator(slowly) as served:
        for target in (5, 30, 60):
            running = subprocess.Popen([*command, served.url], cwd=tiny.CONF.parent, stderr=subprocess.DEVNULL)
            while len(served.requests) < target and running.poll() is None:
                time.sleep(0.005)
            kills += running.poll() is None
            running.send_signal(signal.SIGKILL)
            running.wait()
        folder = parts.run(world, tmp_path, served.url)
        asked = len(served.requests)
    assert kills >= 2
    assert asked <= len(first.requests) + 8 * kills  # at most those under way: 8 at a time
    assert parts.files(folder.path) == parts.files(expected.path)


def test_a_server_that_is_away_is_said_at_once(world, tmp_path):
    with pytest.raises(ServiceError, match=r"127.0.0.1:9/v1: no answer after 2 attempts"):
        parts.run(world, tmp_path, "http://127.0.0.1:9/v1")
    assert (tmp_path / "stages" / "0-filter.jsonl").is_file()


def test_questions_without_a_reply_are_decisions(world, tmp_path):
    """One in three is refused; the others go on. Later a run may ask them again, or leave them."""

    def refuses(body, before):
        text = json.dumps(body)
        return (
            (400, "too many pictures", {})
            if len(text) % 3 == 0
            else (200, said(parts.oracle().reply(body["messages"])), {})
        )

    with parts.annotator(refuses) as served:
        folder = parts.run(world, tmp_path, served.url)
        refused = [one for one in parts.decisions(folder) if one["reason"] == "no reply"]
        assert refused and len(folder.candidates_after("write")) > 0
        count = len(served.requests)
        parts.run(world, tmp_path, served.url)
        assert len(served.requests) == count
    with parts.annotator() as served:
        parts.run(world, tmp_path, served.url, "ask_failed_again=true")
        assert len(served.requests) > 0
    assert not [one for one in parts.decisions(folder) if one["reason"] == "no reply"]


def test_a_server_that_refuses_everything_stops_the_run(world, tmp_path):
    with (
        parts.annotator(lambda body, before: (400, "no", {})) as served,
        pytest.raises(ServiceError, match="5 questions in a row"),
    ):
        parts.run(world, tmp_path, served.url, "max_failures=5")
    assert 5 <= len(served.requests) <= 16


@pytest.mark.parametrize(
    "text", ["", "no", '{"key_frames": 3}', "<think>", '{"key_frames": [{"time": 1e400}]}', "\ud83d"]
)
def test_any_reply_is_survived(world, tmp_path, text):
    with parts.annotator(lambda body, before: (200, said(text), {})) as served:
        folder = parts.run(world, tmp_path, served.url)
    assert folder.candidates_after("write") == []
    assert not (folder.path / "data" / "json_data" / "STGR-SFT.json").exists()
    assert (folder.path / "report" / "index.html").is_file()


def test_the_key_is_sent_and_stands_nowhere(world, tmp_path, monkeypatch):
    monkeypatch.setenv("O3V_TEST_KEY", "hush-hush-key")

    def echoes(body, before):
        return 200, said("my key is hush-hush-key, no"), {}

    with parts.annotator(echoes) as served:
        folder = parts.run(world, tmp_path, served.url, "annotator.client.key_variable=O3V_TEST_KEY")
    assert {one["Authorization"] for one in served.headers} == {"Bearer hush-hush-key"}
    assert all(b"hush-hush-key" not in path.read_bytes() for path in folder.path.rglob("*") if path.is_file())


def test_media_stay_below_their_root(world, tmp_path):
    (tmp_path / "outside.mp4").write_bytes((world.rows.parent / "clips" / "clip-0000.mp4").read_bytes())
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    names = ["../outside.mp4", str(tmp_path / "outside.mp4"), "link.mp4", "", "a\0b"]
    rows = root / "rows.json"
    rows.write_text(
        json.dumps([{"video": name, "question": "a", "answer": "b"} for name in names] + [3, {"vidoe": ""}])
    )
    with parts.annotator() as served:
        folder = parts.run(replace(world, rows=rows), tmp_path / "out", served.url)
    assert served.requests == []
    assert [one["reason"] for one in parts.decisions(folder)] == ["row"] * 7


def test_the_official_layout_goes_in_again(whole, tmp_path):
    """What was written is a source itself; its rows are asked about as questions with answers."""
    folder, _ = whole
    data = folder.path / "data"
    rows = replace(parts_world(whole), rows=data / "json_data" / "STGR-SFT.json")
    with parts.annotator() as served:
        again = parts.run(rows, tmp_path, served.url, "layout=stgr", f"media_root={data}")
    assert 0 < len(again.candidates_after("write")) <= len(folder.candidates_after("write"))
    written = read_stgr(tmp_path / "data" / "json_data" / "STGR-RL.json", tmp_path / "data")
    assert written.faults == () and {sample.source for sample in written.samples} == {"STR_shapes"}


def parts_world(whole):
    from o3v.measure.curation import World

    return World(parts.rules(), {}, whole[0].path)


def test_the_report_is_one_file_with_pictures(whole):
    page = (whole[0].path / "report" / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 5
    assert "<script" not in page and "://" not in page.split("base64")[0]
    for reason in ("answered no", "time not annotated", "unreadable proposal", "video too short"):
        assert reason in page


def test_a_stage_without_the_one_before(world, tmp_path):
    with pytest.raises(DataError, match="run stage=propose before"):
        parts.run(world, tmp_path, "http://127.0.0.1:9/v1", "stage=boxes")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage=propse", "propse"),
        ("stages=[propose,filter,write]", "wanted"),
        ("stages=[filter,propose]", "wanted"),
        ("layout=csv", "layout"),
        ("annotator.format=xml", "format"),
        ("annotator.boxes.unit=percent", "unit"),
        ("annotator.pictures=gif", "pictures"),
        ("publish.videos=move", "videos"),
        ("prompts.crop='Is it a $nmae?'", "prompts.crop"),
    ],
)
def test_wrong_settings_are_named(world, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        parts.run(world, tmp_path, "http://127.0.0.1:9/v1", override)


def test_the_command_itself(world, tmp_path):
    """As a process: exit code 2 and one sentence where the server is away; help in no time."""
    arguments = [
        f"rows={world.rows}",
        f"media_root={world.rows.parent}",
        f"out={tmp_path}",
        "annotator.client.retries=0",
    ]
    command = [sys.executable, "-m", "o3v.curate", *arguments, "annotator.client.url=http://127.0.0.1:9/v1"]
    done = subprocess.run(command, cwd=tiny.CONF.parent, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "127.0.0.1:9" in done.stderr


def test_the_check_passes(whole, tmp_path):
    """Python -m o3v.check finds nothing in what was written."""
    from o3v.check import main as check
    from o3v.compose import compose_command

    for data in ("stgr_sft", "stgr_rl"):
        given = [f"data={data}", f"paths.data_root={whole[0].path / 'data'}", f"paths.output_dir={tmp_path}"]
        check.__wrapped__(compose_command("check", [*given, "compare_with=[]", "memory=null"]))
        (summary,) = (tmp_path / "check").rglob("summary.json")
        found = json.loads(summary.read_text())
        assert found["rows"] == len(whole[0].candidates_after("write")), found
        assert (summary.parent / "findings.jsonl").read_text() == ""
        shutil.rmtree(tmp_path / "check")


REAL = tiny.CONF.parent.parent / "shared" / "data" / "stgr_real"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clip is not beside the repository")
def test_the_official_layout_of_real_data(tmp_path):
    from o3v.measure.curation import World

    rows = World(parts.rules(), {}, REAL / "json_data" / "STGR-SFT.json")
    overrides = ["layout=stgr", f"media_root={REAL}", "stage=filter"]
    folder = parts.run(rows, tmp_path, "http://127.0.0.1:9/v1", *overrides)
    verdicts = {(one["sample"], one["verdict"], one["reason"]) for one in parts.decisions(folder)}
    assert {("real-0", "kept", ""), ("real-1", "kept", ""), ("real-2", "dropped", "no video")} <= verdicts
    assert ("real-3", "dropped", "task") in verdicts
    assert {round(one.duration_s) for one in folder.candidates_after("filter")} == {22}
