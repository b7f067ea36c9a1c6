"""The routes and the dashboard over an open shop: without sockets, processes and limits of connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.http.application import application
from pagefold.engine.http.authorization import READS, BearerAuthenticator
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.shop import Shop
from pagefold.engine.stores.grants import SCOPES, Grant

TRUSTED = Grant("host", frozenset(SCOPES), None)
"""Every scope, for callers that the host has checked."""


@asynccontextmanager
async def application_of(shop: Shop, *, trusted: bool, dashboard: bool) -> AsyncIterator[ASGIApp]:
    """The application, while the block lasts. Raises `ConfigurationError` when a webhook's secret is not set."""
    anonymous = TRUSTED if trusted else READS if shop.config.http.reads == "open" else None
    service = ServerContext(shop, BearerAuthenticator(anonymous, shop.tokens), reads_open=anonymous is not None)
    service.caching.share(public=anonymous is READS)
    try:
        async with run_beside(shop.follow):
            yield application(service, dashboard=Dashboard(service) if dashboard else None)
    finally:
        await service.readiness.close()
