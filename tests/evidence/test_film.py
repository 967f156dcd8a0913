"""Films: how long each frame stands, and what may be written where."""

import av
import pytest
from PIL import Image

from o3v.errors import ConfigError, StorageError
from o3v.evidence.film import CITED_TICKS, evidence_film
from o3v.grounding.parse import parse_completion
from tests.evidence import clips

ANSWER = clips.answer(f"{clips.claim(time='1.0')} {clips.claim(time='3.0')}")


def test_mp4_stops_at_cited_frames(tmp_path):
    evidence_film(clips.clip(), ANSWER, "What?", tmp_path / "a.mp4", clips.sample())
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 2 + 2 * CITED_TICKS
    assert abs(frames[1].astype(int) - frames[CITED_TICKS].astype(int)).mean() < 1  # it stands still
    assert abs(frames[0].astype(int) - frames[1].astype(int)).mean() > 3


def test_gif_stops_at_cited_frames(tmp_path):
    evidence_film(clips.clip(), ANSWER, "What?", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        durations = []
        for k in range(film.n_frames):
            film.seek(k)
            durations.append(film.info["duration"])
    assert durations == [500, 2000, 500, 2000]


@pytest.mark.parametrize("text", clips.NASTY)
@pytest.mark.parametrize("clip", [clips.clip(2), clips.clip(1, times=False)])
def test_every_text_can_be_filmed(tmp_path, text, clip):
    evidence_film(clip, parse_completion(text, clips.SCALE), "What?", tmp_path / "a.mp4", clips.sample())
    evidence_film(clip, parse_completion(text, clips.SCALE), "What?", tmp_path / "a.gif")


def test_endings_and_places_are_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"\.avi"):
        evidence_film(clips.clip(), ANSWER, "What?", tmp_path / "a.avi")
    (tmp_path / "file").touch()
    for ending in ("mp4", "gif"):
        with pytest.raises(StorageError):
            evidence_film(clips.clip(), ANSWER, "What?", tmp_path / "file" / f"a.{ending}")
