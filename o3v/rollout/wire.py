"""Questions and answers of `o3v.rollout.engine` as plain JSON values."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from o3v.rollout.engine import Ask, Drawn, EngineFault, Reply, Rules

PROTOCOL = 1
"""Number of this form of questions and answers; both sides must mean the same."""


def draw_message(asks: Sequence[Ask], rules: Rules, version: str) -> dict[str, Any]:
    """The body of a question for completions."""
    return {
        "protocol": PROTOCOL,
        "version": version,
        "rules": asdict(rules),
        "asks": [
            {"ids": ask.ids, "seeds": ask.seeds, "frames": [_frame(frame) for frame in ask.frames]} for ask in asks
        ],
    }


def read_draw(message: Mapping[str, Any]) -> tuple[list[Ask], Rules, str]:
    """Asks, rules and version of a question.

    Raises:
        EngineFault: it is none, or of another protocol.
    """
    if message.get("protocol") != PROTOCOL:
        raise EngineFault(f"protocol {message.get('protocol')!r} is not known here, expected {PROTOCOL}")
    try:
        rules = dict(message["rules"])
        asks = [
            Ask(tuple(ask["ids"]), tuple(_pixels(frame) for frame in ask["frames"]), tuple(ask["seeds"]))
            for ask in message["asks"]
        ]
        return asks, Rules(**rules | {"banned_ids": tuple(rules["banned_ids"])}), str(message["version"])
    except (LookupError, TypeError, ValueError) as error:
        raise EngineFault(f"the question cannot be read: {type(error).__name__}: {error}") from error


def reply_message(reply: Reply) -> dict[str, Any]:
    """The body of an answer with completions."""
    return asdict(reply)


def read_reply(message: Mapping[str, Any]) -> Reply:
    """The answer.

    Raises:
        EngineFault: it is none.

    Example:
        >>> reply = Reply("run/3", ((1, 2),), ((Drawn((7, 0), (-0.5, -0.25)),),))
        >>> read_reply(reply_message(reply)) == reply
        True
    """
    try:
        groups = tuple(
            tuple(Drawn(tuple(map(int, one["ids"])), tuple(map(float, one["logprobs"]))) for one in group)
            for group in message["completions"]
        )
        prompts = tuple(tuple(map(int, ids)) for ids in message["prompt_ids"])
        return Reply(str(message["version"]), prompts, groups)
    except (LookupError, TypeError, ValueError) as error:
        raise EngineFault(f"the answer cannot be read: {type(error).__name__}: {error}") from error


def _frame(frame: np.ndarray) -> dict[str, Any]:
    return {"shape": list(frame.shape), "rgb": base64.b64encode(np.ascontiguousarray(frame).tobytes()).decode()}


def _pixels(value: Mapping[str, Any]) -> np.ndarray:
    pixels = np.frombuffer(base64.b64decode(value["rgb"], validate=True), dtype=np.uint8)
    return pixels.reshape(value["shape"])
