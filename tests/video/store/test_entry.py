"""A file that is not exactly what was written never reads as a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.video.store.entry import DamagedEntry, checksum, read_entry, write_entry
from tests.video.store.stores import clip, equal


@pytest.mark.parametrize("mapped", [True, False])
def test_a_clip_comes_back_in_every_value(tmp_path: Path, mapped: bool):
    kept = clip(n_frames=5, side_px=31)
    n_bytes = write_entry(tmp_path / "ab" / "a.clip", kept, 0.25)
    entry = read_entry(tmp_path / "ab" / "a.clip", mapped)
    assert equal(entry.clip, kept) and entry.decode_s == 0.25
    assert entry.n_bytes == n_bytes == (tmp_path / "ab" / "a.clip").stat().st_size
    assert (not entry.clip.frames.flags.writeable and entry.clip.frames.ctypes.data % 64 == 0) or not mapped
    assert [file.name for file in (tmp_path / "ab").iterdir()] == ["a.clip"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("entry") / "a.clip"
    write_entry(path, clip(side_px=40), 0.1)
    return path.read_bytes()


def damaged(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        read_entry(path, True)
    except DamagedEntry:
        return True
    return False


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_seen(whole: bytes, tmp_path_factory, place: float, bit: int):
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    assert damaged(tmp_path_factory.getbasetemp() / "flipped.clip", bytes(data))


def test_every_bit_of_header_and_description_is_covered(whole: bytes, tmp_path: Path):
    for place in range(320):
        data = bytearray(whole)
        data[place] ^= 1
        assert damaged(tmp_path / "a.clip", bytes(data)), place


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), tail=st.sampled_from([b"", b"\0", bytes(4096)]))
def test_every_cut_is_seen(whole: bytes, tmp_path_factory, share: float, tail: bytes):
    data = whole[: int(share * len(whole))] + tail
    assert data == whole or damaged(tmp_path_factory.getbasetemp() / "cut.clip", data)


def test_lost_pages_are_seen(whole: bytes, tmp_path: Path):
    """What a machine leaves that stopped before its disk was up to date: a right length, pages of zeros."""
    for start in range(0, len(whole), 4096):
        data = bytearray(whole)
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
        assert damaged(tmp_path / "a.clip", bytes(data))


@settings(max_examples=200, deadline=None)
@given(size=st.integers(9000, 40000), seed=st.integers(0, 99), flips=st.integers(1, 20))
def test_the_checksum_sees_several_flips_and_exchanged_pages(size: int, seed: int, flips: int):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, size, dtype=np.uint8)
    other = data.copy()
    places = rng.choice(size, flips, replace=False)
    other[places] ^= np.uint8(1) << rng.integers(0, 8, flips).astype(np.uint8)
    assert checksum(other) != checksum(data)
    swapped = data.copy()
    swapped[:4096], swapped[4096:8192] = data[4096:8192], data[:4096]
    assert checksum(swapped) != checksum(data)


def test_a_checksum_of_row_sums_alone_would_be_caught():
    """Two flips that cancel inside one row: why columns are summed too."""
    data = np.zeros(4096 * 2, dtype=np.uint8)
    data[0], other = 1, data.copy()
    other[0], other[8] = 0, 1
    rows = [int(a.view(np.uint64).reshape(-1, 512).sum(axis=1)[0]) for a in (data, other)]
    assert rows[0] == rows[1] and checksum(data) != checksum(other)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("o3v.video.store.entry.os.fsync", full)
    with pytest.raises(OSError):
        write_entry(tmp_path / "a.clip", clip(), 0.0)
    assert list(tmp_path.iterdir()) == []
