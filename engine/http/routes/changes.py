"""The change feed: pages that changed after a cursor, at once, as soon as there are any, or as a stream of events."""

import time
from functools import partial
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from pagefold.engine.errors import UnknownCursor
from pagefold.engine.feed.change_feed import Follower
from pagefold.engine.feed.feed_cursor import MAX_CURSOR_CHARACTERS, FeedCursor
from pagefold.engine.feed.page_change import FeedSelection, PageChange
from pagefold.engine.http.followers import EVENT_STREAM, EventStream, LongPoll
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import invalid
from pagefold.engine.http.routes.history import DomainName
from pagefold.engine.http.routing import Call, HeaderField, ResponseSpec, Route
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections import normalise_sku
from pagefold.projections.streams import MAX_SKU_CHARACTERS

MAX_CHANGES = 1_000
MAX_WAIT_SECONDS = 60

READ_SECONDS = 1.0
"""How long a request reads on if nothing of what it has read is wanted."""

STREAM_PAGES = 10
"""Pages that a stream of events with pages reads at a time: they are held until the client has read them."""

NO_FEED_CURSOR = "is not a cursor; pass 0, now, or the `cursor` of an answer"

ChannelName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ChangesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages: after a cursor, `0` (all) or `now`; of some channels and domains, both repeatable; with a prefix.

    `wait` is for how many seconds an answer may wait for changes. With `include=page`, changes have the pages.
    """

    after: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CURSOR_CHARACTERS)] = "0"
    channel: Annotated[list[ChannelName], msgspec.Meta(max_length=100)] = []
    prefix: Annotated[str, msgspec.Meta(max_length=MAX_SKU_CHARACTERS)] = ""
    domain: Annotated[list[DomainName], msgspec.Meta(max_length=10)] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHANGES)] = 500
    wait: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0.0
    include: Literal["page"] | None = None


class ChangeList(msgspec.Struct, frozen=True, rename="camel"):
    """Changes, and the cursor for the next request, also where there are none.

    `up_to_date`: there are no more by now. `replaying`: not every page was named yet since `after=0`.
    """

    changes: list[PageChange]
    cursor: str
    up_to_date: bool
    replaying: bool


async def changes(call: Call) -> Response:
    """The pages that changed."""
    query = call.query(ChangesQuery)
    streams = _wants_events(call)
    after = (call.header("last-event-id") if streams else None) or query.after
    feed, documents = call.service.shop.feed, query.include is not None
    try:
        cursor = await with_timeout(feed.resolve(after))
    except UnknownCursor:
        raise invalid("after", NO_FEED_CURSOR) from None
    selection = await _selection(call, query, cursor)
    if streams:
        limit = STREAM_PAGES if documents else MAX_CHANGES
        follower = Follower(feed, cursor, selection, documents=documents, limit=limit)
        return EventStream(call, follower, await with_timeout(follower.step()), replays=cursor.is_replay)
    follower = Follower(feed, cursor, selection, limit=query.limit)
    found = await read_changes(follower)
    if not found.changes and query.wait:
        return LongPoll(call, follower, query.wait, partial(_answer, call, query, selection), read_changes)
    return await _answer(call, query, selection, cursor, found)


async def read_changes(follower: Follower) -> ChangeList:
    """The next changes. Reads for a moment until there are any that are wanted."""
    deadline = time.monotonic() + READ_SECONDS
    while True:
        step = await with_timeout(follower.step())
        if step.changes or step.up_to_date or time.monotonic() > deadline:
            return ChangeList(step.changes, str(step.cursor), step.up_to_date, step.replaying)


async def _answer(
    call: Call, query: ChangesQuery, selection: FeedSelection, before: FeedCursor, found: ChangeList
) -> Response:
    """The answer with what was found after a cursor. With pages, it is read again, and few at a time are sent."""
    if query.include is None or not found.changes:
        return reply(found)
    follower = Follower(call.service.shop.feed, before, selection, documents=True, limit=query.limit)

    async def read() -> bytes:
        return msgspec.json.encode(await read_changes(follower))

    return await call.service.large_answers.answer(read)


def _wants_events(call: Call) -> bool:
    return any(each.partition(";")[0].strip() == EVENT_STREAM for each in (call.header("accept") or "").split(","))


async def _selection(call: Call, query: ChangesQuery, cursor: FeedCursor) -> FeedSelection:
    """What is wanted. A channel may be gone, as long as the follower does not know it. Raises `Problem`."""
    wanted = frozenset(query.channel)
    if unknown := wanted.difference(call.service.shop.applied.config.channels):
        unknown -= await with_timeout(call.service.shop.feed.reader.gone_channels(cursor))
    if unknown:
        raise invalid("channel", f"unknown channel {min(unknown)!r:.80}")
    return FeedSelection(wanted or None, normalise_sku(query.prefix), frozenset(query.domain) or None)


ROUTES = (
    Route(
        "GET",
        "/v1/changes",
        changes,
        "getChanges",
        "Follow the pages that change, each in its newest state",
        scope="read",
        query=ChangesQuery,
        headers=[
            HeaderField("Accept", f"`{EVENT_STREAM}` gives a stream of events instead of one answer."),
            HeaderField("Last-Event-ID", "The cursor to go on from, of the last event of a stream."),
        ],
        answers=[
            ResponseSpec(200, "The next changes, and the cursor after them; or a stream of them", ChangeList),
        ],
        problems={410: "The cursor cannot be continued: start again from 0"},
    ),
)
