"""Every route of the server."""

from collections.abc import Sequence

from pagefold.engine.http.routes import (
    audit,
    cdc,
    changes,
    completeness,
    dead_letters,
    differences,
    epochs,
    events,
    history,
    operations,
    pages,
    releases,
    requests,
    sagas,
    targets,
    webhooks,
    why,
)
from pagefold.engine.http.routing import Route

ROUTES: Sequence[Route] = (
    *pages.ROUTES,
    *why.ROUTES,
    *completeness.ROUTES,
    *changes.ROUTES,
    *history.ROUTES,
    *differences.ROUTES,
    *events.ROUTES,
    *webhooks.ROUTES,
    *cdc.ROUTES,
    *dead_letters.ROUTES,
    *epochs.ROUTES,
    *releases.ROUTES,
    *requests.ROUTES,
    *sagas.ROUTES,
    *targets.ROUTES,
    *audit.ROUTES,
    *operations.ROUTES,
)
