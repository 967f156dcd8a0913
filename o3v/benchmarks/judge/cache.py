"""Replies kept on disk by content, so that nothing is asked twice: not after a stop, not by another run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from o3v.benchmarks.judge.judging import Judge
from o3v.benchmarks.question import ToJudge
from o3v.endpoint.kept import KeptFiles, request_key


@dataclass(frozen=True)
class KeptReplies:
    """A judge that remembers.

    Attributes:
        judge: asked what is not known yet.
        folder: one file a reply, named by the sha256 of the judge's name and the messages; safe for several processes.
            A file that is deleted or broken is asked again.
    """

    judge: Judge
    folder: str

    @property
    def name(self) -> str:
        """Of the judge itself."""
        return self.judge.name

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """Known replies first, then the others as they come; equal requests are asked once."""
        positions: dict[str, list[int]] = {}
        for position, request in enumerate(asked):
            positions.setdefault(self.key(request), []).append(position)
        known = {key: self._read(key) for key in positions}
        for key, reply in known.items():
            if reply is not None:
                yield from ((position, reply) for position in positions[key])
        unknown = [key for key, reply in known.items() if reply is None]
        if not unknown:
            return
        for k, reply in self.judge.replies([asked[positions[key][0]] for key in unknown]):
            self._write(unknown[k], asked[positions[unknown[k]][0]], reply)
            yield from ((position, reply) for position in positions[unknown[k]])

    def key(self, request: ToJudge) -> str:
        """sha256 over the judge's name and the messages, 64 hex characters."""
        return request_key(self.name, [dict(message) for message in request.messages])

    def _read(self, key: str) -> str | None:
        reply = (KeptFiles(self.folder).read(key) or {}).get("reply")
        return reply if isinstance(reply, str) else None

    def _write(self, key: str, request: ToJudge, reply: str) -> None:
        kept = {"judge": self.name, "messages": [dict(message) for message in request.messages], "reply": reply}
        KeptFiles(self.folder).write(key, kept)
