"""A language model behind an endpoint that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, a provider)."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from o3v.benchmarks.question import ToJudge
from o3v.errors import ConfigError, ServiceError

log = logging.getLogger(__name__)

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed."""


class _TryAgain(Exception):
    """A failure that may pass.

    Attributes:
        wait_s: what the server asks to wait; None where it says nothing.
    """

    def __init__(self, reason: str, wait_s: float | None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True)
class EndpointJudge:
    """Asks `POST {url}/chat/completions`, several requests at a time.

    Attributes:
        url: base address, for example http://localhost:8000/v1.
        model: name under which the server knows the model.
        key_variable: environment variable with the key; without one in it, none is sent.
        temperature: 0 is greedy, as V-STaR's judge in the released code.
        max_tokens: of a reply.
        timeout_s: of one attempt.
        retries: further attempts after a failure that may pass.
        backoff_s: wait before the first retry, doubled before each further one; a server's Retry-After wins.
        concurrency: requests at a time.
    """

    url: str
    model: str
    key_variable: str
    temperature: float
    max_tokens: int
    timeout_s: float
    retries: int
    backoff_s: float
    concurrency: int

    def __post_init__(self) -> None:
        """Reject numbers out of range and addresses that are none."""
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"judge.url={self.url!r}: wanted an address that begins with http:// or https://")
        for key, least in (("concurrency", 1), ("max_tokens", 1), ("retries", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"judge.{key}={getattr(self, key)}: must be at least {least}")
        if self.timeout_s <= 0:
            raise ConfigError(f"judge.timeout_s={self.timeout_s}: must be above 0")

    @property
    def name(self) -> str:
        """The model and how it is drawn from; not where it runs."""
        return f"{self.model} temperature={self.temperature:g} max_tokens={self.max_tokens}"

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """Replies as they come.

        Raises:
            ServiceError: the endpoint refuses or does not answer; what came before is kept by `KeptReplies`.
        """
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="judge") as pool:
            waiting = {pool.submit(self.reply, request): position for position, request in enumerate(asked)}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            finally:
                for future in waiting:
                    future.cancel()

    def reply(self, request: ToJudge) -> str:
        """The reply to one request; "" where the server gives a message without text."""
        for attempt in range(self.retries + 1):
            try:
                return self._ask(request)
            except _TryAgain as failure:
                if attempt == self.retries:
                    raise ServiceError(f"{self.url}: no answer after {attempt + 1} attempts ({failure})") from None
                wait_s = self.backoff_s * 2**attempt if failure.wait_s is None else failure.wait_s
                log.info("%s: %s; again in %.1f s", self.url, failure, wait_s)
                time.sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask(self, request: ToJudge) -> str:
        try:
            with urllib.request.urlopen(self._http(request), timeout=self.timeout_s) as answer:
                return _content(json.load(answer))
        except urllib.error.HTTPError as error:
            detail = f"status {error.code}: {error.read(500).decode(errors='replace').strip() or error.reason}"
            if error.code in _PASSING:
                raise _TryAgain(detail, _retry_after(error)) from None
            raise ServiceError(f"{self.url}: {detail}; model {self.model!r}, key from {self.key_variable}") from None
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            # no connection, a broken one, a time-out, or a body that is no chat completion
            raise _TryAgain(f"{type(error).__name__}: {error}", None) from None

    def _http(self, request: ToJudge) -> urllib.request.Request:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in request.messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        address = self.url.rstrip("/") + "/chat/completions"
        return urllib.request.Request(address, json.dumps(body).encode(), headers)


def _content(answer: Any) -> str:
    """Text of the first choice of a chat completion."""
    content = answer["choices"][0]["message"].get("content")
    return content if isinstance(content, str) else ""


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """Seconds in the header Retry-After, at most a minute; None without a number."""
    try:
        return min(max(float(error.headers.get("Retry-After", "")), 0.0), 60.0)
    except ValueError:
        return None
