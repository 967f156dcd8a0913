"""Frame prompts and chat messages of the released code: golden lines, and the corrected order."""

import pytest

from o3v.errors import ConfigError
from o3v.prompts import reference
from o3v.prompts.reference import PROCESSOR_OPTIONS, order_by_time, reference_frame_prompt
from o3v.prompts.reference_chat import rl_media_path, rl_messages, sft_messages
from tests.golden.lines import SMALL, both, read_lines

FOUND_FRAMES = ("nframes", "sample_fps")


def frame_prompt(line):
    expected = line["expected"]
    keys_s = [key["time"] for key in line["key_frames"] or []]
    total_s = int(line["total_frames"] / line["video_fps"])
    return reference_frame_prompt(
        line["stage"], line["task"], expected["nframes"], expected["sample_fps"], total_s, keys_s
    )


def frame_prompt_misses(folder):
    misses = []
    for line in read_lines(folder, "frame_prompts"):
        found, expected = frame_prompt(line), line["expected"]
        same = (
            found.text == expected["frame_prompt"]
            and [list(place) for place in found.order] == expected["frame_order"]
            and list(found.dropped) == expected["key_frames_not_shown"]
            and dict(PROCESSOR_OPTIONS[line["stage"]]) == expected["processor_kwargs"]
        )
        misses += [] if same else [line["id"]]
    return misses


@both
def test_golden_frame_prompts(folder):
    assert frame_prompt_misses(folder) == []


@both
def test_all_frames_in_order_of_their_true_times(folder):
    for line in read_lines(folder, "frame_prompts"):
        corrected = line["expected_corrected"]
        frames_s = [t for (kind, _), t in zip(corrected["order"], corrected["times"], strict=True) if kind == "video"]
        found = order_by_time(frames_s, [key["time"] for key in line["key_frames"] or []])
        assert [list(place) for place, _ in found] == corrected["order"], line["id"]
        assert [time_s for _, time_s in found] == pytest.approx(corrected["times"], abs=1e-9)


def messages(line):
    try:
        if line["stage"] == "sft":
            return sft_messages(line["example"], "/path/to/data_root"), None
        if line["stage"] == "rl":
            return rl_messages(line["example"]), None
        return rl_media_path(line["task"], line["source"], line, line["data_root"]), None
    except ConfigError as error:
        return None, str(error)


@both
def test_golden_chat_messages(folder):
    for line in read_lines(folder, "chat_messages"):
        found, raised = messages(line)
        assert found == line["expected"], line["id"]
        assert raised in (None, line.get("raises"), line.get("raises_when_vision_fails")), line["id"]


def test_wording_that_is_not_at_hand_is_refused():
    with pytest.raises(ConfigError, match="not at hand"):
        rl_messages({"task": "visual QA", "question": "?"})


def test_a_wrong_stage_is_refused():
    with pytest.raises(ConfigError, match="stage='dpo'"):
        reference_frame_prompt("dpo", "temporal QA", 1, 1.0, 1, [])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("keys rounded in SFT too", ("STAGES", ("sft", "rl", "both"))),
        ("keys compared as they are", ("int", float)),
        ("keys never rounded", ("round", lambda *given: round(*given) if len(given) > 1 else given[0])),
    ],
)  # fmt: skip
def test_wrong_versions_are_caught(name, wrong, monkeypatch):
    if name == "keys rounded in SFT too":
        original = reference.reference_frame_prompt
        monkeypatch.setitem(globals(), "reference_frame_prompt", lambda stage, *rest: original("rl", *rest))
    else:
        monkeypatch.setattr(reference, *wrong, raising=False)
    assert frame_prompt_misses(SMALL)
