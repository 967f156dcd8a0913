"""A scripted annotator of the generated world: it sees colours and shapes, and errs in known ways.

It stands behind the chat protocol in place of a vision-language model, so that curation can be measured where every
error is known. A proposal's JSON begins with a `note` that names the injected error; readers of proposals ignore it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from o3v.curation.language import BoxLanguage
from o3v.data.shapes import COLOURS
from o3v.errors import ConfigError
from o3v.grounding.render import render_box, render_time
from o3v.types import Box

FAULTS = (
    "wrong_box",
    "wrong_name",
    "whole_frame",
    "loose_box",
    "time_off",
    "box_off",
    "not_annotated",
    "false_sentence",
    "late_key_frame",
    "cut_off",
    "wrong_answer",
)
"""What can be wrong with a proposal. `wrong_*`, `whole_frame` and `loose_box` are the same in annotation and reasoning;
`time_off`, `box_off` and `not_annotated` are in the reasoning alone."""

_COLOUR_DISTANCE = 50
_FILL = ((0.64, "triangle"), (0.89, "circle"), (2.0, "square"))
_CROP = re.compile(r"show an? (.+)\?")
_SENTENCE = re.compile(r'about the (.+) in this picture says: "(.*)"', re.DOTALL)
_TIME = re.compile(r"at ([0-9.]+)s: $")
_ANSWER = re.compile(r"^Answer: (.+)$", re.MULTILINE)
_HAPPENS = re.compile(r"this happens: The (\w+ \w+) ")


@dataclass(frozen=True)
class Claimed:
    """One object at one time, as a proposal has it."""

    name: str
    box: Box
    time_s: float


@dataclass(frozen=True)
class Draft:
    """A proposal before it is written.

    Attributes:
        annotated: entries of the key frames.
        cited: claims of the reasoning.
        answer: of questions that the annotator writes.
        false_colour: what the reasoning says that the first claim looks like; "" for nothing.
    """

    annotated: tuple[Claimed, ...]
    cited: tuple[Claimed, ...]
    answer: str
    false_colour: str


@dataclass(frozen=True)
class Oracle:
    """The annotator.

    Attributes:
        colours: that objects of the world may have.
        language: how it writes boxes, thousandths or shares.
        faults: name of `FAULTS` -> share of the proposals that get it.
        verifier_error: share of yes/no questions that are answered wrongly.
        seed: of both draws, which depend on it and the question alone.
    """

    colours: Sequence[str]
    language: BoxLanguage
    faults: Mapping[str, float]
    verifier_error: float
    seed: int

    def __post_init__(self) -> None:
        """Reject unknown errors and shares above 1."""
        if set(self.faults) - set(FAULTS) or not 0 <= sum(self.faults.values()) <= 1:
            raise ConfigError(f"faults={dict(self.faults)}: wanted shares, in all at most 1, of {list(FAULTS)}")

    def reply(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The reply to a chat of `o3v.curation.remote`."""
        parts = messages[-1]["content"]
        text = parts[-1]["text"]
        frames = [read_picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        lot = self._lot(json.dumps(messages))
        if found := _SENTENCE.search(text):
            return self._said(is_true_sentence(frames[0], found[2], self.colours), lot)
        if found := _CROP.search(text):
            return self._said(found[1] in seen(frames[0], self.colours), lot)
        times_s = [float(found[1]) for part in parts if (found := _TIME.search(part.get("text", "")))]
        return self._proposal(text, frames, times_s, lot)

    def _lot(self, text: str) -> float:
        """A number from 0 to 1 that depends on seed and question alone."""
        digest = hashlib.sha256(f"{self.seed}/{text}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / 256**7

    def _said(self, is_true: bool, lot: float) -> str:
        return "Yes." if is_true != (lot < self.verifier_error) else "No."

    def _proposal(self, text: str, frames: Sequence[np.ndarray], times_s: Sequence[float], lot: float) -> str:
        given, happens = _ANSWER.search(text), _HAPPENS.search(text)
        sights = [seen(frame, self.colours) for frame in frames]
        draft = drafted(sights, times_s, happens[1] if happens else "")
        fault = self._fault(lot) if draft.cited else "none"
        if fault == "wrong_answer" and given:
            fault = "none"  # the answer is not the annotator's
        draft = spoilt(draft, fault, self.colours, times_s[-1])
        question = {} if given else {"question": "What appears and moves?", "answer": draft.answer}
        reply = json.dumps({"note": fault, **question, **self._written(draft)})
        return reply[: len(reply) * 2 // 3] if fault == "cut_off" else f"```json\n{reply}\n```"

    def _fault(self, lot: float) -> str:
        for name, share in self.faults.items():
            if lot < share:
                return name
            lot -= share
        return "none"

    def _written(self, draft: Draft) -> dict[str, Any]:
        frames: dict[float, list[dict[str, Any]]] = {}
        for one in draft.annotated:
            frames.setdefault(one.time_s, []).append({"name": one.name, "boxes": [self._numbers(one.box)]})
        said = [f"It shows a {self._claim(one)}." for one in draft.cited]
        if draft.false_colour:
            said.append(f"The {self._claim(draft.cited[0])} looks {draft.false_colour}.")
        return {
            "key_frames": [{"time": time_s, "objects": objects} for time_s, objects in frames.items()],
            "reasoning": " ".join(said),
        }

    def _claim(self, one: Claimed) -> str:
        return f"<obj>{one.name}</obj>{render_box(self._numbers(one.box))}at<t>{render_time(one.time_s)}</t>s"

    def _numbers(self, box: Box) -> list[float]:
        scale = self.language.scale((1, 1))
        x1, y1, x2, y2 = scale.to_model(box) if self.language.unit == "thousand" else box
        return [y1, x1, y2, x2] if self.language.order == "yxyx" else [x1, y1, x2, y2]


def read_picture(url: str) -> np.ndarray:
    """[H, W, 3] of a data URL."""
    data = base64.b64decode(url.partition("base64,")[2])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def seen(frame: np.ndarray, colours: Sequence[str]) -> dict[str, Box]:
    """Objects of a frame or a crop, by colour and by how much of its box a colour fills: name -> normalised box."""
    height, width = frame.shape[:2]
    found: dict[str, Box] = {}
    for colour in colours:
        distance = np.abs(frame.astype(np.int16) - np.asarray(COLOURS[colour], np.int16)).max(-1)
        rows, columns = np.nonzero(distance < _COLOUR_DISTANCE)
        if len(rows) < 12:
            continue
        y1, y2, x1, x2 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        fill = len(rows) / ((y2 - y1) * (x2 - x1))
        shape = next(name for limit, name in _FILL if fill < limit)
        found[f"{colour} {shape}"] = (float(x1 / width), float(y1 / height), float(x2 / width), float(y2 / height))
    return found


def is_true_sentence(crop: np.ndarray, sentence: str, colours: Sequence[str]) -> bool:
    """Whether the colours that a sentence names can be seen in the crop."""
    named = [colour for colour in colours if re.search(rf"\b{colour}\b", sentence)]
    in_crop = {name.split()[0] for name in seen(crop, colours)}
    return set(named) <= in_crop


def drafted(sights: Sequence[Mapping[str, Box]], times_s: Sequence[float], subject: str) -> Draft:
    """A right proposal: the first sight of each object, or two sights of the subject."""
    claims: list[Claimed] = []
    for sight, time_s in zip(sights, times_s, strict=True):
        for name, box in sight.items():
            known = [claim for claim in claims if claim.name == name]
            if (name == subject and len(known) < 2) or (not subject and not known):
                claims.append(Claimed(name, box, time_s))
    kept = tuple(claims[:3])
    return Draft(kept, kept, f"the {kept[0].name}" if kept else "nothing", "")


def spoilt(draft: Draft, fault: str, colours: Sequence[str], end_s: float) -> Draft:
    """The draft with one of `FAULTS` in its first claim."""
    if fault in ("none", "cut_off"):
        return draft
    first = draft.cited[0]
    colour = first.name.split()[0]
    others = [other for other in colours if not any(other in claim.name for claim in draft.cited)] or ["black"]
    both = {
        "wrong_box": replace(first, box=_moved(first.box)),
        "wrong_name": replace(first, name=first.name.replace(colour, others[0])),
        "whole_frame": replace(first, box=(0.0, 0.0, 1.0, 0.98)),
        "loose_box": replace(first, box=_grown(first.box)),
        "late_key_frame": replace(first, time_s=end_s + 30.0),
    }
    cited_alone = {
        "time_off": replace(first, time_s=first.time_s + 3.0),
        "box_off": replace(first, box=_moved(first.box)),
    }
    if fault in both:
        return replace(draft, annotated=_first(draft.annotated, both[fault]), cited=_first(draft.cited, both[fault]))
    if fault in cited_alone:
        return replace(draft, cited=_first(draft.cited, cited_alone[fault]))
    if fault == "not_annotated":
        return replace(draft, cited=(*draft.cited, replace(first, name=f"{others[0]} square")))
    if fault == "false_sentence":
        return replace(draft, false_colour=others[0])
    return replace(draft, answer=f"the {others[0]} square")


def _first(claims: tuple[Claimed, ...], one: Claimed) -> tuple[Claimed, ...]:
    return (one, *claims[1:])


def _moved(box: Box) -> Box:
    """A box of the same size in the farthest corner."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left = 0.0 if x1 + x2 > 1 else 1 - width
    top = 0.0 if y1 + y2 > 1 else 1 - height
    return left, top, left + width, top + height


def _grown(box: Box) -> Box:
    """A box around another one, twice as wide and high, as far as the frame goes."""
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) / 2, (y2 - y1) / 2
    return max(0.0, x1 - dx), max(0.0, y1 - dy), min(1.0, x2 + dx), min(1.0, y2 + dy)
