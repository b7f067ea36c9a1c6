"""Follows the feed for one target, and notes what the target is to hold of each page that changed.

It reads behind the consumers, and never makes them wait. What it notes is stored with its place in the feed, so that
nothing is missed or noted twice, whatever crashes.

A target begins with every page. When its table gets another selection or other documents, or when the log was restored,
it begins with every page again: what is delivered is what then differs from the receipts, or everything, since after a
restored log receipts prove nothing. After every page, the rows of pages that were not named are swept.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import anyio
import msgspec

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import (
    NOTHING,
    Document,
    MakeDocument,
    document_identity,
    document_maker,
)
from pagefold.engine.errors import FeedReset, UnknownCursor
from pagefold.engine.feed.feed_cursor import FeedCursor
from pagefold.engine.feed.feed_reader import NAMES, FeedReader, rest_seconds
from pagefold.engine.feed.page_change import FeedSelection, PageChange
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.delivery_records import FIRST_KEY, DeliveryKey, StoredDelivery, Wanted
from pagefold.engine.stores.store import Store

STEP_PAGES = 1_000
SWEPT_ROWS = 500
RESET_ROWS = 5_000

GROUPED = "grouped"
"""The cursor of a target that is in a group, and has no marker."""

UNMARKED = "-"
"""The tag of no document: the page's own is marked next."""

log = Logger(__name__)


class MarkerPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a marker stands, as it is stored.

    `identity` is that of the target's documents. `swept` is the last row that was swept, while rows are; `sweeps`:
    they are, once every page was named. `resets`: receipts prove nothing, so that also withdrawals are sent of which
    there is no receipt.
    """

    identity: str
    feed: str
    sweeps: bool = True
    swept: DeliveryKey | None = None
    resets: bool = False


_place = msgspec.json.Decoder(MarkerPlace)


class Marking(NamedTuple):
    """What is noted of pages: which channels, and which document. `identity` changes when one of these does.

    `needs_pages`: the tag of the document is not that of the page.
    """

    channels: frozenset[str] | None
    identity: str
    needs_pages: bool
    make: MakeDocument


def marking_of(target: TargetConfig) -> Marking:
    """What is noted for a target."""
    channels = frozenset(target.channels) or None
    needs_pages = bool(target.fields or target.ready or target.filters or target.contract)
    return Marking(channels, document_identity(target), needs_pages, document_maker(target))


class Marker:
    """The marker of one target, or of a group. One process at a time marks; `step` finds out if another one does.

    The receipts of `members`, the targets of a group, are reset with its own.
    """

    def __init__(
        self,
        name: str,
        marking: Marking,
        store: Store,
        feed: FeedReader,
        pages: PageReader,
        members: Sequence[str] = (),
    ) -> None:
        self._name, self._members = name, members
        self._deliveries = store.deliveries
        self._store_feed = store.feed
        self._feed, self._pages = feed, pages
        self._channels, self._identity, self._needs_pages, self._make = marking
        self._selection = FeedSelection(channels=self._channels)
        self.rest_seconds = 0.0

    async def step(self) -> bool:
        """Notes what changed next; False if there was nothing. Raises `StoreError`.

        The next step had better wait for `rest_seconds`: consumers that are far behind come first.
        """
        began_at, self.rest_seconds = time.monotonic(), 0.0
        before = await self._deliveries.cursor(self._name)
        if before == GROUPED:
            await self._take_over(before)
        place = _parsed(before)
        if place is None or place.identity != self._identity:
            return await self._begin(before, resets=place is not None and place.resets)
        if place.swept is not None:
            return await self._sweep(before, place, place.swept)
        for name in (self._name, *self._members):
            while await self._deliveries.reset_step(name, RESET_ROWS):
                await anyio.lowlevel.checkpoint()
        try:
            cursor = FeedCursor.parse(place.feed)
            if not place.sweeps and await self._feed.is_unchanged(cursor):
                return False
            step = await self._feed.step(cursor, self._selection, limit=STEP_PAGES, documents=self._needs_pages)
        except (FeedReset, UnknownCursor) as error:
            log.warning("the log is another one: everything is delivered again", target=self._name, error=str(error))
            for name in (self._name, *self._members):
                await self._deliveries.reset(name)
            return await self._begin(before, resets=True)
        wanted = [self._wanted(change) for change in step.changes]
        swept = FIRST_KEY if place.sweeps and not step.replaying else None
        after = msgspec.structs.replace(place, feed=str(step.cursor), sweeps=step.replaying, swept=swept)
        await self._mark(before, after, wanted)
        self.rest_seconds = rest_seconds(step, time.monotonic() - began_at)
        return bool(wanted) or not step.up_to_date

    async def _take_over(self, before: str) -> None:
        """Forgets what a group has placed and not delivered: the target is in it no more."""
        after = FIRST_KEY
        while rows := await self._deliveries.rows(self._name, after, SWEPT_ROWS):
            after = DeliveryKey(rows[-1].sku, rows[-1].channel)
            unsent = [row for row in rows if row.state != "current"]
            wanted = [Wanted(row.sku, row.channel, UNMARKED, row.wanted_position) for row in unsent]
            await self._deliveries.mark(self._name, before, before, wanted)

    async def _begin(self, before: str, *, resets: bool) -> bool:
        """Starts with every page."""
        cursor = await self._feed.start(replay=True)
        await self._mark(before, MarkerPlace(self._identity, str(cursor), resets=resets), [])
        return True

    async def _sweep(self, before: str, place: MarkerPlace, swept: DeliveryKey) -> bool:
        """Notes what is to be held of pages that have rows: some may be gone, or not be for this target any more."""
        rows = await self._deliveries.rows(self._name, swept, SWEPT_ROWS)
        position = (await self._store_feed.state(NAMES)).position
        documents = await self._documents(rows)
        wanted = [
            Wanted(row.sku, row.channel, documents.get((row.sku, row.channel), NOTHING).tag, position) for row in rows
        ]
        last = DeliveryKey(rows[-1].sku, rows[-1].channel) if len(rows) == SWEPT_ROWS else None
        resets = place.resets and last is not None
        await self._mark(before, msgspec.structs.replace(place, swept=last, sweeps=False, resets=resets), wanted)
        return True

    async def _documents(self, rows: Sequence[StoredDelivery]) -> Mapping[tuple[str, str], Document]:
        found = {}
        for channel, skus in _by_channel(rows).items():
            if self._channels is None or channel in self._channels:
                pages = await self._pages.get_many_json(skus, channel)
                found.update({(sku, channel): self._make(page) for sku, page in pages.items()})
        return found

    def _wanted(self, change: PageChange) -> Wanted:
        if not self._needs_pages:
            return Wanted(change.sku, change.channel, change.tag or NOTHING.tag, change.position)
        page = bytes(change.page) if isinstance(change.page, msgspec.Raw) else None
        return Wanted(change.sku, change.channel, self._make(page).tag, change.position)

    async def _mark(self, before: str, after: MarkerPlace, wanted: Sequence[Wanted]) -> None:
        """Another marker may have been faster: then its place counts, where the next step begins."""
        text = msgspec.json.encode(after).decode()
        if text == before and not wanted:
            return
        await self._deliveries.mark(self._name, before, text, wanted, unsent_withdrawals=after.resets)


def _parsed(text: str) -> MarkerPlace | None:
    """The place; None for a target that has none, or one of another version."""
    if not text:
        return None
    try:
        return _place.decode(text)
    except msgspec.MsgspecError:
        return None


def _by_channel(rows: Iterable[StoredDelivery]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.channel, []).append(row.sku)
    return found
