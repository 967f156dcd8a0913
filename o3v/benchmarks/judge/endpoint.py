"""A language model behind an endpoint that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, a provider)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from o3v.benchmarks.question import ToJudge
from o3v.endpoint.client import ChatClient


@dataclass(frozen=True)
class EndpointJudge:
    """Asks a chat client, several requests at a time.

    Attributes:
        client: address, model, retries.
    """

    client: ChatClient

    @property
    def name(self) -> str:
        """The model and how it is drawn from; not where it runs."""
        return self.client.name

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """Replies as they come.

        Raises:
            ServiceError: the endpoint refuses or does not answer; what came before is kept by `KeptReplies`.
        """
        with ThreadPoolExecutor(self.client.concurrency, thread_name_prefix="judge") as pool:
            waiting = {pool.submit(self.reply, request): position for position, request in enumerate(asked)}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            finally:
                for future in waiting:
                    future.cancel()

    def reply(self, request: ToJudge) -> str:
        """The reply to one request; "" where the server gives a message without text."""
        return self.client.reply(request.messages)
