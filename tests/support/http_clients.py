"""The HTTP server under test: its application in this process, or a server on a port of its own."""

import errno
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from pagefold import Shop
from pagefold.engine.http.application import application
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.routing import Route
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.stores.grants import SCOPES, Grant

SECONDS_TO_CONNECT = 0.2
"""Seconds in which a server on this machine accepts a connection, if it does."""

SECRETS: Mapping[str, Grant] = {
    "reader": Grant("tok_reader", frozenset(["read"]), None),
    "erp": Grant("tok_erp", frozenset(["ingest"]), "erp"),
    "pim": Grant("tok_pim", frozenset(["ingest"]), "pim"),
    "operator": Grant("tok_operator", frozenset(["operate"]), None),
    "all": Grant("tok_all", frozenset(SCOPES), None),
}
"""The grants of the tokens of these tests, by secret."""


class Tokens:
    """A token service that knows only these."""

    async def verify(self, secret: str) -> Grant | None:
        """The grant of a secret."""
        return SECRETS.get(secret)

    def cached_grant(self, _secret: str) -> Grant | None:
        """Every secret needs a lookup."""
        return None


def service_of(shop: Shop, anonymous: Grant | None = EVERYTHING, **settings: Any) -> ServerContext:  # noqa: ANN401  # as `ServerContext` takes them
    """The context of a server. By default, every caller may do everything."""
    return ServerContext(shop, BearerAuthenticator(anonymous, Tokens()), **settings)


@asynccontextmanager
async def client_of(
    service: ServerContext, secret: str | None = None, routes: Sequence[Route] = ROUTES
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in this process."""
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    transport = httpx2.ASGITransport(app=application(service, routes))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


@asynccontextmanager
async def served(service: ServerContext) -> AsyncIterator[tuple[str, int]]:
    """A server that listens, and its address."""
    listener = listen("127.0.0.1", 0)
    host, port = listener.getsockname()[:2]
    assert address_of(listener) == f"http://{host}:{port}"
    async with serving(service, listener):
        yield host, port


def problem_in(response: httpx2.Response) -> Any:  # noqa: ANN401  # JSON
    """The problem in a response, after checking its form."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    return problem


def is_free(port: int) -> bool:
    """Whether no process listens there. One that is about to end drops what arrives, which clients send for minutes."""
    with socket.socket() as probe:
        probe.settimeout(SECONDS_TO_CONNECT)
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
