"""Headless Chromium, driven over a pair of pipes: its own protocol, one JSON object at a time."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60  # seconds for one answer, on a machine that computes beside us
# Chromium reads commands at 3 and writes answers at 4.
LAUNCH = "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.execv(sys.argv[1], sys.argv[1:])"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip


def binary() -> str | None:
    """Where Chromium is on this machine; None where it is not."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A browser; `open` gives its pages."""

    def __init__(self, path: str, profile: Path) -> None:
        theirs_in, ours_out = _pipe()
        ours_in, theirs_out = _pipe()
        command = [sys.executable, "-c", LAUNCH.format(theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            [*command, path, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._read = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command, return its result; what happens meanwhile goes to `events`."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            got = self._next(deadline, method)
            if got.get("id") == self._last:
                assert "error" not in got, f"{method}: {got['error']}"
                return got["result"]
            self.events.append(got)

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._in], [], [], left)
            assert ready, f"{method}: no answer from Chromium within {PATIENCE} s"
            piece = os.read(self._in, 1 << 20)
            assert piece, f"{method}: Chromium ended"
            self._read += piece
        line, _, self._read = self._read.partition(b"\0")
        return json.loads(line)

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Tab":
        """Open a page and wait until it says that it is ready."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.ask(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.ask("Emulation.setEmulatedMedia", features=[scheme])
        tab.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        tab.go(url)
        return tab

    def close(self) -> None:
        try:
            self.ask("Browser.close")
        finally:
            os.close(self._out)
            os.close(self._in)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@dataclass
class Tab:
    """One page."""

    browser: Chromium
    target: str
    session: str
    errors: list[str] = field(default_factory=list)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.ask(method, self.session, **params)

    def go(self, url: str) -> None:
        """Load a page anew, and wait until its script has run or failed."""
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)
        self.until("document.documentElement?.dataset.ready === 'true'")

    def until(self, condition: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert not self.complaints(), self.complaints()
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON can carry it."""
        got = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key, as a person does."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = {**named, "text": text} if text else named
        self.ask("Input.dispatchKeyEvent", type="keyDown", **down)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def _own(self) -> list[dict[str, Any]]:
        return [e for e in self.browser.events if e.get("sessionId") == self.session]

    def complaints(self) -> list[str]:
        """Errors and warnings that the page has put on the console, or that nobody caught."""
        found = []
        for event in self._own():
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(json.dumps(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Every address that the page has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._own()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self) -> str:
        """The whole page as a PNG, in base 64."""
        return self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]

    def close(self) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends have numbers above those that Chromium wants."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
