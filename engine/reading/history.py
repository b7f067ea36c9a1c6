"""The history of a SKU: each event of each source, when it occurred, and what it changed."""

from collections.abc import AsyncIterator, Collection
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import JSON
from pagefold.engine.stores.event_state import DriftKind, EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import PastLog
from pagefold.engine.stores.store import Log, Store
from pagefold.projections.epochs import epoch_of, version_of
from pagefold.projections.field_changes import FieldChange, changes_between, flatten
from pagefold.projections.streams import Stream, encode_part, normalise_sku, parse_stream_id

Leaves: TypeAlias = dict[str, JSON]
"""The leaves of a document, by dotted path."""

_DOMAINS = frozenset(domain.name for domain in DOMAINS)
_state = msgspec.json.Decoder(EventState)


class HistoryEntry(msgspec.Struct, frozen=True, rename="camel"):
    """One event of the log.

    `changes` are against the version before it in its stream; `withdrawn` is a payload of null; `head` marks the
    stream's newest version. `version` is the source's own, within its `epoch`. An event of a rebuild has `run_id` and
    `drift`, the reason for it; one of an operator has the name, and the dead letter that it `corrects`. `based_on` is
    what its source had seen: a position, or versions by domain and source. An event of the catalog may have channels in
    which the page `became_complete`, or incomplete, by it: see `CompletenessHistory`.
    """

    position: int
    domain: str
    channel: str
    source: str
    version: int
    revision: int
    id: str
    occurred_at: str
    recorded_at: str
    withdrawn: bool
    head: bool
    changes: list[FieldChange]
    run_id: str | None = None
    drift: DriftKind | None = None
    operator: str | None = None
    corrects: str | None = None
    epoch: int = 0
    based_on: int | dict[str, int] | None = None
    became_complete: list[str] = []
    became_incomplete: list[str] = []


class Cursor(NamedTuple):
    """A place in the history of a SKU: one of its events."""

    stream: str
    version: int
    revision: int


MAX_EVENTS = 5_000
"""Events that `history_chunk` reads, if few of them match."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of these events together, unless the first has more."""


async def history_of(  # which events
    store: Store,
    sku: str,
    *,
    channel: str | None = None,
    domain: str | None = None,
    source: str | None = None,
    as_of: int | None = None,
) -> AsyncIterator[HistoryEntry]:
    """Every event of a SKU, by stream and version. `channel` may be `*`.

    With `as_of`, as the log was at this position: an event that was a head then is one, and what an event changed is
    against the version before it that was there.
    """
    async for step in _walk(store, sku, _Filter(channel, domain, source), as_of=as_of):
        if step.entry is not None:
            yield step.entry


async def history_chunk(  # noqa: PLR0913  # which events
    store: Store,
    sku: str,
    *,
    channel: str | None,
    domain: str | None,
    after: Cursor | None,
    limit: int,
    as_of: int | None = None,
) -> tuple[list[HistoryEntry], Cursor | None]:
    """The next entries after a cursor, up to `limit`, and the cursor of the next call: None when there are no more.

    `as_of` as in `history_of`. There are fewer, or none, when `MAX_EVENTS` or `MAX_BYTES` were read. A cursor of
    another SKU begins from the start.
    """
    entries: list[HistoryEntry] = []
    read, size, reached = 0, 0, after
    async for step in _walk(store, sku, _Filter(channel, domain), after, as_of=as_of):
        size += step.size
        is_full = step.entry is not None and len(entries) == limit
        if is_full or read == MAX_EVENTS or (read and size > MAX_BYTES):
            return entries, reached
        if step.entry is not None:
            entries.append(step.entry)
        read, reached = read + 1, step.cursor
    return entries, None


class _Step(NamedTuple):
    """An event that was read: its cursor, its entry if it matches, and its size in bytes."""

    cursor: Cursor
    entry: HistoryEntry | None
    size: int


class _Filter(NamedTuple):
    """Which events of a history to return; None matches all."""

    channel: str | None
    domain: str | None
    source: str | None = None

    def has(self, stream: Stream) -> bool:
        is_there = self.channel in (None, stream.channel) and self.domain in (None, stream.domain)
        return is_there and self.source in (None, stream.source)


