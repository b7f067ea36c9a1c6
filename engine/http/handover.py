"""Each connection is passed to the process that serves its kind of request, so that page reads do not wait for ingest.

Python runs one thread at a time per process. When several processes share a port, the first takes changes, folds, and
serves operators; the others read pages. Each process parses the head of a request, and passes the connection on, with
the data received, if the other kind should answer it.

Every process can answer everything. A connection stays where it is if it cannot be passed on: when no process of the
other kind answers, or the server is ending.
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import anyio
from anyio.abc import TaskGroup
from uvicorn.config import Config as ServerConfig
from uvicorn.server import ServerState

from pagefold.engine.http.connection_limits import ConnectionLimits, LimitedProtocol
from pagefold.engine.http.listening_socket import attach_protocol
from pagefold.engine.http.page_reads import PREFIX
from pagefold.engine.http.routing import Route
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.memory_file import file_in_memory

MARK = b"+"
"""Sent with descriptors, which cannot be sent alone."""

OF_A_CONNECTION = 2
"""Descriptors: the connection, and a file with the data received from it."""

CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Closes the descriptors in child processes, where the system supports it."""

DASHBOARD = b"/ui"
"""Where the dashboard is: it reads and writes as operators do, so it is for the worker."""

IsForOthers: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether the other kind of process should answer a method and URL."""

Make: TypeAlias = "Callable[[], HandoverProtocol]"

log = Logger(__name__)


# --- who answers ----------------------------------------------------------------------------------


def is_for_worker(routes: Iterable[Route]) -> IsForOthers:
    """Matches requests that are for the worker: they change something or are for operators."""
    is_one = _one_of(each for each in routes if not _is_for_readers(each) and not _is_for_anyone(each))
    return lambda method, url: not url.startswith(PREFIX) and (is_of_dashboard(url) or is_one(method, url))


def is_of_dashboard(url: bytes) -> bool:
    """Whether a URL is one of the dashboard's."""
    return url.startswith(DASHBOARD) and url[len(DASHBOARD) :][:1] in {b"", b"/", b"?"}


def is_for_readers(routes: Iterable[Route]) -> IsForOthers:
    """Matches requests that are for readers."""
    return _one_of(filter(_is_for_readers, routes))


def _is_for_readers(route: Route) -> bool:
    return route.scope == "read"


def _is_for_anyone(route: Route) -> bool:
    return route.scope is None and route.method == "GET"


def _one_of(routes: Iterable[Route]) -> IsForOthers:
    patterns: dict[bytes, list[str]] = {}
    for route in routes:
        for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
            patterns.setdefault(method.encode(), []).append(_pattern(route.path))
    known = {method: re.compile("|".join(paths).encode()) for method, paths in patterns.items()}

    def is_one(method: bytes, url: bytes) -> bool:
        return method in known and known[method].fullmatch(url.partition(b"?")[0]) is not None

    return is_one


def _pattern(path: str) -> str:
    """The regular expression of a path with parameters in braces."""
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path))


# --- passing on -----------------------------------------------------------------------------------


class OtherProcesses(NamedTuple):
    """The other kind of process: the `way` to it, the requests it should answer, and whether it does."""

    link: socket.socket
    should_answer: IsForOthers
    answer: Callable[[], bool]


class _PassedOn(Exception):  # it only ends the parser's work
    """The connection was passed on. Raised inside the parser to stop it."""


class HandoverProtocol(LimitedProtocol):
    """A connection that is passed on if its request is for the other kind of process, and that one answers.

    `_arrived` is the data of a request whose head is not complete. It is empty if the request's first byte is unknown,
    because it came in one chunk with the end of another. `before` is the data that another process has read.
    """

    def __init__(
        self,
        gate: ConnectionLimits,
        others: "OtherProcesses",
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(gate, config, server_state, app_state, _loop)
        self._others = others
        self._arrived: list[bytes] = []
        self._is_passed_on = False
        self.before = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Continues with the data that another process has read, before reading more."""
        super().connection_made(transport)
        if self.before:
            before, self.before = self.before, b""
            self.data_received(before)

    def data_received(self, data: bytes) -> None:
        """Keeps the data of the head."""
        if not self._is_begun:
            self._arrived = [data]
        elif self._arrived:
            self._arrived.append(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is complete: decides who answers."""
        arrived, self._arrived = self._arrived, []
        others = self._others
        if arrived and others.should_answer(self.parser.get_method(), self.url) and self._pass_on(b"".join(arrived)):
            raise _PassedOn
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next data is another request. If it came in one chunk with this one, it stays here."""
        self._arrived = []
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has stopped: on purpose, or because of an error."""
        if not self._is_passed_on:
            super().send_400_response(msg)

    def _pass_on(self, arrived: bytes) -> bool:
        """Passes the connection on, and returns whether it did. It does not while a response is being sent."""
        transport = self.transport
        if not self.has_no_pending_response() or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not self._others.answer():
            return False
        try:
            _send(self._others.link, transport.get_extra_info("socket").fileno(), arrived)
        except OSError:  # too many are in transit, or too many files are open
            return False
        self._is_passed_on = True
        transport.abort()  # this process's descriptor is closed, and the connection is not
        return True


def _send(link: socket.socket, connection: int, arrived: bytes) -> None:
    """Sends a connection in one message. The data goes as a file, because a message could be sent in part."""
    with file_in_memory() as file:
        file.write(arrived)
        file.flush()
        socket.send_fds(link, [MARK], [connection, file.fileno()])


# --- taking over ----------------------------------------------------------------------------------


@asynccontextmanager
async def taking_over(link: socket.socket, make: Make) -> AsyncIterator[None]:
    """Takes over the connections that are passed on during the block, and at its end those still in transit."""
    async with anyio.create_task_group() as group:
        taking = anyio.CancelScope()
        group.start_soon(_take_on, link, make, group, taking)
        try:
            yield
        finally:
            taking.cancel()
            _take_all(link, make, group)


async def _take_on(link: socket.socket, make: Make, group: TaskGroup, scope: anyio.CancelScope) -> None:
    with scope:
        while True:
            await anyio.wait_readable(link)
            _take_all(link, make, group)


def _take_all(link: socket.socket, make: Make, group: TaskGroup) -> None:
    while (found := _received(link)) is not None:
        group.start_soon(_take, *found, make)


def _received(link: socket.socket) -> tuple[socket.socket, bytes] | None:
    """A connection and the data received from it; None if there is none."""
    try:
        _, descriptors, _, _ = socket.recv_fds(link, len(MARK), OF_A_CONNECTION, CLOSED_ON_EXEC)
    except BlockingIOError:  # another reader has it
        return None
    if len(descriptors) < OF_A_CONNECTION:
        log.warning("a connection was lost: too many open files")
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    connection, file = descriptors
    with os.fdopen(file, "rb") as found:
        return socket.socket(fileno=connection), os.pread(found.fileno(), os.fstat(file).st_size, 0)


async def _take(connection: socket.socket, before: bytes, make: Make) -> None:
    protocol = make()
    protocol.before = before
    connection.setblocking(False)  # noqa: FBT003  # it has no name there
    await attach_protocol(connection, protocol)
