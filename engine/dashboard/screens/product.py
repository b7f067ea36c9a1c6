"""A product's page in one channel: what it shows and why, how ready it is, its past, and its other channels."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from starlette.responses import Response

from pagefold.engine.dashboard.formats import iso_text
from pagefold.engine.dashboard.product_channels import read_channels
from pagefold.engine.dashboard.product_facts import facts_of
from pagefold.engine.dashboard.product_past import PastPage, read_past
from pagefold.engine.dashboard.product_timeline import Timeline, lanes_of, moment_of, read_timeline, seconds_of
from pagefold.engine.dashboard.product_values import domain_states, missing_rows, section_views
from pagefold.engine.dashboard.product_verdict import verdict_of
from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.target_views import ProductDelivery, delivery_of
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.http.problems import Problem, invalid, no_channel
from pagefold.engine.reading.moments import parse_at
from pagefold.engine.runtime import clock
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku, sku_error

EVENTS_LISTED = 20
EVENTS_IN_LANES = 300
MAX_SECONDS = 253_402_300_799
"""The last second of the year 9999."""


class ProductQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the page is shown, at which moment, and what of its past and its other channels.

    `at` is a position of the log or a time; `moment` the seconds since the epoch that the slider sends. `before` is the
    position before which the history continues. `confirm` says that a delivery to a `target` is being confirmed.
    """

    format: Literal["html", "json"] = "html"
    at: Annotated[str, msgspec.Meta(max_length=64)] = ""
    moment: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    span: Literal["1h", "24h", "7d", "30d", "all"] | None = None
    before: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    fields: Literal["all", "differing"] = "differing"
    values: Literal["all", "absent"] = "all"
    confirm: Literal["deliver", ""] = ""
    target: Annotated[str, msgspec.Meta(max_length=64)] = ""


async def show(visit: Visit) -> Response:
    """The page of a product in a channel; also where there is none, with the reason."""
    query, channel, sku = visit.query(ProductQuery), visit.path["channel"], normalise_sku(visit.path["sku"])
    shop = visit.shop
    if query.moment is not None:
        return visit.redirect(visit.address_with(moment=None, at=iso_text(moment_of(query.moment))) + "#history")
    if not is_storable_sku(sku) and (fault := sku_error(sku)) is not None:
        raise Problem(404, f"this cannot be a SKU: {fault}")
    stored = await shop.pages.get_json(sku, channel, disabled=True)
    page: dict[str, Any] | None = None if stored is None else orjson.loads(stored)
    past = await _past(visit, sku, channel, page)
    if channel not in shop.applied.config.channels and (past is None or past.page is None):
        raise no_channel()
    if query.format == "json":
        return _as_json(visit, page if past is None else past.page)
    why = await _why(visit, sku, channel, is_stored=page is not None)
    return await visit.page(
        "product",
        sku=sku,
        channel=channel,
        page=page,
        past=past,
        facts=facts_of(page),
        query=query,
        deliveries=await _deliveries(visit, sku, channel),
        **why,
        **await _history(visit, sku, past),
    )


def _as_json(visit: Visit, page: dict[str, Any] | None) -> Response:
    if page is None:
        raise Problem(404, "this channel has no such page")
    return visit.data(page)


async def _past(visit: Visit, sku: str, channel: str, page: Mapping[str, Any] | None) -> PastPage | None:
    """The page as it was, if a moment is asked for."""
    text = visit.query(ProductQuery).at
    if not text:
        return None
    try:
        at = parse_at(text)
    except ValueError as error:
        raise invalid("at", str(error)) from None
    return await read_past(visit.shop, sku, channel, at, page)


async def _deliveries(visit: Visit, sku: str, channel: str) -> list[ProductDelivery]:
    """What each target holds of the product: of this channel first."""
    if not visit.wants("deliveries") or not is_storable_sku(sku):
        return []
    found = [delivery_of(each) for each in await visit.shop.targets.receipts(sku)]
    return sorted(found, key=lambda each: each.receipt.channel != channel)


async def _why(visit: Visit, sku: str, channel: str, *, is_stored: bool) -> dict[str, Any]:
    """What decides the page now; nothing of a channel that the configuration no longer has."""
    shop = visit.shop
    config = shop.applied.config
    found: dict[str, Any] = {"why": None, "sections": [], "domains": [], "verdict": None, "missing": []}
    if visit.wants("channels"):
        everything = visit.query(ProductQuery).fields == "all"
        found["compared"] = await read_channels(shop.pages, config, sku, everything=everything)
    if channel in config.channels:
        why = await shop.why(sku, channel)
        sections = section_views(why)
        found |= {"why": why, "sections": sections, "domains": domain_states(why), "missing": missing_rows(sections)}
        found["verdict"] = verdict_of(why, sections, is_stored=is_stored)
    return found


async def _history(visit: Visit, sku: str, past: PastPage | None) -> dict[str, Any]:
    """The newest events, or those before a position, and the lanes with the slider."""
    query, log, now = visit.query(ProductQuery), visit.shop.store.log, clock.moment()
    if not visit.wants("history"):
        return {}
    newest = await read_timeline(log, sku, None, EVENTS_IN_LANES)
    timeline = await read_timeline(log, sku, query.before, EVENTS_LISTED)
    at = None if past is None else _moment_of(past, newest)
    lanes = lanes_of(newest.entries, query.span, now, at)
    return {"timeline": timeline, "lanes": lanes, "moment": at, "slider": seconds_of(at or now)}


def _moment_of(past: PastPage, newest: Timeline) -> datetime | None:
    """The time that is looked at: of a position, when the event was received that was the newest one then."""
    if isinstance(past.at, datetime):
        return past.at
    return next((entry.recorded_at for entry in newest.entries if entry.position <= past.position), None)


SCREEN = Screen("product", "Product", "n-page", None, [shown_at("/ui/pages/{channel}/{sku}", show, ProductQuery)])
