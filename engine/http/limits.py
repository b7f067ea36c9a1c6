"""What uvicorn does not limit: the size of a request's head, how long a request may take to arrive, and connections.

uvicorn reads whatever comes for as long as it comes. This protocol counts while it reads, and a look at all connections
once in a while finds those whose time is over: no timer for each request, which would cost as much as reading a page.
"""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import anyio
import httptools
from uvicorn.config import Config as ServerConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from engine.configuration.http import HttpConfig
from engine.http.headers import Header
from engine.http.problems import Problem, overloaded, sent
from engine.http.traffic import Traffic
from engine.http.whole import OFFER, Cycle, text_of

LOOKS_IN_A_LIMIT = 10
"""How often all connections are looked at in the time that the shortest limit gives them."""

SHORTEST_LOOK, LONGEST_LOOK = 0.05, 1.0

_REFUSED = {
    400: "this is not HTTP",
    408: "the request was not complete in time",
    414: "the address is too long",
    431: "the headers are too large, or too many",
}


Answerer: TypeAlias = Callable[[bytes, bytes, list[Header]], tuple[bytes, bytes] | None]
"""Gives the head and the body of an answer to a method, an address and headers, or None where it takes more time."""


class Gate:
    """The connections of one process, counted, and those let in that the limits allow. Shared by all protocols.

    Once it `is_ending`, each answer is the last one of its connection.
    """

    def __init__(self, limits: HttpConfig, traffic: Traffic, at_once: Answerer) -> None:
        self.limits = limits
        self.traffic = traffic
        self.at_once = at_once
        self.open: set[LimitedProtocol] = set()
        self.is_ending = False
        self._by_address: Counter[str] = Counter()

    def enter(self, connection: "LimitedProtocol", address: str | None) -> str | None:
        """Counts a connection. Gives the reason when there is one too many."""
        self.open.add(connection)
        if address is not None:
            self._by_address[address] += 1
        if len(self.open) > self.limits.connections:
            return "there are too many connections"
        if address is not None and self._by_address[address] > self.limits.connections_per_address:
            return "there are too many connections from your address"
        return None

    def leave(self, connection: "LimitedProtocol", address: str | None) -> None:
        """Counts it no more."""
        self.open.discard(connection)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def watch(self) -> None:
        """Closes what has been silent or slow for too long, until it is cancelled."""
        shortest = min(self.limits.receive_seconds, self.limits.idle_seconds)
        pause = min(max(shortest / LOOKS_IN_A_LIMIT, SHORTEST_LOOK), LONGEST_LOOK)
        while True:
            await anyio.sleep(pause)
            now = time.monotonic()
            for connection in list(self.open):
                connection.look(now)


class TooMuch(Exception):  # it only ends the parser's work
    """A limit is passed. Raised inside the parser, which gives up."""


