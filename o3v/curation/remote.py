"""An annotator behind an endpoint that speaks OpenAI's chat protocol, pictures as data URLs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from o3v.curation.annotator import Ask, check_format
from o3v.curation.language import BoxLanguage
from o3v.endpoint.client import ChatClient
from o3v.errors import ConfigError

PICTURES = {"png": "PNG", "jpeg": "JPEG"}
JPEG_QUALITY = 92


@dataclass(frozen=True)
class EndpointAnnotator:
    """Asks a chat client.

    Attributes:
        client: address, model, retries, requests at a time.
        boxes: how the model writes boxes.
        format: `json` or `tags`.
        factor: sides of frames are multiples of this; 28 for a served Qwen2.5-VL, so that it leaves them as they are.
        pictures: `png` (as decoded) or `jpeg` (smaller).
    """

    client: ChatClient
    boxes: BoxLanguage
    format: str
    factor: int
    pictures: str

    def __post_init__(self) -> None:
        """Reject unknown names."""
        check_format(self.format)
        if self.pictures not in PICTURES:
            raise ConfigError(f"annotator.pictures={self.pictures!r} is not allowed; allowed are {sorted(PICTURES)}")
        if self.factor < 1:
            raise ConfigError(f"annotator.factor={self.factor}: must be at least 1")

    @property
    def name(self) -> str:
        """The model, how it is drawn from, how it is shown pictures."""
        return f"{self.client.name} {self.pictures}"

    @property
    def workers(self) -> int:
        """Requests at a time."""
        return self.client.concurrency

    def reply(self, ask: Ask) -> str:
        """The model's reply; raises as `ChatClient.reply`."""
        return self.client.reply(messages_of(ask, self.pictures))


def messages_of(ask: Ask, pictures: str) -> list[dict[str, Any]]:
    """A question as chat messages.

    >>> ask = Ask("Be brief.", ("What is it?",), np.zeros((1, 4, 4, 3), np.uint8), ())
    >>> messages_of(ask, "png")[1]
    {'role': 'user', 'content': [{'type': 'text', 'text': 'What is it?'}]}
    """
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(ask.frames[part], pictures)}}
        for part in ask.parts
    ]
    system = [{"role": "system", "content": ask.system}] if ask.system else []
    return [*system, {"role": "user", "content": content}]


def data_url(frame: np.ndarray, pictures: str) -> str:
    """A frame as a data URL.

    >>> data_url(np.zeros((2, 2, 3), np.uint8), "png")[:22]
    'data:image/png;base64,'
    """
    buffer = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if pictures == "jpeg" else {}
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, PICTURES[pictures], **options)
    return f"data:image/{pictures};base64,{base64.b64encode(buffer.getvalue()).decode()}"
