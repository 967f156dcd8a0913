"""A language model on this machine; its weights are loaded when there is something to judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from o3v.benchmarks.question import ToJudge


@dataclass(frozen=True)
class LocalJudge:
    """A text model in the layout of Hugging Face, asked greedily.

    Attributes:
        path: folder of the model; a relative name is looked up below `root`.
        root: folder of downloaded models.
        dtype: float32, bfloat16 or float16.
        device: `cpu`, `cuda`, or `auto`, which spreads the model over the machine's GPUs.
        max_new_tokens: of a reply.
        batch_size: requests answered together.
    """

    path: str
    root: str
    dtype: str
    device: str
    max_new_tokens: int
    batch_size: int

    @property
    def name(self) -> str:
        """The model and the length of its replies."""
        return f"{self.path} {self.dtype} greedy max_tokens={self.max_new_tokens}"

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """Replies batch by batch. Raises ConfigError where the model is not there."""
        if not asked:
            return
        from o3v.models.chat import load_chat

        chat = load_chat(self.path, self.root, self.dtype, self.device)
        for start in range(0, len(asked), self.batch_size):
            part = [request.messages for request in asked[start : start + self.batch_size]]
            for offset, reply in enumerate(chat.reply(part, self.max_new_tokens)):
                yield start + offset, reply
