"""Every route of the server."""

from collections.abc import Sequence

from engine.http import history, letters, operations, pages
from engine.http.routes import Route

ROUTES: Sequence[Route] = (*pages.ROUTES, *history.ROUTES, *letters.ROUTES, *operations.ROUTES)
