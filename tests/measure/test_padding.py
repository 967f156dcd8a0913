"""The padding bench: figures that follow from their definition, the same in every run."""

from __future__ import annotations

import json

import pytest

from o3v.measure.padding import SHARES, PaddingCase, generated, padding_rows, padding_text
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from tests import commands

READER = ClipReader(FrameSampling(16, 4, 2.0, insert_key_frames=True), 3136, 100352, 200704, 8192)
CASE = PaddingCase(1000, 4, 2, (0, 4, 16), 28, 0, READER)


@pytest.fixture(scope="module")
def rows():
    return {(row["length_window"], row["same_modality"]): row for row in padding_rows(CASE)}


def test_wider_windows_save_more_and_move_farther(rows):
    mixed = [rows[window, False] for window in CASE.windows]
    assert mixed[0]["saved"] == mixed[0]["slowest_saved"] == mixed[0]["moved_batches"] == 0.0
    for name in ("saved", "slowest_saved", "moved_batches"):
        assert [row[name] for row in mixed] == sorted(row[name] for row in mixed)
    assert mixed[-1]["saved"] > 0.1 and mixed[-1]["moved_batches"] < 16
    assert all(0 <= row["padding"] < 1 for row in rows.values())


def test_batches_of_one_modality_are_counted(rows):
    assert all((row["mixed_batches"] == 0) == same for (_, same), row in rows.items())


def test_generated_rows_have_the_shares_and_spread_lengths():
    samples, lengths = generated(CASE)
    for kind, share in SHARES.items():
        assert sum(row.source == kind for row in samples) == pytest.approx(1000 * share, abs=60)
    assert max(lengths) > 5 * min(lengths) > 0
    assert generated(CASE) == (samples, lengths)


def test_the_command_writes_its_rows(tmp_path, monkeypatch, rows):
    from o3v import bench

    out = tmp_path / "padding.json"
    cfg = commands.composed("bench_padding", tmp_path, "rows=1000", "devices=4", "prompts_per_device=2", f"out={out}")
    saved = bench.padding.__wrapped__(cfg)
    written = json.loads(out.read_text())["rows"]
    assert written[-1]["saved"] == saved and written[0] == rows[0, False]
    assert padding_text(written).count("\n") == len(written) + 1
