"""Any engine as an HTTP server: `/health`, `/load`, `/draw`, one question at a time.

It has no dependency besides this package's plain modules and the standard library, so that it runs in the environment
of vLLM, and tests run the same server around an engine of their own.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from o3v.errors import ConfigError, UserError
from o3v.rollout.engine import Engine, EngineFault, StaleWeights
from o3v.rollout.wire import read_draw, reply_message

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 1 << 32
_OK, _BAD, _FORBIDDEN, _UNKNOWN, _STALE, _BROKEN = 200, 400, 401, 404, 409, 500


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens (conf/serve_rollouts.yaml).

    Attributes:
        host: address; another than a loopback one needs a key.
        port: 0 takes a free one.
        weights_root: weights are read from below this folder only.
        key_variable: environment variable with the key that every question must carry; empty: none is asked for.
    """

    host: str
    port: int
    weights_root: str
    key_variable: str

    def key(self) -> str:
        """The key; "" where none is asked for.

        Raises:
            ConfigError: the server would be open to other machines without a key.
        """
        key = os.environ.get(self.key_variable, "")
        if not key and not _is_loopback(self.host):
            raise ConfigError(
                f"host={self.host!r} can be reached from other machines: set {self.key_variable} to a key, here and "
                "where training runs, or listen on 127.0.0.1"
            )
        return key


@contextmanager
def serving(engine: Engine, settings: ServerSettings) -> Iterator[str]:
    """The server for the length of a block; gives its address."""
    server = ThreadingHTTPServer((settings.host, settings.port), _handler(engine, settings))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{settings.host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answer(engine: Engine, root: Path, path: str, message: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body for a question; never raises for what a client can do wrong."""
    try:
        if path == "/health":
            return _OK, {"version": engine.version(), "place": engine.place}
        if path == "/load":
            return _OK, {"version": engine.load(_below(root, message), str(message["version"]))}
        if path == "/draw":
            return _OK, reply_message(engine.draw(*read_draw(message)))
        return _UNKNOWN, {"error": f"{path}: there are /health, /load and /draw"}
    except StaleWeights as error:
        return _STALE, {"error": str(error), "version": engine.version()}
    except (UserError, LookupError) as error:
        return _BAD, {"error": str(error)}
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        log.exception("%s failed", path)
        return _BROKEN, {"error": f"{type(error).__name__}: {error}"}


def _below(root: Path, message: Mapping[str, Any]) -> str:
    folder = Path(str(message["folder"])).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise EngineFault(f"{folder} is not below weights_root={root.resolve()}")
    if not (folder / "config.json").is_file():
        raise EngineFault(f"{folder}: no config.json; does this machine see the folder that training writes?")
    return str(folder)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _handler(engine: Engine, settings: ServerSettings) -> type[BaseHTTPRequestHandler]:
    lock, root, key = threading.Lock(), Path(settings.weights_root), settings.key()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the library calls
            """Answer /health."""
            self._send(*self._answer({}))

        def do_POST(self) -> None:  # the name that the library calls
            """Answer /load and /draw."""
            length = int(self.headers.get("Content-Length", 0))
            message = _object(self.rfile.read(length)) if length <= _MAX_BODY_BYTES else None
            if message is None:
                self._send(_BAD, {"error": f"the body is no JSON object of at most {_MAX_BODY_BYTES} bytes"})
            else:
                self._send(*self._answer(message))

        def _answer(self, message: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if key and not hmac.compare_digest(given.encode(), key.encode()):
                return _FORBIDDEN, {"error": f"the key in {settings.key_variable} is not this server's"}
            if self.path == "/health":
                return answer(engine, root, self.path, message)
            with lock:
                return answer(engine, root, self.path, message)

        def _send(self, status: int, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Into the program's own log."""
            log.debug(format, *args)

    return Handler
