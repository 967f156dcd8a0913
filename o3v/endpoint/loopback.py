"""A small server on this machine that speaks OpenAI's chat protocol, for measurements and tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any], int], tuple[int, Any, dict[str, str]]]
"""Request and how often it came before -> status, body (a str is sent as it is), headers."""


def said(text: str | None) -> dict[str, Any]:
    """A chat completion.

    >>> said("yes")["choices"][0]["message"]
    {'content': 'yes'}
    """
    return {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": text}}]}


@dataclass
class Served:
    """What the server saw.

    Attributes:
        url: its address.
        requests, headers, paths: of each request, in the order of arrival.
        most_at_once: requests under way at a time.
    """

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def serving(script: Script) -> Iterator[Served]:
    """A server on a free port of the loopback address for the length of a block."""
    lock, now = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that the library calls
            """Answer as the script says."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                before = sum(body == other for other in served.requests)
                served.requests.append(body)
                served.headers.append(dict(self.headers))
                served.paths.append(self.path)
                now[0] += 1
                served.most_at_once = max(served.most_at_once, now[0])
            status, answer, headers = script(body, before)
            with lock:
                now[0] -= 1
            self._send(status, answer if isinstance(answer, str) else json.dumps(answer), headers)

        def _send(self, status: int, text: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
