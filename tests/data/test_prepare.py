"""Sample -> Prompt over real files: sizes by family, units by family."""

from pathlib import Path

import pytest

from o3v.data.prepare import Preparer
from o3v.data.shapes_files import ShapesDataset
from o3v.errors import MediaError
from o3v.models.family import FAMILIES
from o3v.types import BoxScale
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from tests.data.worlds import FULL

READER = ClipReader(FrameSampling(8, 2, 1.0, insert_key_frames=False), 3136, 12544, 12544, 512)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("world"))
    counts = {"visual QA": 1, "temporal QA": 1}
    return ShapesDataset(root, FULL, "train", "sft", counts, 0, 0.0).samples()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_frames_are_multiples_of_the_families_factor(samples, family):
    still, film = (Preparer(READER, family)(sample) for sample in samples)
    side = 3 * family.factor  # 84 px stay 84 for Qwen2.5-VL and become 96 for Qwen3-VL
    assert still.clip.frames.shape == (1, side, side, 3) and film.clip.frames.shape == (8, side, side, 3)
    assert film.clip.times_s == tuple(float(k) for k in range(8)) and film.clip.original_size_px == (84, 84)
    assert film.box_scale == (BoxScale(1000, 1000) if family.norm1000 else BoxScale(84, 84))
    assert still.target and film.target


def test_the_box_in_the_target_is_the_rows_box(samples):
    for family in FAMILIES.values():
        prompt = Preparer(READER, family)(samples[0])
        numbers = prompt.box_scale.to_model(samples[0].box)
        assert prompt.target.count(f"<box>[{','.join(map(str, numbers))}]</box>") == 2


def test_a_missing_file_is_a_media_error(samples):
    from dataclasses import replace

    with pytest.raises(MediaError, match="gone"):
        Preparer(READER, FAMILIES["qwen2_5_vl"])(replace(samples[1], video_path=Path("/nowhere/gone.mp4")))
