"""A headless browser that tests drive: Chromium over a pair of pipes, by its DevTools protocol."""

import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

COMMAND = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

_SECONDS = 60
_HIGH = 20
"""File descriptors from which on copies of pipes are made, as the browser wants 3 and 4."""

_ERRORS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.requestWillBeSent", "Runtime.consoleAPICalled")


class Page:
    """A page in a browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._rest, self._number = reading, writing, b"", 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        """What the browser has told without being asked."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Open a file in a window of some width, and wait until it is shown."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, code: str) -> Any:
        """Return the value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, as a user would."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors and messages of the page so far, and requests for anything but the page itself."""
        found = [event for event in self.events if event.get("method") in _ERRORS]
        return [event for event in found if not _is_harmless(event)]

    def _next(self) -> dict[str, Any]:
        end = monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0, end - monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._reading, 2**16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def _is_harmless(event: dict[str, Any]) -> bool:
    address = event["params"].get("request", {}).get("url", "")
    return address.startswith(("data:", "file:"))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start a browser with its profile in a folder."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, _HIGH) for each in (their_in, their_out)]
    os.close(their_in)
    os.close(their_out)

    def give_pipes() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    flags = ["--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", "--disable-dev-shm-usage"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [COMMAND, *flags, f"--user-data-dir={folder}"],
        preexec_fn=give_pipes,  # noqa: PLW1509 (this process has no other threads here)
        pass_fds=(3, 4),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for each in theirs:
        os.close(each)
    try:
        yield Page(our_in, our_out)
    finally:
        process.kill()
        process.wait()
        os.close(our_in)
        os.close(our_out)
