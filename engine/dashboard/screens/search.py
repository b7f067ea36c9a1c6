"""Finds a product by its SKU."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.visit import Visit
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku

PAGES_LISTED = 50


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sought, in which channel, and after which SKU the list continues."""

    q: Annotated[str, msgspec.Meta(max_length=256)] = ""
    channel: Annotated[str, msgspec.Meta(max_length=64)] = ""
    after: Annotated[str, msgspec.Meta(max_length=256)] = ""


async def show(visit: Visit) -> Response:
    """Leads to the page of a SKU on an exact hit; else lists products."""
    query, shop = visit.query(SearchQuery), visit.shop
    channels = list(shop.applied.config.channels)
    sku = normalise_sku(query.q.strip())
    if query.q and is_storable_sku(sku):
        for channel in channels:
            if await shop.pages.get_json(sku, channel, disabled=True) is not None:
                return visit.redirect(href("pages", channel, sku))
    channel = query.channel if query.channel in channels else channels[0]
    pages = await shop.pages.list_pages(channel, query.after, PAGES_LISTED)
    return await visit.page("search", q=query.q, channel=channel, channels=channels, pages=pages)


SCREEN = Screen("search", "Products", "n-page", "", [shown_at("/ui/search", show, SearchQuery)])
