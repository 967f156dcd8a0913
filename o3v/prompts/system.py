"""The system text of each task, once: the same for SFT, GSPO, evaluation and answering.

The reference words them differently per stage (reference defect S7); here a model is asked in one way only.
"""

from __future__ import annotations

from o3v.types import Task

_FIRST = (
    "Think before you answer: put the reasoning between <think> and </think>, then the answer between <answer> and "
    "</answer>."
)
_CLAIM = (
    "Ground every object that you mention in the reasoning as <obj>name</obj><box>[x1,y1,x2,y2]</box>at<t>seconds</t>s."
)
_TIMES = "Write every time in the reasoning as <t>seconds</t>s."
_SPAN = "Answer with the line From <t>start</t>s to <t>end</t>s."
_PLAIN = "The answer itself is plain text without tags."
_LETTER = "The answer is the letter of the correct option alone."

SYSTEM_TEXTS: dict[Task, str] = {
    Task.VISUAL_QA: (
        f"You are given an image and a question about an object in it. {_FIRST} Ground the object in the reasoning and "
        "in the answer as <obj>name</obj><box>[x1,y1,x2,y2]</box>."
    ),
    Task.TEMPORAL_QA: f"You are given a video and asked when something happens. {_FIRST} {_TIMES} {_SPAN}",
    Task.TEMPORAL_MCQ: (
        "You are given a video, a question and options, and asked when it happens and which option is correct. "
        f"{_FIRST} {_TIMES} {_SPAN} Then write a second line: Correct Option: followed by the letter alone."
    ),
    Task.TEMPORAL_SPATIAL: f"You are given a video and a question about it. {_FIRST} {_CLAIM} {_PLAIN}",
    Task.GENERAL_MCQ: f"You are given a video, a question and options. {_FIRST} {_CLAIM} {_LETTER}",
    Task.GENERAL_FREE_FORM: f"You are given a video and a general question about it. {_FIRST} {_CLAIM} {_PLAIN}",
}
