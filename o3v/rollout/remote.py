"""An engine behind HTTP, as `python -m o3v.serve_rollouts` starts one."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from o3v.errors import ConfigError
from o3v.rollout.engine import Ask, EngineAway, EngineFault, Reply, Rules, StaleWeights
from o3v.rollout.wire import draw_message, read_reply

_MAX_BODY_BYTES = 1 << 30
_STALE = 409
_PASSING = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True)
class RemoteEngine:
    """Asks a server; keeps no connection between questions, so that one that was started again is met as it is.

    Attributes:
        url: base address, for example http://127.0.0.1:8077.
        timeout_s: of one question, the drawing included.
        key_variable: environment variable with the server's key; nothing is sent where it is empty.
    """

    url: str
    timeout_s: float
    key_variable: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"engine.url={self.url!r}: wanted an address such as http://127.0.0.1:8077")
        if self.timeout_s <= 0:
            raise ConfigError(f"engine.timeout_s={self.timeout_s} must be above 0")

    @property
    def place(self) -> str:
        """The address."""
        return self.url

    def version(self) -> str | None:
        """Of the server's weights; None before the first. Raises EngineAway."""
        found = self._ask("GET", "/health", None).get("version")
        return None if found is None else str(found)

    def load(self, folder: str, version: str) -> str:
        """Have the server read a folder that it sees under the same path; the version it says it has then."""
        return str(self._ask("POST", "/load", {"folder": folder, "version": version}).get("version"))

    def draw(self, asks: Sequence[Ask], rules: Rules, version: str) -> Reply:
        """Completions of each ask, in one request."""
        return read_reply(self._ask("POST", "/draw", draw_message(asks, rules, version)))

    def _ask(self, method: str, path: str, message: dict[str, Any] | None) -> dict[str, Any]:
        try:
            status, body = self._exchange(method, path, message)
        except (OSError, http.client.HTTPException) as error:
            raise EngineAway(
                f"{self.url}: the rollout engine does not answer ({type(error).__name__}: {error})"
            ) from None
        if status in _PASSING:
            raise EngineAway(f"{self.url}: status {status}: {body[:500].decode(errors='replace')}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise EngineFault(f"{self.url}{path}: status {status}, and no JSON object: {body[:200]!r}")
        if status == _STALE:
            raise StaleWeights(f"{self.url}: {answer.get('error')}")
        if status != http.HTTPStatus.OK:
            raise EngineFault(f"{self.url}{path}: status {status}: {answer.get('error')}")
        return answer

    def _exchange(self, method: str, path: str, message: dict[str, Any] | None) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=self.timeout_s)
        key = os.environ.get(self.key_variable, "")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            body = None if message is None else json.dumps(message)
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_BODY_BYTES)
        finally:
            connection.close()
