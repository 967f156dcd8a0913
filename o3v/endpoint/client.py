"""Asks a model behind an endpoint that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, a provider)."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from o3v.endpoint.pace import Pace
from o3v.errors import ConfigError, ServiceError

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
"""`{"role": .., "content": ..}`; the content is a text, or a list of text and image_url parts."""

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed."""

_ABOUT_THE_REQUEST = frozenset({400, 413, 415, 422, 451, 500})
"""Status codes that speak of this one request; the server may well answer others."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A longer answer of a server is not read."""


class RequestFailed(ServiceError):
    """The server is there, but gives no answer to this one request."""


class _TryAgain(Exception):
    """A failure that may pass.

    Attributes:
        wait_s: what the server asks to wait; None where it says nothing.
        is_away: the failure says nothing about this request: no connection, or too many requests.
    """

    def __init__(self, reason: str, wait_s: float | None, is_away: bool) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.is_away = is_away


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection would carry the key to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Refuse: the status comes back as an error."""


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True)
class ChatClient:
    """Asks `POST {url}/chat/completions`; one client may be used by many threads.

    Attributes:
        url: base address, for example http://localhost:8000/v1.
        model: name under which the server knows the model.
        key_variable: environment variable with the key; without one in it, none is sent. The key stands in no message,
            file or error.
        temperature: 0 is greedy.
        max_tokens: of a reply.
        timeout_s: of one attempt.
        retries: further attempts after a failure that may pass.
        backoff_s: wait before the first retry, doubled before each further one; a server's Retry-After wins.
        concurrency: requests at a time, held by whoever asks.
        requests_per_s: most requests a second, over all threads; None for no limit.
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
    requests_per_s: float | None
    _pace: Pace = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Reject numbers out of range and addresses that are none."""
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"client.url={self.url!r}: wanted an address that begins with http:// or https://")
        for key, least in (("concurrency", 1), ("max_tokens", 1), ("retries", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"client.{key}={getattr(self, key)}: must be at least {least}")
        for key in ("timeout_s", "requests_per_s"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ConfigError(f"client.{key}={value}: must be above 0")
        object.__setattr__(self, "_pace", Pace(self.requests_per_s))

    @property
    def name(self) -> str:
        """The model and how it is drawn from; not where it runs."""
        return f"{self.model} temperature={self.temperature:g} max_tokens={self.max_tokens}"

    def reply(self, messages: Sequence[Message]) -> str:
        """The text of the first choice; "" where the server gives a message without text.

        Raises:
            RequestFailed: the server answers, but not to this request: it refuses it, or fails at each attempt.
            ServiceError: nobody answers, or the server lets nobody in.
        """
        for attempt in range(self.retries + 1):
            try:
                return self._ask(messages)
            except _TryAgain as failure:
                if attempt == self.retries:
                    kind = ServiceError if failure.is_away else RequestFailed
                    raise kind(f"{self.url}: no answer after {attempt + 1} attempts ({failure})") from None
                wait_s = self.backoff_s * 2**attempt if failure.wait_s is None else failure.wait_s
                log.info("%s: %s; again in %.1f s", self.url, failure, wait_s)
                time.sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask(self, messages: Sequence[Message]) -> str:
        self._pace.wait()
        try:
            with _OPENER.open(self._http(messages), timeout=self.timeout_s) as answer:
                return self._hidden(_content(json.loads(answer.read(MAX_BODY_BYTES))))
        except urllib.error.HTTPError as error:
            raise self._failure(error) from None
        except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
            # no connection, a broken one, or a time-out
            raise _TryAgain(f"{type(error).__name__}: {error}", None, is_away=True) from None
        except (http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
            # a body that is no chat completion
            raise _TryAgain(f"{type(error).__name__}: {error}", None, is_away=False) from None

    def _failure(self, error: urllib.error.HTTPError) -> Exception:
        """What an error status means."""
        said = error.read(500).decode(errors="replace").strip() or str(error.reason)
        detail = f"status {error.code}: {self._hidden(said)}"
        if error.code in _PASSING:
            return _TryAgain(detail, _retry_after(error), is_away=error.code not in _ABOUT_THE_REQUEST)
        kind = RequestFailed if error.code in _ABOUT_THE_REQUEST else ServiceError
        return kind(f"{self.url}: {detail}; model {self.model!r}, key from {self.key_variable}")

    def _hidden(self, text: str) -> str:
        """The text without the key, should a server repeat it."""
        key = os.environ.get(self.key_variable)
        return text.replace(key, "***") if key else text

    def _http(self, messages: Sequence[Message]) -> urllib.request.Request:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
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
