"""Small clips and answers for the tests of this folder."""

from pathlib import Path

import numpy as np

from o3v.grounding.parse import parse_completion
from o3v.types import BoxScale, Clip, KeyFrame, Sample, Task

SCALE = BoxScale(100, 100)


def clip(n=4, times=True, size=84):
    frames = np.zeros((n, size, size, 3), dtype=np.uint8) + (np.arange(n, dtype=np.uint8) * 30)[:, None, None, None]
    return Clip(frames, tuple(float(k) for k in range(n)) if times else (), float(n) if times else 0.0, (size, size))


def sample(**fields):
    nothing = {
        "source": "s",
        "task": Task.TEMPORAL_SPATIAL,
        "question": "What?",
        "answer": "cat",
        "reasoning": "",
        "video_path": Path("/v.mp4"),
        "image_path": None,
        "key_frames": (KeyFrame(2.2, {"cat": ((0.1, 0.1, 0.5, 0.5),)}, None),),
        "span_s": (1.0, 3.0),
        "box": None,
        "letter": None,
    }
    return Sample(id="a", **(nothing | fields))


def answer(think, text="cat"):
    return parse_completion(f"<think>{think}</think><answer>{text}</answer>", SCALE)


def claim(name="cat", box="10,10,50,50", time="1.0"):
    return f"<obj>{name}</obj><box>[{box}]</box>at<t>{time}</t>s"


NASTY = [
    "",
    "plain",
    "<think><t>5</t></think>",
    f"<think>{claim(box='90,90,10,10', time='900')}</think><answer>From <t>9</t>s to <t>1</t>s</answer>",
    f"<think>{claim(box='-500,-500,-400,9999')}</think><answer></answer>",
    f"<think>{claim(name='x' * 500)}</think><answer>{'y' * 5000}\ud800</answer>",
    "<think>" + " ".join(claim(name=str(k), time=str(k)) for k in range(40)) + "</think><answer>a\n\nb</answer>",
    "<answer><box>[1,2,3,4]</box></answer>",
]
