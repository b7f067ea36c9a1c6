"""The first screen: whether the shop's pages are right."""

from starlette.responses import Response

from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.visit import Visit


async def show(visit: Visit) -> Response:
    """How far each domain is folded."""
    progress = await visit.shop.lag.progress()
    return await visit.page("overview", domains=progress.domains)


SCREEN = Screen("overview", "Overview", "n-overview", "", [shown_at("/ui", show)])
