"""Reward term of the form: the blocks are there, tags come in pairs, the task's evidence is cited (r_fmt)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from o3v.rewards.answer import TEMPORAL_TASKS
from o3v.types import Completion, Sample, Task

GENERAL_TASKS = frozenset({Task.GENERAL_MCQ, Task.GENERAL_FREE_FORM})
_BLOCKS = ("think", "answer")
_EVIDENCE = ("obj", "t", "box")
_NAMED_BOX = re.compile(r"<obj>[^<>]+</obj><box>\[")


def is_paired(text: str, tag: str) -> bool:
    """As many opening as closing tags.

    >>> is_paired("<t>1</t>", "t"), is_paired("<t>1", "t")
    (True, False)
    """
    return text.count(f"<{tag}>") == text.count(f"</{tag}>")


def has_evidence(text: str, think: str, task: Task) -> bool:
    """Does the text cite what its task asks for.

    Temporal tasks: two times in the think block. Visual QA: a named box anywhere, or all three kinds of tag in the
    think block. Temporal-spatial: all three kinds. General tasks: nothing.

    Differs from the reference: a name may be any text without angle brackets, not one word (reward_func.py:291).

    >>> has_evidence("", "from <t>1</t>s to <t>2</t>s", Task.TEMPORAL_QA), has_evidence("", "", Task.TEMPORAL_SPATIAL)
    (True, False)
    """
    if task in GENERAL_TASKS:
        return True
    if task in TEMPORAL_TASKS:
        return think.count("<t>") >= 2
    return all(f"<{tag}>" in think for tag in _EVIDENCE) or (task == Task.VISUAL_QA and has_named_box(text))


def has_named_box(text: str) -> bool:
    """Is there an obj tag directly followed by a closed box tag, on one line.

    >>> has_named_box("<obj>red car</obj><box>[1,2,3,4]</box>"), has_named_box("<box>[1,2,3,4]</box>")
    (True, False)
    """
    return any("]</box>" in text[found.end() :].partition("\n")[0] for found in _NAMED_BOX.finditer(text))


def defect(completion: Completion) -> str | None:
    """The first thing that is wrong with the blocks and tags of a text; None when nothing is.

    >>> from o3v.grounding.parse import parse_completion
    >>> from o3v.types import BoxScale
    >>> defect(parse_completion("<think><t>3</think><answer>A</answer>", BoxScale(1, 1)))
    'a t tag of the think block has no partner'
    """
    if completion.think is None:
        return "there is no think block"
    if completion.answer is None:
        return "there is no answer block"
    unpaired = next((tag for tag in _BLOCKS if not is_paired(completion.text, tag)), None)
    if unpaired:
        return f"{'an' if unpaired == 'answer' else 'a'} {unpaired} tag has no partner"
    inner = next((tag for tag in _EVIDENCE if not is_paired(completion.think, tag)), None)
    return f"{'an' if inner == 'obj' else 'a'} {inner} tag of the think block has no partner" if inner else None


@dataclass(frozen=True)
class Format:
    """Reward `format`: 1 blocks and evidence, 0.5 blocks only, 0 a block is missing or a tag has no partner.

    Open-o3 Video, arXiv:2510.20579, sec. 3.3, r_fmt. The order of the blocks is not checked.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset(Task)

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0, 0.5 or 1."""
        if defect(completion) is not None:
            return 0.0
        return 1.0 if has_evidence(completion.text, completion.think or "", sample.task) else 0.5
