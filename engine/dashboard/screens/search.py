"""Finds a product, a dead letter or a run, and lists the products of a channel."""

from itertools import takewhile
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.domains import DOMAINS
from pagefold.engine.dashboard.finding import exact_address, skus_of_reference
from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.reading.page_reader import PageSummary
from pagefold.engine.shop import Shop
from pagefold.projections import normalise_sku

PAGES_LISTED = 50
SKUS_OF_REFERENCE = 100


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sought, in which channel, and after which SKU the list continues."""

    q: Annotated[str, msgspec.Meta(max_length=256)] = ""
    channel: Annotated[str, msgspec.Meta(max_length=64)] = ""
    after: Annotated[str, msgspec.Meta(max_length=256)] = ""


async def show(visit: Visit) -> Response:
    """Leads to what has exactly this name; else lists the products that begin with it, or all."""
    query, shop = visit.query(SearchQuery), visit.shop
    channels = list(shop.applied.config.channels)
    if not channels:
        return await visit.page("search", text="", channel="", channels=[], pages=[], next=None, others=[])
    channel = query.channel if query.channel in channels else channels[0]
    text = query.q.strip()
    if text and not query.after and (address := await exact_address(shop, text, channel)) is not None:
        return visit.redirect(address)
    pages, has_more = await _beginning_with(shop, channel, normalise_sku(text), query.after)
    others = [] if pages or not text else (await skus_of_reference(shop.store, text))[:SKUS_OF_REFERENCE]
    return await visit.page(
        "search",
        text=text,
        channel=channel,
        channels=channels,
        pages=[(page, _domains(shop, channel, page)) for page in pages],
        next=pages[-1].sku if has_more else None,
        others=others,
    )


async def _beginning_with(shop: Shop, channel: str, prefix: str, after: str) -> tuple[list[PageSummary], bool]:
    """The next products whose SKUs begin with a prefix, and whether more follow."""
    listed = await shop.pages.list_pages(channel, after or prefix, PAGES_LISTED + 1)
    found = list(takewhile(lambda page: page.sku.startswith(prefix), listed))
    return found[:PAGES_LISTED], len(found) > PAGES_LISTED


def _domains(shop: Shop, channel: str, page: PageSummary) -> list[tuple[str, str]]:
    """The domains of a page's fold strip."""
    requires = next(each.requires for each in shop.applied.config.resolved_channels if each.name == channel)
    states = {True: "not ready", False: "not required"}
    return [
        (domain.name, "ready" if page.readiness.get(domain.name) else states[domain.name in requires])
        for domain in DOMAINS
    ]


SCREEN = Screen("search", "Products", "n-page", "", [shown_at("/ui/search", show, SearchQuery)])
