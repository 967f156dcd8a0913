"""Two result files compared: what is matched, what is said, and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest

from o3v.benchmarks.pairs import RecordScores, compare_files
from o3v.benchmarks.records import Record, to_line
from o3v.errors import ConfigError, DataError

PLAIN = RecordScores(resamples=200, seed=0)


def record(key, scores, video=None, **changes):
    fields = {
        "sample_id": key, "source": "s", "task": "mcq", "video": video or key, "model": "m", "run": "r", "seed": 0,
        "prompt_hash": "h", "frames": 16, "pixels": 100, "text": "t", "scores": scores, "error": None,
    }  # fmt: skip
    return Record(**(fields | changes))


def write(path, records):
    path.write_text("".join(map(to_line, records)))
    return path


def two_files(folder, n=60):
    rng = np.random.default_rng(0)
    a = [record(f"q{k}", {"acc": 1.0, "tiou": float(rng.random())}, f"v{k // 3}") for k in range(n)]
    b = [record(f"q{k}", {"acc": float(k % 2), "tiou": float(rng.random())}, f"v{k // 3}") for k in range(n)]
    return write(folder / "a.jsonl", a), write(folder / "b.jsonl", b)


class Product(RecordScores):
    """With a number made of means."""

    def derived(self, names):
        return {"product": lambda means: means["acc"] * means["tiou"]}


def test_numbers_are_those_of_the_common_samples(tmp_path):
    a = write(tmp_path / "a.jsonl", [record("x", {"acc": 1}), record("y", {"acc": 1}), record("only", {"acc": 0})])
    b = write(tmp_path / "b.jsonl", [record("y", {"acc": 0}), record("x", {"acc": 1}), record("other", {"acc": 0})])
    found = compare_files(a, b, PLAIN, None, 99)
    tested = found.columns["acc"]
    assert (tested.a, tested.b, tested.difference.mean, tested.p) == (1.0, 0.5, 0.5, 1.0)
    assert (found.n, found.videos, found.only_a, found.only_b) == (2, 2, ("only",), ("other",))
    assert "1 samples are only in A" in found.notes[0] and "other" in found.notes[1]


def test_exchanging_the_files_exchanges_the_signs(tmp_path):
    a, b = two_files(tmp_path)
    one, two = compare_files(a, b, Product(200, 0), None, 99), compare_files(b, a, Product(200, 0), None, 99)
    for name in ("acc", "tiou", "product"):
        assert one.columns[name].difference.mean == pytest.approx(-two.columns[name].difference.mean)
        assert one.columns[name].p == two.columns[name].p
    assert one.columns["product"].a == pytest.approx(one.columns["acc"].a * one.columns["tiou"].a)
    assert one.columns["acc"].p == 0.01 and one.columns["acc"].p_holm == 0.03
    assert "3 columns are tested" in one.notes[-1]


def test_one_column_chosen_before_looking_is_not_adjusted(tmp_path):
    a, b = two_files(tmp_path)
    found = compare_files(a, b, PLAIN, ["acc"], 99)
    assert list(found.columns) == ["acc"] and found.columns["acc"].p == found.columns["acc"].p_holm
    assert found.notes == ()


def test_what_makes_them_less_comparable_is_said(tmp_path):
    a = write(tmp_path / "a.jsonl", [record("x", {"acc": 1}), record("y", {"acc": 1}, error="broken", frames=0)])
    b = write(tmp_path / "b.jsonl", [record("x", {"acc": 1}, prompt_hash="i"), record("y", {"acc": 1}, frames=0)])
    notes = " ".join(compare_files(a, b, PLAIN, None, 9).notes)
    assert "prompt_hash differs in 1 of 2" in notes and "1 of 2 samples could not be answered by A" in notes
    assert "frames" not in notes


def test_mistakes_are_named(tmp_path):
    a, b = two_files(tmp_path)
    with pytest.raises(ConfigError, match="missing"):
        compare_files(tmp_path / "missing", b, PLAIN, None, 9)
    with pytest.raises(ConfigError, match=r"columns=\['mAM'\].*acc"):
        compare_files(a, b, PLAIN, ["mAM"], 9)
    with pytest.raises(DataError, match="no sample in common"):
        compare_files(a, write(tmp_path / "c.jsonl", [record("z", {})]), PLAIN, None, 9)
    with pytest.raises(DataError, match="two answers to 'z'"):
        compare_files(a, write(tmp_path / "d.jsonl", [record("z", {})] * 2), PLAIN, None, 9)
    with pytest.raises(DataError, match="no records"):
        compare_files(a, write(tmp_path / "e.jsonl", []), PLAIN, None, 9)


def test_the_command_shows_writes_and_imports_no_torch(tmp_path):
    a, b = two_files(tmp_path)
    code = "import sys; from o3v.paired import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, f"a={a}", f"b={b}", f"out={tmp_path / 'out'}", "exchanges=99"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "60 common samples of 20 videos" in done.stdout
    written = json.loads((tmp_path / "out" / "paired.json").read_text())
    assert written["columns"]["acc"]["difference"]["mean"] == 0.5
    assert "| acc | 100.0 | 50.0 | +50.0 |" in (tmp_path / "out" / "paired.md").read_text()


def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "o3v.paired", f"a={tmp_path}/x.jsonl", "b=y", "exchanges=0"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "exchanges=0" in done.stderr and "Traceback" not in done.stderr
