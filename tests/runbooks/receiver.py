"""A system that pages are delivered to, each at an address of its own, and that can be read."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Refusal = tuple[int, Mapping[str, str]]
"""A status, and headers."""


class Receiver:
    """What it holds, by path; and what it answers instead of taking a page, if anything."""

    def __init__(self) -> None:
        self.url = ""
        self.held: dict[str, tuple[str, bytes]] = {}
        self.refuse: Callable[[str, bytes], Refusal | None] = lambda _path, _page: None
        self.refused = 0
        self.moments: list[float] = []

    def take(self, path: str, tag: str, page: bytes | None) -> Refusal:
        """Takes a page, or its withdrawal."""
        self.moments.append(time.monotonic())
        if (refusal := self.refuse(path, page or b"")) is not None:
            self.refused += 1
            return refusal
        if page is None:
            self.held.pop(path, None)
        else:
            self.held[path] = tag, page
        return 200, {}

    def is_asked_too_often(self, number: int) -> bool:
        """Whether more requests than a number came in the last second, this one among them."""
        return len([each for each in self.moments if time.monotonic() - each < 1]) > number


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is up."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            page = self.rfile.read(int(self.headers["content-length"]))
            self._answer(*receiver.take(self.path, self.headers["pagefold-tag"], page))

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self._answer(*receiver.take(self.path, "", None))

        def do_GET(self) -> None:
            if self.path not in receiver.held:
                return self._answer(404, {})
            tag, page = receiver.held[self.path]
            return self._answer(200, {"pagefold-tag": tag}, page)

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # noqa: ANN401  # as in its base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
