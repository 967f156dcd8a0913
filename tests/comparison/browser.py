"""A headless Chromium, spoken to over a pipe: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHONE, DESK = (390, 844, True), (1280, 900, False)
"""Width, height and whether it is a phone."""


class Page:
    """One tab; everything that it says is kept in `said`, every request in `requests`."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._buffer, self._count = send, receive, b"", 0
        self.said: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, params: dict[str, Any] | None = None, timeout_s: float = 60.0) -> dict[str, Any]:
        """One command and its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params or {}}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        return self._until(lambda found: found.get("id") == self._count, timeout_s).get("result", {})

    def open(self, path: Path, view: tuple[int, int, bool], dark: bool = False, script: bool = True) -> None:
        """Loads a file without a network, and waits until it is loaded."""
        width, height, phone = view
        screen = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", screen)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", {"features": scheme})
        self.call("Emulation.setScriptExecutionDisabled", {"value": not script})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.call("Network.emulateNetworkConditions", offline)
        self.call("Page.navigate", {"url": path.resolve().as_uri()})
        self._until(lambda found: found.get("method") == "Page.loadEventFired", 60.0)

    def ask(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path, height: int | None = None) -> Path:
        """A screenshot from the top of the page, of the whole of it or of so many pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or 1e9), "scale": 1}
        shot = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _until(self, wanted: Any, timeout_s: float) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        while True:
            message = self._next(end)
            method, params = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                self.said.append(str(params["exceptionDetails"].get("exception", {}).get("description", params)))
            elif method == "Log.entryAdded":
                self.said.append(params["entry"]["text"])
            elif method == "Runtime.consoleAPICalled":
                self.said.append(str(params["args"]))
            elif method == "Page.javascriptDialogOpening":
                self.said.append(f"dialog {params['message']}")
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            if wanted(message):
                return message

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._receive, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def browsed(chromium: str | Path, folder: Path) -> Iterator[Page]:
    """A page of a Chromium that ends with the block; its profile lies in the folder."""
    to_read, send = os.pipe()
    receive, to_write = os.pipe()
    arguments = [
        str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
    ]  # fmt: skip

    def wire() -> None:
        a, b = os.dup(to_read), os.dup(to_write)
        os.dup2(a, 3)
        os.dup2(b, 4)

    process = subprocess.Popen(
        arguments, preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Page(send, receive)
    finally:
        process.kill()
        process.wait()
        os.close(send)
        os.close(receive)
