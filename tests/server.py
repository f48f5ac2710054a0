"""A local web server that answers range requests and fails in configurable ways."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Moods:
    """Settings and records of a server."""

    delay: float = 0.0
    """Seconds before each answer."""
    unavailable: int = 0
    """Number of coming answers with status 503."""
    dropped: int = 0
    """Number of coming answers with content that end halfway."""
    stall: str = ""
    """How coming answers stall: 'silent' (no bytes), 'drip' (a byte per second), 'hang' (half of the content, then
    nothing), 'redirect' (to the same address)."""
    stalls: str = ""
    """Part of the names whose answers stall; all names by default."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once an answer has stalled."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends, so that stalled answers stop waiting."""
    skip: int = 0
    """Number of good answers with content before the first failure."""
    missing: tuple[str, ...] = ()
    """Endings of names that are answered with status 404."""
    asked: Counter[str] = field(default_factory=Counter)
    """Number of requests per path."""
    agents: set[str] = field(default_factory=set)
    """User-Agent headers of the requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        """Take one of the remaining failures of a kind; False if none is left or good answers come first."""
        with self.lock:
            if self.skip:
                return False
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left)


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, Moods]]:  # noqa: C901 (a class within)
    """Serve a folder; yield its address and the server's settings."""
    moods = Moods()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            name = self.path.split("?")[0].lstrip("/")
            moods.asked[name] += 1
            moods.agents.add(self.headers.get("User-Agent", ""))
            time.sleep(moods.delay)
            path = root / name
            if name.endswith(moods.missing or ("\0",)) or not path.is_file():
                self._say(404)
                return
            stalls = moods.stall if not moods.skip and moods.stalls in name else ""
            if stalls and stalls != "hang":
                self._stall(path.read_bytes())
                return
            if moods.take("unavailable"):
                self._say(503)
                return
            content = path.read_bytes()
            first, last = 0, len(content) - 1
            asked = self.headers.get("Range")
            if asked:
                start, _, stop = asked.removeprefix("bytes=").partition("-")
                first, last = int(start), min(int(stop or last), last)
                if first > last:
                    self._say(416)
                    return
            part = content[first : last + 1]
            self.send_response(206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.end_headers()
            if with_content:
                drop = moods.take("dropped")
                with moods.lock:
                    moods.skip = max(0, moods.skip - 1)
                self.wfile.write(part[: len(part) // 2] if drop or stalls else part)
                if stalls:
                    moods.stalled.set()
                    moods.over.wait()
                if drop or stalls:
                    self.close_connection = True

        def _stall(self, content: bytes) -> None:
            """Stall an answer until the server ends."""
            moods.stalled.set()
            self.close_connection = True
            if moods.stall == "silent":
                moods.over.wait()
                return
            if moods.stall == "redirect":
                self.send_response(302)
                self.send_header("Location", self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
            with suppress(OSError):  # the client has closed the connection
                for i in range(len(answer)):
                    if moods.over.wait(1):
                        break
                    self.wfile.write(answer[i : i + 1])

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # by default, the server looks twice a second only whether it shall end
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", moods
    finally:
        moods.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
