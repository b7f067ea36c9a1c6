"""The newest events of a product, over all of its streams, and where they are in time.

Each stream is read from its head backwards, so that a product with a hundred thousand events costs no more than one
with fifty.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import PastLog
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import version_of
from pagefold.projections.field_changes import FieldChange, changes_between, flatten
from pagefold.projections.streams import encode_part, parse_stream_id

MAX_STREAMS = 200
"""Streams of a product that are read, those with the newest heads first."""

MAX_VERSIONS = 50
"""Versions of one stream that are read."""

CHANGES_SHOWN = 3
"""Changed fields of one event that are shown."""

SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
"""The time spans of the lanes, by their names in the address; beyond, it is as long as the events need."""

_state = msgspec.json.Decoder(EventState)
_domains = frozenset(domain.name for domain in DOMAINS)


class TimelineEntry(NamedTuple):
    """An event: what it changed against the version before it in its stream, and who caused it, if not its source."""

    position: int
    recorded_at: datetime
    domain: str
    channel: str
    source: str
    version: int
    changes: list[FieldChange]
    more: int
    is_withdrawn: bool
    run_id: str | None
    operator: str | None
    corrects: str | None


class Timeline(NamedTuple):
    """Events, newest first, and the position before which there are more; None if there are none."""

    entries: list[TimelineEntry]
    older: int | None


async def read_timeline(log: Log, sku: str, before: int | None, limit: int) -> Timeline:
    """The newest events of a SKU, those before a position of the log."""
    past = PastLog(log, (before if before is not None else await log.end() + 1) - 1)
    streams = await past.streams_of([encode_part(sku)])
    heads = await past.heads([each for each in streams if parse_stream_id(each).domain in _domains])
    heads.sort(key=lambda head: head.notification_id, reverse=True)
    found: list[TimelineEntry] = []
    for head in heads[:MAX_STREAMS]:
        if sum(1 for each in found if each.position > head.notification_id) > limit:
            break
        older = await past.older_events(head, MAX_VERSIONS)
        found += _entries([head, *older])
    found.sort(key=lambda entry: entry.position, reverse=True)
    shown = found[:limit]
    return Timeline(shown, shown[-1].position if len(found) > limit else None)


def _entries(events: Sequence[StoredEvent]) -> list[TimelineEntry]:
    """The entries of a stream's events, newest first. The oldest one has no version before it to compare with."""
    states = [_state.decode(event.state) for event in events]
    leaves = [flatten(msgspec.json.decode(state.payload)) for state in states]
    leaves.append({})
    entries = []
    for index, (event, state) in enumerate(zip(events, states, strict=True)):
        is_oldest_read = index == MAX_VERSIONS
        changes = [] if is_oldest_read else changes_between(leaves[index + 1], leaves[index])
        stream = parse_stream_id(event.originator_id)
        entries.append(
            TimelineEntry(
                position=event.notification_id,
                recorded_at=datetime.fromisoformat(state.recorded_at),
                domain=stream.domain,
                channel=stream.channel,
                source=stream.source,
                version=version_of(event.originator_version),
                changes=changes[:CHANGES_SHOWN],
                more=max(0, len(changes) - CHANGES_SHOWN),
                is_withdrawn=bytes(state.payload) == b"null",
                run_id=state.run_id,
                operator=state.operator,
                corrects=state.corrects,
            )
        )
    return entries


# --- lanes ----------------------------------------------------------------------------------------

LANES_LEFT, LANES_RIGHT = 72, 900
LANE_TOP, LANE_STEP = 16, 20
AXIS_TICKS = 6


class Tick(NamedTuple):
    """An event in a lane: where, and its state if it is not a source's own."""

    x: int
    state: str


class Lane(NamedTuple):
    """The events of one domain."""

    domain: str
    y: int
    ticks: list[Tick]


class Lanes(NamedTuple):
    """A lane for each domain over a time span. `now_x` is where the moment is that is looked at, None if outside."""

    span: str
    begin: datetime
    end: datetime
    lanes: list[Lane]
    axis: list[tuple[int, datetime]]
    height: int
    now_x: int | None


def lanes_of(entries: Sequence[TimelineEntry], span: str | None, now: datetime, at: datetime | None) -> Lanes:
    """The lanes of some entries, newest first. Without a `span`, it is the shortest with a few of them."""
    name, length = _span_of(entries, span, now)
    begin = now - length
    lanes = [
        Lane(domain.name, LANE_TOP + LANE_STEP * index, _ticks(entries, domain.name, begin, now))
        for index, domain in enumerate(DOMAINS)
    ]
    step = length / AXIS_TICKS
    axis = [(_x(begin + step * index, begin, now), begin + step * index) for index in range(1, AXIS_TICKS)]
    height = LANE_TOP + LANE_STEP * len(lanes) + 16
    return Lanes(name, begin, now, lanes, axis, height, None if at is None else _x(at, begin, now))


def _span_of(entries: Sequence[TimelineEntry], span: str | None, now: datetime) -> tuple[str, timedelta]:
    if span in SPANS:
        return span, SPANS[span]
    oldest = min((entry.recorded_at for entry in entries), default=now)
    whole = max(now - oldest, timedelta(minutes=1)) * 1.05
    if span == "all":
        return "all", whole
    enough = min(5, len(entries))
    for name, length in SPANS.items():
        if sum(1 for entry in entries if now - entry.recorded_at <= length) >= enough:
            return name, length
    return "all", whole


def _ticks(entries: Sequence[TimelineEntry], domain: str, begin: datetime, end: datetime) -> list[Tick]:
    found: dict[int, str] = {}
    for entry in entries:
        if entry.domain == domain and begin <= entry.recorded_at <= end:
            x = _x(entry.recorded_at, begin, end)
            found[x] = "held" if entry.run_id or entry.operator else found.get(x, "")
    return [Tick(x, state) for x, state in sorted(found.items())]


def _x(moment: datetime, begin: datetime, end: datetime) -> int:
    share = (moment - begin) / (end - begin)
    return round(LANES_LEFT + (LANES_RIGHT - LANES_LEFT) * min(max(share, 0.0), 1.0))


def seconds_of(moment: datetime) -> int:
    """A moment as a range of a form carries it: whole seconds since the epoch."""
    return int(moment.timestamp())


def moment_of(seconds: int) -> datetime:
    """The moment that a range of a form carries."""
    return datetime.fromtimestamp(seconds, UTC)
