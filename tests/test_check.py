"""python -m o3v.check as a command: exit codes, files, the published data, mistakes before anything is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from o3v.cli import Job, run_command
from tests.commands import COUNTS
from tests.datacheck.rows import FAULTY, GOOD, write_world
from tests.tiny import CONF

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the published data sets are not on this machine")


def check(out, *overrides, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "o3v.check", f"paths.output_dir={out}", *map(str, overrides)],
        cwd=CONF.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def summary(out, name):
    return json.loads((out / "check" / name / "summary.json").read_text())


def test_a_clean_file_a_faulty_one_and_the_cleaned_one(tmp_path):
    write_world(tmp_path, GOOD)
    data = ("data=stgr_rl", f"paths.data_root={tmp_path}")
    assert check(tmp_path / "out", *data).returncode == 0
    write_world(tmp_path, [*GOOD, FAULTY["key_frame_outside"], FAULTY["span_edge"]])
    done = check(tmp_path / "out", *data, f"clean={tmp_path}/json_data/clean.json")
    assert done.returncode == 3
    assert "key_frame_outside" in done.stdout and "FAILED: 1 of 6 rows" in done.stdout
    assert "5 rows kept, 1 left out" in done.stderr
    found = summary(tmp_path / "out", "STGR-RL")
    assert (found["rows_looked_at"], found["rows_remembered"]) == (2, 4)
    cleaned = check(tmp_path / "out", *data, "data.dataset.annotation_file=json_data/clean.json")
    assert cleaned.returncode == 0, cleaned.stdout
    assert check(tmp_path / "out", *data, "max_error_share=0.2").returncode == 0
    assert check(tmp_path / "out", *data, "severity.key_frame_outside=warning").returncode == 0


@needs_shared
@pytest.mark.parametrize("file", ["stgr_rl", "stgr_sft"])
def test_the_real_layout_passes(tmp_path, file):
    done = check(tmp_path, f"data={file}", f"paths.data_root={SHARED / 'stgr_real'}")
    assert done.returncode == 0, done.stdout
    (name,) = (path.name for path in (tmp_path / "check").iterdir() if path.is_dir())
    assert summary(tmp_path, name)["kinds"] == {}


@needs_shared
def test_timerft_is_read_and_its_faults_found(tmp_path):
    done = check(tmp_path, "data=timerft", "media=false", f"paths.data_root={SHARED / 'time_r1'}")
    assert done.returncode == 3
    found = summary(tmp_path, "train_2k5")
    assert found["rows"] == 2500
    rows = json.loads((SHARED / "time_r1" / "train_2k5.json").read_text())
    beyond = [row["timestamp"][1] - row["duration"] for row in rows]
    kinds = {kind: entry["rows"] for kind, entry in found["kinds"].items()}
    assert kinds == {"span_outside": sum(b > 0.5 for b in beyond), "span_edge": sum(0 < b <= 0.5 for b in beyond)}
    assert kinds == {"span_outside": 31, "span_edge": 17}


@needs_shared
def test_the_known_faults_of_tvgbench_are_found(tmp_path):
    folder = tmp_path / "benchmarks" / "tvgbench"
    folder.mkdir(parents=True)
    (folder / "tvgbench.json").symlink_to(SHARED / "time_r1" / "tvgbench.json")
    roots = (f"paths.benchmark_root={tmp_path / 'benchmarks'}", "media=false")
    assert check(tmp_path, "benchmark=tvgbench", *roots).returncode == 3
    found = summary(tmp_path, "tvgbench")
    assert found["rows"] == 800
    assert {kind: entry["rows"] for kind, entry in found["kinds"].items()} == {
        "span_empty": 11,
        "span_outside": 21,
        "span_edge": 6,
        "duplicate_question": 1,
    }
    done = check(tmp_path, "data=timerft", f"paths.data_root={SHARED / 'time_r1'}", *roots)
    assert "compared with tvgbench: 462 media" in done.stdout
    assert not [kind for kind in summary(tmp_path, "train_2k5")["kinds"] if kind.startswith("leak")]


def test_missing_media_are_counted_by_source_with_the_searched_path(tmp_path):
    write_world(tmp_path, GOOD)
    (tmp_path / "videos" / "timerft" / "clip.mp4").unlink()
    done = check(tmp_path / "out", "data=stgr_rl", f"paths.data_root={tmp_path}")
    assert done.returncode == 3
    entry = summary(tmp_path / "out", "STGR-RL")["kinds"]["media_missing"]
    assert entry["sources"] == {"timerft": 1}
    assert f"{tmp_path}/videos/timerft/clip.mp4 does not exist" in entry["first"]


def test_the_generated_world_passes(tmp_path):
    done = check(tmp_path, "data=shapes", COUNTS, "model=tiny_qwen2_5_vl")
    assert done.returncode == 0, done.stdout + done.stderr
    found = summary(tmp_path, "shapes")
    assert (found["rows"], found["kinds"]) == (10, {})
    assert found["tokens"]["text_counted_by"].endswith("tokenizer.json")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "nothing to check: give data="),
        (("data=stgr_rl",), "paths.data_root has no value"),
        (("data=stgr_rl", "paths.data_root=/nowhere"), "no folder /nowhere"),
        (("data=stgr_r",), "did you mean 'stgr_rl'"),
        (("data=shapes", "severity.leters=off"), "did you mean 'letter'"),
        (("data=shapes", "severity.letter=loud"), "loud"),
        (("data=shapes", "limits.span=1"), "limits.span=1: unknown key"),
        (("data=shapes", "decode=all"), "allowed are index, ends, sampled"),
        (("data=shapes", "workers=0"), "workers=0: must be at least 1"),
        (("data=shapes", "max_error_share=2"), "must be 0 to 1"),
        (("data=shapes", "compare_with=[tvgbenc]"), "did you mean 'tvgbench'"),
        (("benchmark=tvgbench",), "tvgbench.json"),
    ],
)
def test_mistakes_end_the_command_with_two(tmp_path, overrides, said, monkeypatch, capsys):
    monkeypatch.setenv("O3V_BENCHMARKS", str(tmp_path / "none"))
    monkeypatch.delenv("O3V_DATA", raising=False)
    small = [COUNTS] if "data=shapes" in overrides else []
    monkeypatch.setattr(sys, "argv", ["o3v.check", f"paths.output_dir={tmp_path}", *overrides, *small])
    with pytest.raises(SystemExit) as stopped:
        sys.exit(run_command("check", Job("o3v.check", "main")))
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "check").exists()
