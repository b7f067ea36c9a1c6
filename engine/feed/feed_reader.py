"""Reads the pages that changed after a cursor, one step at a time.

A step names every page that changed between two cursors, and reads its newest state. It finds them in the log, up to
the position that every domain has folded, and among the indirect changes. Pages are read after that, so that no change
is missed: whatever is committed later is after the new cursor. A page may be named that did not change.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.applied.applied_log import NEVER
from pagefold.engine.errors import FeedReset, PagesUnfolded, ReadTooLarge
from pagefold.engine.feed.feed_cursor import MARK_BYTES, FeedCursor, Walk, Witness
from pagefold.engine.feed.layout_changes import LayoutHistory
from pagefold.engine.feed.page_change import EVERYTHING, FeedSelection, FeedStep, PageChange
from pagefold.engine.reading.page_reader import PageReader, PageState
from pagefold.engine.reading.page_tags import tag_of
from pagefold.engine.stores.feed_records import FoldedState, IndirectChange, LogEnd, NotedPlace
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import EVERY_CHANNEL, NotAStreamError, parse_stream_id

NAMES = tuple(domain.name for domain in DOMAINS)

STEP_CHANGES = 4_000
"""Changes of a step, unless one SKU has more pages."""

WINDOW_EVENTS = 10_000
"""Events of the log that are read in a step at least, if few of them are wanted; and at a time at most."""

NOTES = 50
"""Indirect changes that are read at a time."""

CHUNK_PAGES = 200
CHUNK_BYTES = 16 * 1024 * 1024
"""Pages, and bytes of the sections of their SKUs, that are read at a time: others run between."""

DOCUMENT_BYTES = 4 * 1024 * 1024
"""Bytes of the pages in a step, unless one SKU has more."""

LAST_BEFORE_SURROGATES, LAST_SURROGATE = 0xD7FF, 0xDFFF

FAR_BEHIND_EVENTS = 10_000
"""Events that consumers are behind the end of the log, from which on followers leave them more of the time."""

FOLLOWING_SHARE, MAX_REST_SECONDS = 40, 5.0
"""While they are, a follower rests so many times as long as its last step took, but no longer than this."""

MAX_COMBINATIONS = 64
"""Combinations of domains that are kept in order."""

REPLACED = "the log was replaced by another one, or by an older copy, since"
OUTDATED = "it is older than what is kept of indirect changes, or the pages were replaced since"


class _Found(NamedTuple):
    """The pages that a step names, each with the domains that changed it, and the cursor after them."""

    pages: Mapping[tuple[str, str], Collection[str]]
    cursor: FeedCursor
    up_to_date: bool


class _TooLarge(Exception):
    """The pages of a step have too many bytes."""


class FeedReader:
    """Reads changes of the pages of one store. Holds nothing of a follower: that is in its cursor."""

    def __init__(self, store: Store, applied: AppliedConfiguration, pages: PageReader) -> None:
        self._store = store
        self._feed = store.feed
        self._applied = applied
        self._pages = pages
        self._layouts = LayoutHistory(applied)

    async def start(self, *, replay: bool) -> FeedCursor:
        """The cursor before every page that there is, or, without `replay`, after it: before what changes from now on.

        A replay names every page once. What it does not name until `replaying` is over does not exist.
        """
        number = self._applied.number
        state = await self._feed.state(NAMES)
        end = await self._feed.log_end(0)
        walk = Walk("", None, number) if replay else None
        position = min(state.position, end.end)
        return FeedCursor(end.log_id, position, _witness(end), number, dict(state.noted), walk)

    async def refresh(self) -> None:
        """Takes the configuration that counts now."""
        if await self._applied.log.newest_number() != self._applied.number:
            await self._applied.refresh()

    async def gone_channels(self, cursor: FeedCursor) -> frozenset[str]:
        """The channels that a follower may have pages of, and that are no more."""
        shown = cursor.number if cursor.walk is None or cursor.walk.shown is None else cursor.walk.shown
        return (await self._layouts.change(shown)).gone

    async def is_unchanged(self, cursor: FeedCursor) -> bool:
        """Whether there is nothing after a cursor, at one read."""
        state, number = await self._feed.state(NAMES), self._applied.number
        read = FoldedState(cursor.position, cursor.noted)
        return cursor.walk is None and (state, number) == (read, cursor.number)

    async def step(
        self,
        cursor: FeedCursor,
        selection: FeedSelection = EVERYTHING,
        *,
        limit: int = STEP_CHANGES,
        documents: bool = False,
    ) -> FeedStep:
        """The next changes that are wanted, about `limit`, or the pages of one SKU. With `documents`, they have pages.

        There may be none, and the cursor moves all the same. It belongs to the selection: for another one, start again.
        Raises `FeedReset` if the cursor is of another log, or too old: start a replay then. Raises `PagesUnfolded`
        while pages are folded again, as in a recovery.
        """
        while True:
            state, number = await self._feed.state(NAMES), self._applied.number
            found = await self._find(cursor, state, number, selection, limit)
            try:
                changes = await self._changes(found, state.position, limit, documents=documents)
            except _TooLarge:
                limit = max(limit // 4, 1)
                continue
            after = await self._confirmed(cursor, found.cursor)
            if cursor.is_replay:  # who has no pages need not know of those that do not exist
                changes = [change for change in changes if change.updated_at is not None]
            folding = after.witness.position - state.position > FAR_BEHIND_EVENTS
            return FeedStep(changes, after, found.up_to_date, after.is_replay, folding)

    # --- which pages ---------------------------------------------------------------------------------

    async def _find(
        self, cursor: FeedCursor, state: FoldedState, number: int, selection: FeedSelection, limit: int
    ) -> _Found:
        if cursor.walk is None and cursor.number != number:
            change = await self._layouts.change(cursor.number)
            walk = Walk("", cursor.number, number) if change.changed or change.gone else None
            cursor = msgspec.structs.replace(cursor, walk=walk, number=cursor.number if walk else number)
        if cursor.walk is None:
            return await self._find_changed(cursor, state, selection, limit)
        if not cursor.walk.ends:
            return await self._find_walking(cursor, cursor.walk, selection, limit)
        return await self._end_walk(cursor, cursor.walk, state, selection, limit)

    async def _find_walking(self, cursor: FeedCursor, walk: Walk, selection: FeedSelection, limit: int) -> _Found:
        """The pages of the next SKUs. Who has pages already gets the ones that may differ, and those that are gone."""
        every = list(self._applied.config.channels)
        if walk.shown is None:
            channels = selection.wanted(every)
        else:
            change = await self._layouts.change(walk.shown)
            channels = selection.wanted(change.changed | change.gone)
        after = max(walk.after, _before(selection.prefix))
        read = max(limit // max(len(channels), 1), 1)
        skus = await self._store.pages.page_skus(after, read) if channels else []
        wanted = [sku for sku in skus if selection.has_sku(sku)]
        pages = {(sku, channel): NAMES for sku in wanted for channel in channels}
        rest: Walk | None = msgspec.structs.replace(walk, after=skus[-1] if skus else after)
        if len(skus) < read or not (selection.has_sku(skus[-1]) or skus[-1] < selection.prefix):
            rest = None if walk.shown is None else msgspec.structs.replace(walk, ends=True)
        return _Found(pages, _walked(cursor, walk, rest), up_to_date=False)

    async def _end_walk(
        self, cursor: FeedCursor, walk: Walk, state: FoldedState, selection: FeedSelection, limit: int
    ) -> _Found:
        """What has changed since the walk began. A SKU that had pages only in channels that are gone is noted at most.

        So pages of channels that are gone are withdrawn, too, until all indirect changes were read.
        """
        gone = (await self._layouts.change(NEVER if walk.shown is None else walk.shown)).gone
        everywhere = msgspec.structs.replace(selection, domains=None)
        found = await self._find_changed(cursor, state, everywhere, limit, selection.wanted(gone))
        if not found.up_to_date:
            return found
        return found._replace(cursor=_walked(found.cursor, walk, None), up_to_date=False)

    async def _find_changed(
        self,
        cursor: FeedCursor,
        state: FoldedState,
        selection: FeedSelection,
        limit: int,
        gone: Sequence[str] = (),
    ) -> _Found:
        """The pages of the next events and indirect changes, also in channels that are gone."""
        if state.position < cursor.position:  # the pages are older than what was read
            await self.confirm(cursor)  # a log that ends before the cursor never gets there
            raise PagesUnfolded
        channels = [*selection.wanted(list(self._applied.config.channels)), *gone]
        pages, position = await self._find_events(cursor.position, state.position, selection, channels, limit)
        noted = dict(cursor.noted)
        for domain, newest in _news(noted, state.noted):
            if selection.domains is not None and domain not in selection.domains:
                noted[domain] = newest
                continue
            left = (limit - len(pages)) // max(len(channels), 1)
            if left > 0 or not pages:
                skus, noted[domain] = await self._find_noted(domain, noted.get(domain), selection, max(left, 1))
                for key in ((sku, channel) for sku in skus for channel in channels):
                    pages.setdefault(key, set()).add(domain)
        is_last = position >= state.position and not _news(noted, state.noted)
        return _Found(pages, msgspec.structs.replace(cursor, position=position, noted=noted), is_last)

    async def _find_events(
        self, after: int, upto: int, selection: FeedSelection, channels: Sequence[str], limit: int
    ) -> tuple[dict[tuple[str, str], set[str]], int]:
        """The pages of the next events, about `limit`, and the position after them.

        As many events are read at a time as should give the rest, as far as is known from those before.
        """
        domains = NAMES if selection.domains is None else [name for name in NAMES if name in selection.domains]
        pages: dict[tuple[str, str], set[str]] = {}
        events, read = max(limit // max(len(channels), 1), 1), 0
        while after < upto and len(pages) < limit and read < WINDOW_EVENTS:
            window = await self._feed.window(domains, after, upto, events)
            for key, changed in _pages_of(window.streams, selection, channels).items():
                pages.setdefault(key, set()).update(changed)
            after, read = window.end, read + events
            events = max(1, min((limit - len(pages)) * read // max(len(pages), 1), 4 * read, WINDOW_EVENTS))
        return pages, after

    async def _find_noted(
        self, domain: str, place: NotedPlace | None, selection: FeedSelection, limit: int
    ) -> tuple[list[str], NotedPlace]:
        """The wanted SKUs of the next indirect changes, at most `limit`, and the place after them."""
        at = place or NotedPlace(0, "")
        notes = await self._feed.noted(domain, at.number, NOTES)
        if not notes or not _has(notes[0], at):
            raise FeedReset(OUTDATED)
        found: list[str] = []
        for number, mark, skus in notes:
            for index in range(len(skus) - (number - at.number), len(skus)):
                if len(found) == limit:
                    return found, at
                at = NotedPlace(number - len(skus) + index + 1, mark)
                if selection.has_sku(skus[index]):
                    found.append(skus[index])
        return found, at

    async def confirm(self, cursor: FeedCursor) -> LogEnd:
        """Where the log ends, if it is the one that was followed. Raises `FeedReset`."""
        end = await self._feed.log_end(cursor.witness.position)
        if end.log_id != cursor.log_id or _mark_text(end.mark_at) != cursor.witness.mark:
            raise FeedReset(REPLACED)
        return end

    async def _confirmed(self, before: FeedCursor, after: FeedCursor) -> FeedCursor:
        """The cursor after a step, whose pages were read, if the log is still the one that was followed."""
        end = await self.confirm(before)
        return msgspec.structs.replace(after, position=min(after.position, end.end), witness=_witness(end))

    # --- their state ---------------------------------------------------------------------------------

    async def _changes(self, found: _Found, position: int, limit: int, *, documents: bool) -> list[PageChange]:
        """The newest state of pages. Raises `_TooLarge` if a smaller step would do."""
        wanted: dict[str, list[str]] = {}
        for sku, channel in sorted(found.pages):
            wanted.setdefault(sku, []).append(channel)
        changes: list[PageChange] = []
        size, most = 0, max(map(len, wanted.values()), default=1)
        chunks = split_equal(list(wanted), -(-len(wanted) * most // CHUNK_PAGES))[::-1] if wanted else []
        while chunks:
            skus = chunks.pop()
            try:
                states = await self._states({sku: wanted[sku] for sku in skus}, CHUNK_BYTES if len(skus) > 1 else None)
            except ReadTooLarge as error:
                chunks += split_equal(skus, error.parts)[::-1]
                continue
            for key, state in states:
                domains = _in_order(frozenset(found.pages[key]))
                changes.append(_change(key, state, position, domains, documents=documents))
                size += len(state.document or b"") if documents else 0
            if size > DOCUMENT_BYTES and len(wanted) > 1 and limit > 1:
                raise _TooLarge
        return changes

    async def _states(
        self, wanted: Mapping[str, Collection[str]], max_bytes: int | None
    ) -> list[tuple[tuple[str, str], PageState]]:
        rows = await self._store.pages.sections_in(wanted, max_bytes=max_bytes)
        keys = [(sku, channel) for sku, channels in wanted.items() for channel in channels]
        return [(key, self._pages.state_of(*key, rows.get(key, ()))) for key in keys]


def rest_seconds(step: FeedStep, took: float) -> float:
    """How long to rest after a step that took some seconds, so that consumers that are far behind catch up first."""
    return min(FOLLOWING_SHARE * took, MAX_REST_SECONDS) if step.folding and not step.replaying else 0.0


def _walked(cursor: FeedCursor, walk: Walk, rest: Walk | None) -> FeedCursor:
    """The cursor after a part of a walk, and with the rest of it."""
    return msgspec.structs.replace(cursor, walk=rest, number=cursor.number if rest else walk.number)


def _change(
    key: tuple[str, str], state: PageState, position: int, domains: tuple[str, ...], *, documents: bool
) -> PageChange:
    document, ready, updated_at = state
    page: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET
    if documents:
        page = None if document is None else msgspec.Raw(document)
    tag = None if document is None else tag_of(document)
    return PageChange(*key, "disabled" if tag is None else "live", ready, tag, position, domains, updated_at, page)


@lru_cache(MAX_COMBINATIONS)
def _in_order(domains: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name in domains)


def _pages_of(
    streams: Iterable[str], selection: FeedSelection, channels: Sequence[str]
) -> dict[tuple[str, str], set[str]]:
    """The pages that events of some streams may change, with the domains of these events."""
    pages: dict[tuple[str, str], set[str]] = {}
    for name in streams:
        try:
            stream = parse_stream_id(name)
        except NotAStreamError:  # an application's, whose topic is the name of a domain
            continue
        if not selection.has_sku(stream.sku):
            continue
        for channel in channels if stream.channel == EVERY_CHANNEL else [stream.channel]:
            if channel in channels:
                pages.setdefault((stream.sku, channel), set()).add(stream.domain)
    return pages


def _news(noted: Mapping[str, NotedPlace], newest: Mapping[str, NotedPlace]) -> list[tuple[str, NotedPlace]]:
    """The domains that have newer indirect changes than some, and the newest. Raises `FeedReset` if they have older."""
    for domain, place in noted.items():
        if domain not in newest or newest[domain].number < place.number:
            raise FeedReset(OUTDATED)
    return [(domain, place) for domain, place in newest.items() if domain in NAMES and noted.get(domain) != place]


def _has(note: IndirectChange, place: NotedPlace) -> bool:
    """Whether a note is the one of a place, or the first of all, before which nothing was noted."""
    first = note.number - len(note.skus)
    return first == 0 if place.number == 0 else first < place.number <= note.number and note.mark == place.mark


def _before(prefix: str) -> str:
    """A text before every SKU that begins with a prefix, and after every other one that sorts before these."""
    if not prefix:
        return ""
    before = ord(prefix[-1]) - 1
    return prefix[:-1] + chr(LAST_BEFORE_SURROGATES if before == LAST_SURROGATE else before) + chr(sys.maxunicode)


def _witness(end: LogEnd) -> Witness:
    return Witness(end.end, _mark_text(end.mark))


def _mark_text(mark: bytes | None) -> str:
    return "" if mark is None else mark[:MARK_BYTES].hex()
