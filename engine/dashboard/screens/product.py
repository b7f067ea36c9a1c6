"""A product's page in one channel: what it shows and why, and how ready it is."""

from typing import Literal

import msgspec
import orjson
from starlette.responses import Response

from pagefold.engine.dashboard.product_values import domain_states, missing_rows, section_views
from pagefold.engine.dashboard.product_verdict import verdict_of
from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.http.problems import Problem, no_channel
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku, sku_error


class ProductQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the page is shown: for people, or as JSON."""

    format: Literal["html", "json"] = "html"


async def show(visit: Visit) -> Response:
    """The page of a product in a channel; also where there is none, with the reason."""
    channel, sku = visit.path["channel"], normalise_sku(visit.path["sku"])
    shop = visit.shop
    if channel not in shop.applied.config.channels:
        raise no_channel()
    if not is_storable_sku(sku) and (fault := sku_error(sku)) is not None:
        raise Problem(404, f"this cannot be a SKU: {fault}")
    document = await shop.pages.get_json(sku, channel, disabled=True)
    if visit.query(ProductQuery).format == "json":
        if document is None:
            raise Problem(404, "this channel has no such page")
        return visit.data(msgspec.json.format(document, indent=1))
    why = await shop.why(sku, channel)
    page = None if document is None else orjson.loads(document)
    sections = section_views(why)
    return await visit.page(
        "product",
        sku=sku,
        channel=channel,
        channels=list(shop.applied.config.channels),
        page=page,
        why=why,
        sections=sections,
        domains=domain_states(why),
        verdict=verdict_of(why, sections, page),
        missing=missing_rows(sections),
    )


SCREEN = Screen("product", "Product", "n-page", None, [shown_at("/ui/pages/{channel}/{sku}", show, ProductQuery)])
