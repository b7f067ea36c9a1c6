"""Runs uvicorn with limits and without its own logging. The caller starts and stops it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any

import anyio
import uvicorn

from pagefold.engine.http.application import application
from pagefold.engine.http.connection_limits import ConnectionLimits, LimitedProtocol
from pagefold.engine.http.fast_path import FastPageReads
from pagefold.engine.http.handover import HandoverProtocol, OtherProcesses, is_for_readers, is_for_worker, taking_over
from pagefold.engine.http.listening_socket import BACKLOG, CONNECT_SECONDS, attach_protocols, stop_accepting
from pagefold.engine.http.page_reads import Application
from pagefold.engine.http.process_board import BEAT_SECONDS, PeerWatch
from pagefold.engine.http.process_counters import publish_counters
from pagefold.engine.http.process_links import WORKER, ProcessLinks
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside, unwrap_group

DRAIN_SECONDS = 20
"""How long the shutdown waits for requests in progress."""

QUIET_SECONDS = 0.5
"""How long idle connections stay open during the shutdown: a request may be in transit."""

POLL_SECONDS = 0.05
"""How often connections are checked during the shutdown."""


class _Server(uvicorn.Server):
    """Leaves signals to its caller, which can wait until it is `up` and until it has `ended`."""

    def __init__(self, config: uvicorn.Config, gate: ConnectionLimits) -> None:
        super().__init__(config)
        self.up = anyio.Event()
        self.ended = anyio.Event()
        self._gate = gate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    def protocol(self) -> Any:  # noqa: ANN401  # as configured in uvicorn
        """The protocol for another connection."""
        make_protocol: Any = self.config.http_protocol_class
        return make_protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def close_listeners(self) -> None:
        """Closes the listening sockets."""
        for server in self.servers:
            server.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's own
        """Stops accepting connections, answers pending requests, and closes all connections."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self.close_listeners()
        await self._answer_all(deadline)
        for connection in list(self._gate.open):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel(msg="the server has ended")

    async def _answer_all(self, deadline: float) -> None:
        begun = time.monotonic()
        while (self._gate.open or self.server_state.tasks) and time.monotonic() < deadline:
            for connection in list(self._gate.open):
                connection.close_after_response()
                if time.monotonic() - begun > QUIET_SECONDS:
                    connection.close_if_idle()
            await asyncio.sleep(POLL_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    service: ServerContext,
    listener: socket.socket | None,
    links: ProcessLinks | None = None,
    *,
    stands_in: bool = False,
    dashboard: Application | None = None,
) -> AsyncIterator[None]:
    """Serves requests during the block, on connections to the listener and on those that other processes pass on.

    A process that `stands_in` accepts connections only while none of the responsible processes does. During the
    shutdown no connection is accepted, and pending requests are finished, for `DRAIN_SECONDS` at most.
    """
    gate = ConnectionLimits(service.config.http, service.traffic, FastPageReads(service).answer)
    watch = None if links is None else PeerWatch(links.board, service.worker)
    server = _Server(_configuration(application(service, dashboard=dashboard), _protocol(gate, watch, links)), gate)
    with unwrap_group():
        async with anyio.create_task_group() as group:
            group.start_soon(gate.watch)
            group.start_soon(_serve, server, [] if listener is None or stands_in else [listener])
            await server.up.wait()
            async with _linked(links, watch, service, server.protocol):
                try:
                    async with _standing_in(listener if stands_in else None, watch, server.protocol):
                        yield
                finally:
                    service.end()
                    with anyio.CancelScope(shield=True):
                        await _end(server, gate, listener, watch)
            await service.readiness.close()
            group.cancel_scope.cancel()


async def _end(
    server: _Server, gate: ConnectionLimits, listener: socket.socket | None, watch: PeerWatch | None
) -> None:
    """Accepts the connections already established, then none, and waits until they are answered."""
    gate.is_ending = True
    if watch is not None:
        watch.board.end()
    if listener is not None:
        stop_accepting(listener)
    await asyncio.sleep(CONNECT_SECONDS)
    if listener is not None:
        await attach_protocols(listener, server.protocol)
        server.close_listeners()
        listener.close()
    server.should_exit = True
    await server.ended.wait()


def _standing_in(
    listener: socket.socket | None, watch: PeerWatch | None, make_protocol: Callable[[], Any]
) -> AbstractAsyncContextManager[None]:
    return (
        nullcontext()
        if listener is None or watch is None
        else run_beside(partial(_stand_in, listener, watch, make_protocol))
    )


async def _stand_in(listener: socket.socket, watch: PeerWatch, make_protocol: Callable[[], Any]) -> None:
    """Accepts connections while no responsible process does."""
    while True:
        if len(watch.silent()) == watch.board.processes - 1:
            with anyio.move_on_after(BEAT_SECONDS):
                await anyio.wait_readable(listener)
            with anyio.CancelScope(shield=True):  # an accepted connection is not dropped
                await attach_protocols(listener, make_protocol)
        else:
            await anyio.sleep(BEAT_SECONDS)


def _protocol(gate: ConnectionLimits, watch: PeerWatch | None, links: ProcessLinks | None) -> Any:  # noqa: ANN401  # what uvicorn calls as a class
    if links is None or watch is None:
        return partial(LimitedProtocol, gate)
    return partial(HandoverProtocol, gate, _others(watch, links))


def _others(watch: PeerWatch, links: ProcessLinks) -> OtherProcesses:
    """The readers, seen from the worker; the worker, seen from a reader."""
    works = watch.number == WORKER
    others = range(WORKER + 1, watch.board.processes + 1) if works else [WORKER]

    def answer() -> bool:
        return not watch.board.is_ending and any(map(watch.answers, others))

    is_for_others = is_for_readers(ROUTES) if works else is_for_worker(ROUTES)
    return OtherProcesses(links.connections.end(watch.number), is_for_others, answer)


@asynccontextmanager
async def _linked(
    links: ProcessLinks | None, watch: PeerWatch | None, service: ServerContext, make_protocol: Callable[[], Any]
) -> AsyncIterator[None]:
    """Takes over what other processes pass on, and exchanges counters and checks with them."""
    if links is None or watch is None:
        yield
        return
    link = links.counters.end(service.worker)
    receive = partial(service.reported.receive, link)
    is_worker = service.worker == WORKER
    service.readiness.share(watch)
    watch.board.beat(watch.number)
    async with (
        run_beside(watch.run),
        run_beside(service.readiness.report),
        run_beside(receive if is_worker else partial(publish_counters, service.counters, link)),
        taking_over(links.connections.end(service.worker), make_protocol),
    ):
        yield


async def _serve(server: _Server, listeners: list[socket.socket]) -> None:
    with anyio.CancelScope(shield=True):  # its flag ends it, after pending requests
        try:
            await server.serve(listeners)
        finally:
            server.ended.set()


def _configuration(app: Application, protocol: Any) -> uvicorn.Config:  # noqa: ANN401  # likewise
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # it warns of every malformed request
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
