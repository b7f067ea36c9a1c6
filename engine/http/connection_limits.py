"""Limits that uvicorn lacks: the size of a request's head, the time a request takes to arrive, and connections.

uvicorn reads any amount for any time. This protocol counts while it reads. A periodic check of all connections finds
those that have timed out: a timer per request would cost as much as reading a page.

The parser stops after a head that offers another protocol, and uvicorn drops the body then. Here such an offer is
ignored: the head is parsed again without it, then the body. Refusals are sent in order, after the responses to earlier
requests on the connection.
"""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import anyio
import httptools
from uvicorn.config import Config as ServerConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pagefold.engine.configuration.http_config import HttpConfig
from pagefold.engine.http.complete_response import COMPLETE_EXTENSION, Cycle, text_of
from pagefold.engine.http.headers import Header
from pagefold.engine.http.problems import Problem, sent, unavailable
from pagefold.engine.http.request_head import (
    HOST,
    TRANSFER_ENCODING,
    WATCHED,
    host_error,
    host_in_target,
    transfer_coding_error,
    version_error,
    without_offer,
)
from pagefold.engine.http.request_log import RequestLog

CHECKS_PER_LIMIT = 10
"""How often connections are checked within the shortest time limit."""

MIN_CHECK_SECONDS, MAX_CHECK_SECONDS = 0.05, 1.0

_REFUSED = {
    400: "this is not HTTP",
    408: "the request was not complete in time",
    414: "the address is too long",
    431: "the headers are too large, or too many",
}


Answerer: TypeAlias = Callable[[bytes, bytes, list[Header]], tuple[bytes, bytes] | None]
"""Returns the head and body of the response to a method, URL and headers; None if the application must answer."""


class ConnectionLimits:
    """Counts the connections of one process and enforces the limits. Shared by all protocols.

    Those that follow the pages are counted apart: they wait for long, and do nothing. Once it `is_ending`, each
    response is the last one of its connection.
    """

    def __init__(self, limits: HttpConfig, traffic: RequestLog, fast_path: Answerer) -> None:
        self.limits = limits
        self.traffic = traffic
        self.fast_path = fast_path
        self.open: set[LimitedProtocol] = set()
        self.followers: set[LimitedProtocol] = set()
        self.is_ending = False
        self._by_address: Counter[str] = Counter()

    def enter(self, connection: "LimitedProtocol", address: str | None) -> str | None:
        """Counts a connection. Returns a reason to refuse it if a limit is exceeded."""
        self.open.add(connection)
        if address is not None:
            self._by_address[address] += 1
        if len(self.open) - len(self.followers) > self.limits.connections:
            return "too many connections"
        if address is not None and self._by_address[address] > self.limits.connections_per_address:
            return "too many connections from this address"
        return None

    def leave(self, connection: "LimitedProtocol", address: str | None) -> None:
        """Removes a connection from the count."""
        self.open.discard(connection)
        if connection in self.followers:
            self.followers.discard(connection)
        else:
            self._forget(address)

    def follow(self, connection: "LimitedProtocol", address: str | None) -> bool:
        """Counts a connection as a follower from now on. False if there are too many."""
        if len(self.followers) >= self.limits.followers:
            return False
        if connection in self.open and connection not in self.followers:
            self.followers.add(connection)
            self._forget(address)
        return True

    def unfollow(self, connection: "LimitedProtocol", address: str | None) -> None:
        """Counts a follower as a connection like any other again."""
        if connection in self.followers:
            self.followers.discard(connection)
            if address is not None:
                self._by_address[address] += 1

    def _forget(self, address: str | None) -> None:
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def watch(self) -> None:
        """Closes connections that were idle or slow for too long, until it is cancelled."""
        shortest = min(self.limits.receive_seconds, self.limits.idle_seconds)
        pause = min(max(shortest / CHECKS_PER_LIMIT, MIN_CHECK_SECONDS), MAX_CHECK_SECONDS)
        while True:
            await anyio.sleep(pause)
            now = time.monotonic()
            for connection in list(self.open):
                connection.look(now)


class RequestRefused(Exception):  # it only ends the parser's work
    """A request is refused before it is complete. Raised inside the parser to stop it."""


