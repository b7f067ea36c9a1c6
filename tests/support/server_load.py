"""Clients that send requests continuously, and count those that were sent completely and never answered."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_TO_ANSWER = 20.0


class Client(threading.Thread):
    """One of them. It connects for each request, or keeps its connection until the server closes it.

    `answered` and `unanswered` count the requests that were sent completely; a refused connection has sent none.
    """

    def __init__(self, port: int, request: bytes, *, keeps: bool, pieces: int = 1) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._request = request
        self._keeps = keeps
        self._pieces = pieces
        self._stopped = threading.Event()
        self.answered = 0
        self.unanswered: list[str] = []

    def run(self) -> None:
        """Sends requests until it is stopped, or no connection is accepted."""
        while not self._stopped.is_set():
            try:
                line = self.connected()
            except OSError:
                return
            with line:
                while self._ask(line) and self._keeps and not self._stopped.is_set():
                    pass

    def connected(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=SECONDS_TO_ANSWER)

    def stop(self) -> None:
        """Stops after the current request."""
        self._stopped.set()

    def _ask(self, line: socket.socket) -> bool:
        """Whether another request may follow on the same connection."""
        try:
            self._send(line)
            answer = _answer(line)
        except OSError as error:
            self.unanswered.append(repr(error))
            return False
        if answer is None:
            self.unanswered.append("the connection was closed")
            return False
        self.answered += 1
        return b"\r\nconnection: close\r\n" not in answer.lower()

    def _send(self, line: socket.socket) -> None:
        size = -(-len(self._request) // self._pieces)
        for start in range(0, len(self._request), size):
            if start:
                time.sleep(0.005)
            line.sendall(self._request[start : start + size])


def _answer(line: socket.socket) -> bytes | None:
    """The head of a complete response; None if it is incomplete."""
    got = b""
    while b"\r\n\r\n" not in got:
        if not (more := line.recv(65_536)):
            return None
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        int(each.split(b":")[1]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length")
    )
    while len(body) < length:
        if not (more := line.recv(65_536)):
            return None
        body += more
    return head + b"\r\n"


@contextmanager
def load(*clients: Client) -> Iterator[None]:
    """They send requests while the block lasts, and one more."""
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join(SECONDS_TO_ANSWER)
