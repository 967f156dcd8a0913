"""Chat messages as the released code writes them in its two stages, and where it looks for media.

Open-o3 Video: sft_multi_task.py prepare_dataset; data_loader.py and grpo_trainer.py for RL. The system texts are the
released ones, letter by letter, since a prompt can only be compared whole; `o3v.prompts.system` has this project's own.
For two RL tasks (visual QA, general multiple choice) the released wording is not at hand: they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from o3v.errors import ConfigError
from o3v.types import Task

_OPENING = "A conversation between user and assistant. The user provides {what}, and the Assistant {does}. "
_BLOCKS = (
    "The assistant MUST first think about the reasoning process in the mind and then provide the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively."
)
_GROUNDED = (
    "All reasoning must be grounded in visual evidence from the video. When you mention any related object, person, "
)
_CLAIM = (
    "you must strictly follow the following format: "
    "`<obj>object_name</obj><box>bounding_box</box>at<t>time_in_seconds</t>s`."
)
_TIMES = (
    "When mentioning time during the reasoning process, the assistant must use the format: `<t>time_in_seconds</t>s'."
)
_SPAN = "The answer must strictly follow the following format: `From <t>start_time</t>s to <t>end_time</t>s"
_PLAIN = "The answer part only requires a text response; tags like <obj>, <box>, <t> are not needed."


def _system(what: str, does: str, rest: str) -> str:
    return _OPENING.format(what=what, does=does) + _BLOCKS + rest


_VIDEO_QUESTION = "a video and asks a question"
_PERIOD = "determines the precise time period that answers the question"
_EVIDENCE_IN_REASONING = f" {_GROUNDED}or specific visual element in the reasoning process, {_CLAIM} {_PLAIN}"

SFT_SYSTEM: Final[Mapping[str, str]] = {
    Task.TEMPORAL_SPATIAL: _system(_VIDEO_QUESTION, "solves it", f" {_GROUNDED}or specific visual element, {_CLAIM}"),
    Task.TEMPORAL_QA: _system(_VIDEO_QUESTION, _PERIOD, f" {_SPAN}'"),
    Task.VISUAL_QA: _system(
        "an image and asks a question",
        "solves it",
        " When referring to particular objects in the reasoning process, the assistant MUST localize the object with "
        "bounding box coordinates between <box> and </box>. You MUST strictly follow the format.",
    ),
    Task.GENERAL_MCQ: _system(
        "a video and asks a multiple-choice question",
        "solves it",
        " Only output the correct option in the <answer> </answer> section.",
    ),
    Task.GENERAL_FREE_FORM: _system(_VIDEO_QUESTION, "solves it", ""),
}
RL_SYSTEM: Final[Mapping[str, str]] = {
    # the same for both free-form tasks, as far as the released prompts are described
    Task.TEMPORAL_SPATIAL: _system(_VIDEO_QUESTION, "solves it", _EVIDENCE_IN_REASONING),
    Task.GENERAL_FREE_FORM: _system(_VIDEO_QUESTION, "solves it", _EVIDENCE_IN_REASONING),
    Task.TEMPORAL_QA: _system(_VIDEO_QUESTION, _PERIOD, f" {_TIMES}{_SPAN}'."),
    Task.TEMPORAL_MCQ: _system(
        "a video and a multiple-choice question",
        f"{_PERIOD} and selects the correct option",
        f" {_TIMES} {_SPAN}.\nCorrect Option: [ONLY THE LETTER]'.",
    ),
}
_SFT_FOLDERS: Final[Mapping[str, str]] = {
    Task.TEMPORAL_QA: "tvg_r1",
    Task.VISUAL_QA: "treevgr",
    Task.GENERAL_MCQ: "videor1",
    Task.GENERAL_FREE_FORM: "videor1",
}
_RL_FOLDERS = (
    # the first name that occurs anywhere in the source decides (defect T17)
    ("STR_plm", "stgr/plm/videos"),
    ("STR", "stgr/temporal_grounding/videos"),
    ("videoespresso", "videoespresso/videos"),
    ("TVG", "tvg_r1"),
    ("timerft", "timerft"),
    ("videor1", "videor1"),
    ("gqa", "gqa"),
    ("TreeVGR", "treevgr"),
)


def sft_messages(example: Mapping[str, Any], data_root: str) -> dict[str, Any]:
    """What the released SFT stage makes of a row: messages, and what it keeps beside them.

    Args:
        example: a row as published.
        data_root: folder that holds `videos`.

    Raises:
        ConfigError: the released code raises for the task ("Unknown task", also for temporal multiple choice).
    """
    task = example["task"]
    if task not in SFT_SYSTEM:
        raise ConfigError(f"ValueError: Unknown task: {task}")
    still, spatial = task == Task.VISUAL_QA, task == Task.TEMPORAL_SPATIAL
    kind = "image" if still else "video"
    path = f"{data_root.rstrip('/')}/videos/{_sft_folder(task, example['source'])}/{example[f'{kind}_path']}"
    question = example["question"] if still or spatial else f"Question: {example['question']}"
    target = f"<think>{example['reasoning_process']}</think>\n<answer>{example['answer']}</answer>"
    return {
        "messages": [
            _message("system", {"type": "text", "text": SFT_SYSTEM[task]}),
            _message("user", {"type": kind, kind: path}, {"type": "text", "text": question}),
            _message("assistant", {"type": "text", "text": target}),
        ],
        "task": task,
        "source": example["source"],
        "key_frames": example["key_frames"] if spatial else [],
        "image_size": example["image_size"] if still else [],
    }


def rl_messages(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The prompt of the released RL stage; the media's path is added later, see `rl_media_path`.

    Raises:
        ConfigError: an unknown task, or one whose released wording is not at hand.
    """
    task = example["task"]
    if task not in list(Task):
        raise ConfigError(f"ValueError: Unknown task: {task}")
    if task not in RL_SYSTEM:
        raise ConfigError(f"task={task!r}: the released RL wording is not at hand; known are {[*RL_SYSTEM]}")
    return [
        _message("system", {"type": "text", "text": RL_SYSTEM[task]}),
        _message("user", {"type": "video"}, {"type": "text", "text": example["question"]}),
    ]


def rl_media_path(task: str, source: str, paths: Mapping[str, str], data_root: str) -> dict[str, str]:
    """The content element with which the released RL stage loads a sample's media.

    Args:
        task: of the sample.
        source: of the sample; looked for by substring.
        paths: `image_path` and `video_path` of the row.
        data_root: folder that holds `videos`.

    Raises:
        ConfigError: the released code raises "Invalid source".

    >>> rl_media_path("visual QA", "gqa", {"image_path": "a.jpg"}, "/data/")
    {'type': 'image', 'image': '/data/videos/gqa/a.jpg'}
    """
    kind = "image" if task == Task.VISUAL_QA else "video"
    folder = next((folder for name, folder in _RL_FOLDERS if name in source), None)
    if folder is None:
        raise ConfigError(f"ValueError: Invalid source: {source}")
    return {"type": kind, kind: f"{data_root.rstrip('/')}/videos/{folder}/{paths[f'{kind}_path']}"}


def _sft_folder(task: str, source: str) -> str:
    if task != Task.TEMPORAL_SPATIAL:
        return _SFT_FOLDERS[task]
    return "stgr/plm/videos" if source == "STR_plm_rdcap" else "stgr/temporal_grounding/videos"


def _message(role: str, *content: dict[str, str]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}