async def _walk(
    store: Store, sku: str, matching: _Filter, after: Cursor | None = None, *, as_of: int | None = None
) -> AsyncIterator[_Step]:
    """Every event after a cursor. Those after the position `as_of` have no entry, as if they were not there."""
    encoded = encode_part(normalise_sku(sku))
    prefix = f"{encoded}/"
    if after is not None and not after.stream.startswith(prefix):
        after = None
    events = store.log.history(prefix, after)
    if as_of is None:
        steps = _steps(events, matching, *await _payload_at(store.log, after))
    else:
        past = PastLog(store.log, as_of)
        heads = await past.heads(await past.streams_of([encoded]))
        found = await _payload_at(store.log, after, past)
        steps = _past_steps(events, matching, *found, as_of, {head.notification_id for head in heads})
    async for step in steps:
        yield step


async def _steps(
    events: AsyncIterator[StoredEvent], matching: _Filter, stream: str, before: Leaves
) -> AsyncIterator[_Step]:
    """The steps of some events, one step late: only the next event shows whether it is a head."""
    pending: _Step | None = None
    async for event in events:
        if pending is not None:
            yield _marked(pending) if event.originator_id != stream else pending
        if event.originator_id != stream:
            stream, before = event.originator_id, {}
        entry, before = _entry(event, matching, before)
        pending = _Step(_cursor(event), entry, len(event.state))
    if pending is not None:
        yield _marked(pending)


async def _past_steps(  # as `_steps`, and what is known of the position
    events: AsyncIterator[StoredEvent],
    matching: _Filter,
    stream: str,
    before: Leaves,
    as_of: int,
    heads: Collection[int],
) -> AsyncIterator[_Step]:
    """The steps of some events. `heads` are the positions of the heads as they were."""
    async for event in events:
        entry = None
        if event.originator_id != stream:
            stream, before = event.originator_id, {}
        if event.notification_id <= as_of:
            entry, before = _entry(event, matching, before)
        step = _Step(_cursor(event), entry, len(event.state))
        yield _marked(step) if event.notification_id in heads else step


def _cursor(event: StoredEvent) -> Cursor:
    return Cursor(event.originator_id, event.originator_version, event.revision)


async def _payload_at(log: Log, after: Cursor | None, past: PastLog | None = None) -> tuple[str, Leaves]:
    """The stream of a cursor, and the payload there; with `past`, that of the newest event before it which counts."""
    if after is None:
        return "", {}
    events = await log.events_at({(after.stream, after.version)})
    found = [event for event in events if event.revision == after.revision and event.topic in _DOMAINS]
    if past is not None and found and found[0].notification_id > past.position:
        found = await past.older_events(found[0], 1)
    return after.stream, _leaves(_state.decode(found[0].state)) if found else {}


def _marked(step: _Step) -> _Step:
    return step if step.entry is None else step._replace(entry=msgspec.structs.replace(step.entry, head=True))


def _leaves(state: EventState) -> Leaves:
    return flatten(msgspec.json.decode(state.payload))


def _entry(event: StoredEvent, matching: _Filter, before: Leaves) -> tuple[HistoryEntry | None, Leaves]:
    """The entry of an event, and its payload. No entry for an application's own event, or one that does not match."""
    if event.topic not in _DOMAINS or not matching.has(name := parse_stream_id(event.originator_id)):
        return None, before
    state = _state.decode(event.state)
    after = _leaves(state)
    entry = HistoryEntry(
        position=event.notification_id,
        domain=name.domain,
        channel=name.channel,
        source=name.source,
        version=version_of(event.originator_version),
        revision=event.revision,
        id=state.id,
        occurred_at=state.occurred_at,
        recorded_at=state.recorded_at,
        withdrawn=bytes(state.payload) == b"null",
        head=False,
        changes=changes_between(before, after),
        run_id=state.run_id,
        drift=state.drift,
        operator=state.operator,
        corrects=state.corrects,
        epoch=epoch_of(event.originator_version),
        based_on=state.based_on,
    )
    return entry, after
