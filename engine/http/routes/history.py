"""The history of an SKU: what each source sent, when, and the fields that it changed."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.domains import DOMAINS
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.past_reads import given_view
from pagefold.engine.http.problems import NO_CURSOR, invalid
from pagefold.engine.http.routing import Call, ResponseSpec, Route
from pagefold.engine.reading.history import Cursor, HistoryEntry, history_chunk
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku, sku_error

MAX_ENTRIES = 500
DomainName = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(domain.name for domain in DOMAINS)})$")]

_cursor = msgspec.json.Decoder(Cursor)
_alphabet = re.compile(r"[A-Za-z0-9_-]{1,1024}", re.ASCII)


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries: of a channel (`*` for events of every channel), of a domain, after a cursor.

    `at` shows them as they were at a position of the log or a time (RFC 3339).
    """

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    domain: DomainName | None = None
    after: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ENTRIES)] = 100
    at: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class HistoryList(msgspec.Struct, frozen=True):
    """One chunk of entries, by stream and version; `next` is the cursor of the next, null at the end.

    A chunk may be short or empty although more follow: a request examines a limited number of entries.
    """

    items: list[HistoryEntry]
    next: str | None


async def history(call: Call) -> Response:
    """The history of an SKU; empty if it has no events."""
    query = call.query(HistoryQuery)
    sku = normalise_sku(call.path["sku"])
    if not is_storable_sku(sku) and (fault := sku_error(sku)) is not None:
        raise invalid("sku", fault)
    after = None if query.after is None else _read(query.after)
    as_of = None
    if query.at is not None:
        as_of = (await given_view(call.service, query.at)).moment.position
    chunk = history_chunk(
        call.service.shop.store,
        sku,
        channel=query.channel,
        domain=query.domain,
        after=after,
        limit=query.limit,
        as_of=as_of,
    )
    items, reached = await with_timeout(chunk)
    items = await with_timeout(call.service.shop.completeness_history.marked(sku, items))
    return reply(HistoryList(items, None if reached is None else _write(reached)))


def _write(cursor: Cursor) -> str:
    return urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _read(text: str) -> Cursor:
    try:
        if _alphabet.fullmatch(text) is not None:
            return _cursor.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        pass
    raise invalid("after", NO_CURSOR)


ROUTES = (
    Route(
        "GET",
        "/v1/skus/{sku}/history",
        history,
        "getHistory",
        "Show the history of an SKU, field by field",
        scope="read",
        private=True,
        query=HistoryQuery,
        answers=[ResponseSpec(200, "One chunk, and the cursor of the next", HistoryList)],
    ),
)