def has_arrived(transport: asyncio.Transport) -> bool:
    """Whether there is something that was sent, and not read yet."""
    line = transport.get_extra_info("socket")
    if line is None or transport.is_closing():
        return False
    try:
        with socket.socket(fileno=os.dup(line.fileno())) as same:
            return bool(same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing has, or the other end has broken off
        return False


class LimitedProtocol(HttpToolsProtocol):
    """One connection, within limits.

    `_since` is when a request began to arrive, or the connection was made, None while nothing is awaited but the
    answer; `_idle_since` is when the last answer went out; `_writing_since` is when the client ceased to take it.
    `_settled` tells that the request is one that was answered at once.
    """

    def __init__(
        self,
        gate: Gate,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._gate = gate
        self._limits = gate.limits
        self._since: float | None = time.monotonic()
        self._idle_since: float | None = None
        self._writing_since: float | None = None
        self._in_head = True
        self._settled = False
        self._head_bytes = 0
        self._headers = 0
        self._unparsed = 0
        self._status = 400
        self._address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Lets a connection in, or tells it why not and closes it."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        reason = self._gate.enter(self, self._address)
        if reason is not None:
            self._refuse(overloaded(reason))

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it no more."""
        self._gate.leave(self, self._address)
        self._since = self._idle_since = self._writing_since = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads, unless the head of a request has grown too large without coming to its end."""
        if self.transport.is_closing():
            return
        if self._since is None and self._idle_since is not None:
            self._since, self._idle_since = time.monotonic(), None
        if self._in_head:
            self._unparsed += len(data)
        super().data_received(data)
        if self._in_head and self._unparsed > self._limits.max_header_bytes and not self.transport.is_closing():
            self._status = 431
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        self._in_head = True
        self._settled = False
        self._head_bytes = self._headers = 0
        if self._since is None:
            self._since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """A part of the request's address."""
        self._count(len(url), 414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers += 1
        if self._headers > self._limits.max_headers:
            self._give_up(431)
        self._count(len(name) + len(value), 431)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: what uvicorn does then, without WebSockets, and with answers that may be whole."""
        self._in_head = False
        self._unparsed = 0
        is_first = self.is_at_rest()
        version, method = self.parser.get_http_version(), self.parser.get_method()
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self._gate.is_ending
        if is_first and self._answer_at_once(method, keep_alive=keep_alive):
            return
        url, scope = httptools.parse_url(self.url), self.scope
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = url.path
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        scope["extensions"] = OFFER
        self.cycle = self._cycle(keep_alive=keep_alive)
        if is_first:
            self._start_asgi_task(self.cycle, self.app)
        else:  # it was sent before the answer to the one before: it waits
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def is_at_rest(self) -> bool:
        """Whether nobody waits for an answer yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _answer_at_once(self, method: bytes, *, keep_alive: bool) -> bool:
        """Answers the request if it can be done here and now, when nobody else has to be answered before."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        answer = self._gate.at_once(method, self.url, self.headers)
        if answer is None:
            return False
        self._settled = True
        head, body = answer
        every = text_of(self.server_state.default_headers)
        self.transport.write(b"".join([head, every, b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body]))
        self.server_state.total_requests += 1
        if not keep_alive:
            self.transport.close()
        return True

    def _cycle(self, *, keep_alive: bool) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def on_message_complete(self) -> None:
        """The request is there: from now on it waits for us."""
        self._since = None
        self._in_head = True
        if self._settled:
            self._idle_since = time.monotonic()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out. What uvicorn would set a timer for is found by the next look."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self._idle_since = time.monotonic()

    def pause_writing(self) -> None:
        """The client takes the answer more slowly than it is made."""
        self._writing_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._writing_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the parser's own words are for nobody
        """Refuses what the parser could not read, or what was too much for it, and closes."""
        self._refuse(Problem(self._status, _REFUSED[self._status]))

    def look(self, now: float) -> None:
        """Closes the connection if its time is over."""
        limits = self._limits
        if self._since is not None and now - self._since > limits.receive_seconds:
            self._time_out()
        elif self._writing_since is not None and now - self._writing_since > limits.receive_seconds:
            self.transport.abort()
        elif self._idle_since is not None and now - self._idle_since > limits.idle_seconds:
            self._idle_since = None
            self.transport.close()

    def say_last_word(self) -> None:
        """The answer under way is the last one of this connection, unless more was asked before it."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Closes the connection where nothing was asked that is not answered, nor has begun to be asked."""
        if self.is_at_rest() and self._in_head and not self._unparsed and not has_arrived(self.transport):
            self.transport.close()

    def _time_out(self) -> None:
        self._since = None
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head:
            may_answer = self._unparsed > 0 and (cycle is None or cycle.response_complete)
        else:
            may_answer = cycle is not None and not cycle.response_started
        if may_answer:
            self._refuse(Problem(408, _REFUSED[408]))
        else:
            self.transport.close()

    def _count(self, size: int, status: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_header_bytes:
            self._give_up(status)

    def _give_up(self, status: int) -> None:
        self._status = status
        raise TooMuch

    def _refuse(self, problem: Problem) -> None:
        """Answers by ourselves, and closes: there is no request that an application could answer."""
        status, headers, body = sent(problem)
        self._gate.traffic.refused[status] += 1
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
        self.transport.close()
