"""Every route of the server."""

from collections.abc import Sequence

from engine.http import epochs, history, letters, operations, pages
from engine.http.ingest import cdc, events, webhooks
from engine.http.routes import Route

ROUTES: Sequence[Route] = (
    *pages.ROUTES,
    *history.ROUTES,
    *events.ROUTES,
    *webhooks.ROUTES,
    *cdc.ROUTES,
    *letters.ROUTES,
    *epochs.ROUTES,
    *operations.ROUTES,
)