def has_arrived(transport: asyncio.Transport) -> bool:
    """Whether received data is waiting to be read."""
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

    `_since` is when a request began to arrive, or the connection was made; None while only a response is awaited.
    `_idle_since` is when the last response was sent; `_writing_since` is when the client stopped reading. `_unparsed`
    counts the bytes since a head began or a body last grew. `_settled`: the request was answered by the fast path.
    `_is_begun`: a request is arriving. `_offer` is its head without the offer of another protocol. `_fault` is why the
    parser was stopped, and `_refusal` the problem to send after earlier responses.
    """

    def __init__(
        self,
        gate: ConnectionLimits,
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
        self._is_begun = False
        self._in_head = True
        self._settled = False
        self._head_bytes = 0
        self._headers = 0
        self._unparsed = 0
        self._host: bytes | None = None
        self._is_coded = False
        self._offer: bytes | None = None
        self._fault: Problem | None = None
        self._refusal: Problem | None = None
        self._address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Accepts a connection, or refuses it with a reason and closes it."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        reason = self._gate.enter(self, self._address)
        if reason is not None:
            self._refuse(unavailable(reason))

    def connection_lost(self, exc: Exception | None) -> None:
        """Removes the connection from the count."""
        self._gate.leave(self, self._address)
        self._since = self._idle_since = self._writing_since = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses data, unless too much has come without completing a head or extending a body."""
        if self.transport.is_closing() or self._refusal is not None:
            return
        if self._since is None and self._idle_since is not None:
            self._since, self._idle_since = time.monotonic(), None
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._parse_rest(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._unparsed > self._limits.max_header_bytes:
            self._refuse_arriving(Problem(431, _REFUSED[431]))

    def _parse_rest(self, rest: memoryview) -> None:
        """Continues after a head with an offer, and after further such heads in the same chunk."""
        try:
            while self._offer is not None:
                self._parse_without_offer(self._offer)
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offer:
                    rest = rest[offer.args[0] :]
        except httptools.HttpParserError:
            self.send_400_response("")

    def _parse_without_offer(self, head: bytes) -> None:
        """Parses a head again without its offer: the parser that has seen the offer expects no body."""
        self._offer = None
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(head)

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        self._is_begun = self._in_head = True
        self._settled = self._is_coded = False
        self._host = None
        self._head_bytes = self._headers = 0
        if self._since is None:
            self._since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """A part of the request's URL."""
        self._count(len(url), 414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Trailers after a body count for the limits, and are otherwise ignored."""
        self._headers += 1
        if self._headers > self._limits.max_headers:
            self._give_up(Problem(431, _REFUSED[431]))
        self._count(len(name) + len(value), 431)
        if not self._in_head:
            return
        name = name.lower()
        if name in WATCHED:
            self._watch(name, value)
        self.headers.append((name, value))

    def _watch(self, name: bytes, value: bytes) -> None:
        if name == HOST:
            if self._host is not None:
                self._give_up(Problem(400, "Host is repeated"))
            self._host = value
        elif name == TRANSFER_ENCODING:
            self._is_coded = True
            if (fault := transfer_coding_error(value)) is not None:
                self._give_up(fault)
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """The head is complete: does what uvicorn does, without WebSockets and with complete responses."""
        if self.transport.is_closing():  # the last response was sent; further requests are ignored
            raise RequestRefused
        version, method = self.parser.get_http_version(), self.parser.get_method()
        self._check_head(version)
        if self.parser.should_upgrade():
            self._set_aside(method, version)
            return
        is_first = self.has_no_pending_response()
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self._gate.is_ending
        if not (is_first and self._answer_directly(method, keep_alive=keep_alive)):
            self._begin(method, version, keep_alive=keep_alive, is_first=is_first)
        self._in_head = False
        self._unparsed = 0

    def _check_head(self, version: str) -> None:
        fault = host_error(self._host) if version == "1.1" else version_error(version, is_coded=self._is_coded)
        if fault is not None:
            self._give_up(fault)

    def _set_aside(self, method: bytes, version: str) -> None:
        """The parser stops here and reports it. The request is not complete, whatever the parser says before."""
        if method == b"CONNECT":
            self._give_up(Problem(501, "this server is not a proxy"))
        self._offer = without_offer(method, self.url, version, self.headers)

    def _begin(self, method: bytes, version: str, *, keep_alive: bool, is_first: bool) -> None:
        """Lets the application answer the request when its turn comes."""
        self._address_request(method, version)
        self.cycle = self._cycle(keep_alive=keep_alive)
        if is_first:
            self._start_asgi_task(self.cycle, self.app)
        else:  # it was sent before the answer to the one before: it waits
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _address_request(self, method: bytes, version: str) -> None:
        url, scope = httptools.parse_url(self.url), self.scope
        raw_path = url.path or b"/"
        if url.host is not None:
            host = (HOST, host_in_target(url.host, url.port))
            self.headers[:] = [host, *(each for each in self.headers if each[0] != HOST)]
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = raw_path
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        scope["extensions"] = COMPLETE_EXTENSION
        scope["pagefold.connection"] = self  # type: ignore[typeddict-unknown-key]  # for `followers.py`

    def has_no_pending_response(self) -> bool:
        """Whether no response is pending."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _answer_directly(self, method: bytes, *, keep_alive: bool) -> bool:
        """Answers the request directly, if it is possible and no earlier response is pending."""
        if self.flow.write_paused:
            return False
        answer = self._gate.fast_path(method, self.url, self.headers)
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
            expect_100_continue=self.expect_100_continue and self.scope["http_version"] == "1.1",
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete: from now on the client waits."""
        if self._offer is not None:  # its body is still to come
            return
        self._since = None
        self._is_begun = False
        self._in_head = True
        self._unparsed = 0
        if self._settled:
            self._idle_since = time.monotonic()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The response is sent. The periodic check replaces uvicorn's keep-alive timer."""
        is_last = not self.pipeline
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self._idle_since = time.monotonic()
        if is_last and self._refusal is not None and not self.transport.is_closing():
            self._refuse(self._refusal)

    def pause_writing(self) -> None:
        """The client reads the response more slowly than it is produced."""
        self._writing_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._writing_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the parser's message is not sent
        """Refuses what the parser could not read, or was stopped at, and closes."""
        self._refuse_arriving(self._fault or Problem(400, _REFUSED[400]))

    def look(self, now: float) -> None:
        """Closes the connection if it has timed out."""
        limits = self._limits
        if self._since is not None and now - self._since > limits.receive_seconds:
            self._time_out()
        elif self._writing_since is not None and now - self._writing_since > limits.receive_seconds:
            self.transport.abort()
        elif self._idle_since is not None and now - self._idle_since > limits.idle_seconds:
            self._idle_since = None
            self.transport.close()

    def follow(self) -> bool:
        """From now on, it is a follower's. False if there are too many."""
        return self._gate.follow(self, self._address)

    def unfollow(self) -> None:
        """From now on, it is a connection like any other."""
        self._gate.unfollow(self, self._address)

    def close_after_response(self) -> None:
        """Makes the current response the last of this connection, unless more requests came before."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Closes the connection if no request is pending or arriving."""
        if (
            self.has_no_pending_response()
            and not self._is_begun
            and not self._unparsed
            and not has_arrived(self.transport)
        ):
            self.transport.close()

    def _time_out(self) -> None:
        self._since = None
        if self._is_begun or self._unparsed:
            self._refuse_arriving(Problem(408, _REFUSED[408]))
        else:
            self.transport.close()

    def _refuse_arriving(self, problem: Problem) -> None:
        """Refuses the arriving request once earlier ones are answered, and stops reading."""
        if self.transport.is_closing() or self._refusal is not None:
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head or cycle is None:
            is_due = self.has_no_pending_response()
        elif self.pipeline and self.pipeline[0][0] is cycle:  # it has not begun to be answered, and never will be
            self.pipeline.popleft()
            is_due = False
        else:
            self._cut_body_off(cycle)
            is_due = True
        if is_due:
            self._refuse(problem)
        else:
            self._refusal = problem
            self._since = None
            self.flow.pause_reading()

    def _cut_body_off(self, cycle: RequestResponseCycle) -> None:
        """Signals the end of the body to its reader. A response that has started is not replaced."""
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.transport.close()

    def _count(self, size: int, status: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_header_bytes:
            self._give_up(Problem(status, _REFUSED[status]))

    def _give_up(self, fault: Problem) -> NoReturn:
        self._fault = fault
        raise RequestRefused

    def _refuse(self, problem: Problem) -> None:
        """Sends the response itself and closes: the application has no request to answer."""
        if self.transport.is_closing():
            return
        status, headers, body = sent(problem)
        self._gate.traffic.refused[status] += 1
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
        self.transport.close()
