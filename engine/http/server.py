"""uvicorn as we run it: within limits, without words of its own, ended by whoever has started it."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import uvicorn

from engine.errors import CannotListen
from engine.http.app import application
from engine.http.at_once import AtOnce
from engine.http.handover import HandoverProtocol, is_for_readers, is_for_worker, taking_over
from engine.http.limits import Gate, LimitedProtocol
from engine.http.numbers import tell
from engine.http.peers import WORKER, Peers
from engine.http.reads import Application
from engine.http.service import Service
from engine.http.table import ROUTES
from engine.tasks import beside, ungrouped

BACKLOG = 2_048
DRAIN_SECONDS = 20
"""How long requests under way are waited for at the end."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; at any free port for port 0. Raises `CannotListen`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003  # it has no name there
    except OSError as error:
        listener.close()
        raise CannotListen(host, port, error.strerror or str(error)) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Signals are for the one who has started it, who is told when it is `up` and when it has `ended`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = anyio.Event()
        self.ended = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    def protocol(self) -> Any:  # noqa: ANN401  # as uvicorn was told
        """That of one more connection."""
        make: Any = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(service: Service, listener: socket.socket | None, peers: Peers | None = None) -> AsyncIterator[None]:
    """Answers requests while the block lasts, of those who connect there, and of those whom peers pass on.

    At its end nobody is let in any more, and requests under way are finished, for `DRAIN_SECONDS` at most.
    """
    gate = Gate(service.config.http, service.traffic, AtOnce(service).answer)
    server = _Server(_configuration(application(service), _protocol(gate, service.worker, peers)))
    listeners = [] if listener is None else [listener]
    with ungrouped():
        async with anyio.create_task_group() as group:
            group.start_soon(gate.watch)
            group.start_soon(_serve, server, listeners)
            await server.up.wait()
            try:
                async with _among(peers, service, server.protocol):
                    yield
            finally:
                server.should_exit = True
                with anyio.CancelScope(shield=True):
                    await server.ended.wait()
            group.cancel_scope.cancel()


def _protocol(gate: Gate, number: int, peers: Peers | None) -> Any:  # noqa: ANN401  # what uvicorn calls as a class
    if peers is None:
        return partial(LimitedProtocol, gate)
    is_for_others = is_for_readers(ROUTES) if number == WORKER else is_for_worker(ROUTES)
    return partial(HandoverProtocol, gate, peers.connections.end(number), is_for_others)


@asynccontextmanager
async def _among(peers: Peers | None, service: Service, make: Callable[[], Any]) -> AsyncIterator[None]:
    """Takes over what peers pass on, and tells them, or hears from them, what is counted."""
    if peers is None:
        yield
        return
    way = peers.numbers.end(service.worker)
    hear = partial(service.reported.hear, way)
    is_worker = service.worker == WORKER
    async with (
        beside(hear if is_worker else partial(tell, service.numbers, way)),
        taking_over(peers.connections.end(service.worker), make),
    ):
        yield


async def _serve(server: _Server, listeners: list[socket.socket]) -> None:
    with anyio.CancelScope(shield=True):  # it is ended by its flag, and then waits for those who are being answered
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
        log_level="error",  # of what clients send it warns a line each
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
