"""Connections go to the process that is for what they ask: who reads a page does not wait behind those who post.

Python does one thing at a time in a process. Where several share a port, the first of them takes changes, folds, and is
asked by operators, and the others read pages. Each looks at the head of a request, and where it is for the other kind
it passes the connection on, with what has arrived of it.

Every process can answer everything. Where a connection cannot be passed on it stays where it is: when none of those who
should take it answers, and when the server ends.
"""

import asyncio
import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import IO, Any, NamedTuple, TypeAlias

import anyio
from anyio.abc import TaskGroup
from uvicorn.config import Config as ServerConfig
from uvicorn.server import ServerState

from pagefold.engine.http.connection_limits import ConnectionLimits, LimitedProtocol
from pagefold.engine.http.listening_socket import attend
from pagefold.engine.http.page_reads import PREFIX
from pagefold.engine.http.routing import Route
from pagefold.engine.runtime.logs import Logger

MARK = b"+"
"""What goes with descriptors, which cannot go alone."""

OF_A_CONNECTION = 2
"""Descriptors: the connection, and a file with what has arrived of it."""

CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Programs that this one starts have none of them, where the system can say so."""

IsForOthers: TypeAlias = Callable[[bytes, bytes], bool]
"""Tells of a method and an address whether the other kind of process should answer it."""

Make: TypeAlias = "Callable[[], HandoverProtocol]"

log = Logger(__name__)


# --- who answers ----------------------------------------------------------------------------------


def is_for_worker(routes: Iterable[Route]) -> IsForOthers:
    """Whether a request is not for a reader: it changes something, or is what operators ask."""
    is_one = _one_of(each for each in routes if not _is_for_readers(each) and not _is_for_anyone(each))
    return lambda method, url: not url.startswith(PREFIX) and is_one(method, url)


def is_for_readers(routes: Iterable[Route]) -> IsForOthers:
    """Whether a request is for a reader."""
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
    """Of the addresses of a path that has its parameters in braces."""
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path))


# --- passing on -----------------------------------------------------------------------------------


class Others(NamedTuple):
    """The other kind of process: the `way` to them, what they should answer, and whether they do at all."""

    way: socket.socket
    should_answer: IsForOthers
    answer: Callable[[], bool]


class _PassedOn(Exception):  # it only ends the parser's work
    """The connection is another's. Raised inside the parser, which gives up."""


class HandoverProtocol(LimitedProtocol):
    """A connection that is passed on to `way` when it asks for something that is for others, and they `answer`.

    `_arrived` is all there is of a request whose head is not complete. It is empty where nobody can tell at which byte
    the request begins: behind another one, in one piece with it. `before` is what another process has read already.
    """

    def __init__(
        self,
        gate: ConnectionLimits,
        others: "Others",
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
        """Goes on where another process was, before anything else is read."""
        super().connection_made(transport)
        if self.before:
            before, self.before = self.before, b""
            self.data_received(before)

    def data_received(self, data: bytes) -> None:
        """Keeps what belongs to a head."""
        if not self._is_begun:
            self._arrived = [data]
        elif self._arrived:
            self._arrived.append(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is there: it tells who answers."""
        arrived, self._arrived = self._arrived, []
        others = self._others
        if arrived and others.should_answer(self.parser.get_method(), self.url) and self._pass_on(b"".join(arrived)):
            raise _PassedOn
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another request. If it has come in one piece with this one, it stays."""
        self._arrived = []
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has given up: it was told to, or there is something wrong."""
        if not self._is_passed_on:
            super().send_400_response(msg)

    def _pass_on(self, arrived: bytes) -> bool:
        """Whether the connection is another's now. While an answer is still to be sent, it is not passed on."""
        transport = self.transport
        if not self.is_at_rest() or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not self._others.answer():
            return False
        try:
            _send(self._others.way, transport.get_extra_info("socket").fileno(), arrived)
        except OSError:  # too many are on their way, or too many files are open
            return False
        self._is_passed_on = True
        transport.abort()  # this process's descriptor is closed, and the connection is not
        return True


def _send(way: socket.socket, connection: int, arrived: bytes) -> None:
    """Sends a connection, all at once: of what has arrived, a part might be sent, so that it goes as a file."""
    with _file_in_memory() as file:
        file.write(arrived)
        file.flush()
        socket.send_fds(way, [MARK], [connection, file.fileno()])


def _file_in_memory() -> IO[bytes]:
    """A file without a name: in memory where the system has such, so that it can be made where none can be written."""
    make = getattr(os, "memfd_create", None)
    return tempfile.TemporaryFile() if make is None else os.fdopen(make("pagefold"), "w+b")


# --- taking over ----------------------------------------------------------------------------------


@asynccontextmanager
async def taking_over(way: socket.socket, make: Make) -> AsyncIterator[None]:
    """Takes over what is passed on, while the block lasts, and at its end what is on its way."""
    async with anyio.create_task_group() as group:
        taking = anyio.CancelScope()
        group.start_soon(_take_on, way, make, group, taking)
        try:
            yield
        finally:
            taking.cancel()
            _take_all(way, make, group)


async def _take_on(way: socket.socket, make: Make, group: TaskGroup, scope: anyio.CancelScope) -> None:
    with scope:
        while True:
            await anyio.wait_readable(way)
            _take_all(way, make, group)


def _take_all(way: socket.socket, make: Make, group: TaskGroup) -> None:
    while (found := _received(way)) is not None:
        group.start_soon(_take, *found, make)


def _received(way: socket.socket) -> tuple[socket.socket, bytes] | None:
    """A connection, and what has arrived of it; None when no more are on their way."""
    try:
        _, descriptors, _, _ = socket.recv_fds(way, len(MARK), OF_A_CONNECTION, CLOSED_ON_EXEC)
    except BlockingIOError:  # another reader has it
        return None
    if len(descriptors) < OF_A_CONNECTION:
        log.warning("a connection is lost: too many files are open")
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
    await attend(connection, protocol)
