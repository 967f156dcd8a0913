"""Samples made by hand for the tests of this folder."""

from pathlib import Path

import numpy as np

from o3v.types import BoxScale, Clip, KeyFrame, Prompt, RewardTable, Sample, Task

SCALE = BoxScale(100, 100)


def sample(id, task, **fields):
    media = "image_path" if task is Task.VISUAL_QA else "video_path"
    nothing = {
        "source": "shapes",
        "question": "?",
        "answer": "",
        "reasoning": "",
        "video_path": None,
        "image_path": None,
        "key_frames": (),
        "span_s": None,
        "box": None,
        "letter": None,
        media: Path(f"/{id}.mp4"),
    }
    return Sample(id=id, task=task, **(nothing | fields))


def where(id="where", box=(0.1, 0.1, 0.5, 0.5)):
    return sample(id, Task.VISUAL_QA, box=box, answer="<obj>red</obj><box>[0.1,0.1,0.5,0.5]</box>")


def when(id="when", span_s=(2.0, 6.0)):
    return sample(id, Task.TEMPORAL_QA, span_s=span_s)


def when_letter(id="when_letter"):
    return sample(id, Task.TEMPORAL_MCQ, span_s=(2.0, 6.0), letter="B")


def what(id="what", answer="red circle"):
    frames = (
        KeyFrame(2.0, {"red circle": ((0.0, 0.0, 0.5, 0.5),)}, None),
        KeyFrame(5.0, {"red circle": ((0.5, 0.5, 1.0, 1.0),), "blue square": ((0.0, 0.0, 0.5, 0.5),)}, None),
    )
    return sample(id, Task.TEMPORAL_SPATIAL, answer=answer, key_frames=frames)


def letter(id="letter"):
    return sample(id, Task.GENERAL_MCQ, letter="C", answer="C")


def all_kinds():
    return [where(), when(), when_letter(), what(), letter()]


def prompt_for(s, frames=3):
    clip = Clip(np.zeros((frames, 28, 56, 3), dtype=np.uint8), tuple(float(i) for i in range(frames)), 3.0, (56, 28))
    return Prompt("system", (f"about {s.id}", 0, "now"), clip, SCALE, None)


def right_text(s):
    """An answer that is right in everything."""
    claims = (
        "<obj>red circle</obj><box>[0,0,50,50]</box>at<t>2.0</t>s "
        "<obj>blue square</obj><box>[0,0,50,50]</box>at<t>5.0</t>s"
    )
    answers = {
        Task.VISUAL_QA: "<obj>red</obj><box>[10,10,50,50]</box>",
        Task.TEMPORAL_QA: "From <t>2.0</t>s to <t>6.0</t>s",
        Task.TEMPORAL_MCQ: "From <t>2.0</t>s to <t>6.0</t>s\nCorrect Option: B",
        Task.TEMPORAL_SPATIAL: "The Red circle.",
        Task.GENERAL_MCQ: "C",
    }
    return f"<think>{claims}</think><answer>{answers[s.task]}</answer>"


def length_reward(completions, s, progress):
    """Two terms: one for every task, one for letters only."""
    values = tuple((float(len(c.text) > 0), progress) for c in completions)
    applies = (True, s.letter is not None)
    totals = tuple(a + (b if applies[1] else 0.0) for a, b in values)
    return RewardTable(("there", "late"), values, applies, totals, {})
