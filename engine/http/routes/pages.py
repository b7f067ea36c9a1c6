"""Pages: one, up to some hundred at once, and a channel's list for operators."""

from functools import partial
from typing import Annotated, Literal

import msgspec
import orjson
from starlette.responses import Response

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.past_reads import given_view
from pagefold.engine.http.problems import invalid, no_channel, no_page
from pagefold.engine.http.routing import JSON_TYPE, Call, HeaderField, ResponseSpec, Route
from pagefold.engine.reading.page_reader import PageSummary
from pagefold.engine.reading.past_pages import View
from pagefold.engine.runtime.store_timeout import with_timeout

MAX_SKUS = 500
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""Bytes of the pages of one response together."""

MAX_CONCURRENT_BYTES = 1024 * 1024
"""Larger requests take turns, and each response is sent before the next is read."""

MAX_LISTED = 500
MAX_EXAMINED = 2_000
"""SKUs that one list request examines when a filter excludes most of them."""

MAX_TEXT_LENGTH = 256

MomentText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_LENGTH)]

PageDocument = msgspec.defstruct(
    "PageDocument",
    [
        ("sku", str),
        ("channel", str),
        ("status", Literal["live", "disabled"]),
        ("ready", bool),
        ("readiness", dict[str, bool]),
        ("sourceVersions", dict[str, int]),
        ("updatedAt", str),
        *((domain.name, dict[str, object] | None) for domain in DOMAINS),
    ],
)
"""A page as spliced; the sections' stored bytes are not decoded."""


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When: at a position of the log, or at a time (RFC 3339). Absent: now."""

    at: MomentText | None = None


class BatchGetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pages that are requested, as they are, or were at a position of the log or a time (RFC 3339)."""

    channel: Text
    skus: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_SKUS)]
    at: Annotated[int, msgspec.Meta(ge=0)] | MomentText | None = None


class BatchGetResult(msgspec.Struct, frozen=True):
    """The pages found, by SKU as requested, and the SKUs without a visible page."""

    found: dict[str, PageDocument]  # type: ignore[valid-type]  # the domains are known at import only
    missing: list[str]


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages are listed: after an SKU, ready or not, live or not."""

    after: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_LENGTH)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100
    ready: bool | None = None
    status: Literal["live", "disabled"] | None = None


class PageList(msgspec.Struct, frozen=True):
    """One chunk of pages, by SKU; `next` is the cursor of the next, null at the end.

    A chunk may be short or empty although more follow: a request examines a limited number of SKUs.
    """

    items: list[PageSummary]
    next: str | None


async def one(_call: Call) -> Response:
    """One page. `page_reads.py` answers it before the router; this route only describes it."""
    raise no_page()


async def batch(call: Call) -> Response:
    """Up to some hundred pages with one query, spliced into one document without decoding."""
    wanted = await call.json(BatchGetRequest)
    view = None if wanted.at is None else await given_view(call.service, str(wanted.at))
    _check_channel(wanted.channel, call.service.shop.applied.config if view is None else view.config)
    try:
        return reply(await with_timeout(_found(call, wanted, view, MAX_CONCURRENT_BYTES)))
    except ReadTooLarge:
        pass
    try:
        return await call.service.large_answers.answer(partial(_found, call, wanted, view, MAX_RESPONSE_BYTES))
    except ReadTooLarge as error:
        reason = f"their pages have {error.size} bytes together; at most {MAX_RESPONSE_BYTES} are allowed"
        raise invalid("skus", reason) from None


async def _found(call: Call, wanted: BatchGetRequest, view: View | None, max_bytes: int) -> bytes:
    """The document with the pages. Raises `ReadTooLarge`."""
    shop = call.service.shop
    if view is None:
        found = await shop.pages.get_many_json(wanted.skus, wanted.channel, max_bytes=max_bytes)
    else:
        found = await shop.past.get_many_json(wanted.skus, wanted.channel, view, max_bytes=max_bytes)
    call.service.traffic.reads += len(found)
    missing = [sku for sku in dict.fromkeys(wanted.skus) if sku not in found]
    parts = [part for sku, body in found.items() for part in (b",", orjson.dumps(sku), b":", body)][1:]
    return b"".join([b'{"found":{', *parts, b'},"missing":', orjson.dumps(missing), b"}"])


async def listing(call: Call) -> Response:
    """Lists the state of a channel's pages, by SKU."""
    query, channel = call.query(ListQuery), call.path["channel"]
    _check_channel(channel, call.service.shop.applied.config)
    looked_at = query.limit if query.ready is None and query.status is None else MAX_EXAMINED
    listed = await with_timeout(call.service.shop.pages.list_pages(channel, query.after, looked_at))
    items = [page for page in listed if _is_wanted(page, query)]
    if len(items) > query.limit:
        items = items[: query.limit]
        return reply(PageList(items, items[-1].sku))
    return reply(PageList(items, listed[-1].sku if len(listed) == looked_at else None))


def _is_wanted(page: PageSummary, query: ListQuery) -> bool:
    if page.status == "absent":
        return False
    return query.ready in (None, page.ready) and query.status in (None, page.status)


def _check_channel(channel: str, config: Config) -> None:
    if channel not in config.channels:
        raise no_channel()


OF_A_PAGE = (
    HeaderField("ETag", "Changes whenever the page's bytes change."),
    HeaderField(
        "Cache-Control",
        "How long the page is fresh, at most until the next change of a scheduled price; for ever, as it was.",
    ),
)
NO_PAGE = {
    400: "`at` is no position and no time, or the path is not UTF-8",
    404: "The channel or page does not exist, or the page is disabled and was never live",
    410: "The page is disabled and was live",
}

ROUTES = (
    Route(
        "GET",
        "/v1/pages/{channel}/{sku}",
        one,
        "getPage",
        "One page, with its entity tag and its channel's cache time, as it is or was",
        scope="read",
        query=PageQuery,
        headers=[HeaderField("if-none-match", "Entity tags that the client has, or `*`.")],
        answers=[
            ResponseSpec(200, "The page", PageDocument, headers=OF_A_PAGE),
            ResponseSpec(304, "The page has a tag of `If-None-Match`", headers=OF_A_PAGE),
        ],
        problems=NO_PAGE,
    ),
    Route(
        "POST",
        "/v1/pages:batchGet",
        batch,
        "batchGetPages",
        f"Up to {MAX_SKUS} pages of a channel",
        scope="read",
        bodies={JSON_TYPE: BatchGetRequest},
        answers=[ResponseSpec(200, "The pages found, and the SKUs without one", BatchGetResult)],
        problems={404: "Unknown channel"},
    ),
    Route(
        "GET",
        "/v1/pages/{channel}",
        listing,
        "listPages",
        "List the state of a channel's pages, by SKU",
        scope="read",
        private=True,
        query=ListQuery,
        answers=[ResponseSpec(200, "One chunk, and the cursor of the next", PageList)],
        problems={404: "Unknown channel"},
    ),
)
