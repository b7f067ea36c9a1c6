"""The baseline: what the database and its driver cost, in a bare loop without any checks.

A baseline appends in the fastest way that the driver has: a binary COPY on PostgreSQL, `executemany` on SQLite. It
takes no lock, returns nothing, and a version that exists already fails the whole batch. It folds in a consumer's
windows and transactions, with a consumer's statements, but it reads only the heads of touched streams, and writes their
payloads undecoded, one row per SKU and domain. It has no leases, dead letters, contributions of other sources, or
readiness.

It scans the log with the store's scan statement, and uses only the names and versions of the streams.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec
import orjson

from benchmarks.workload import CHANNELS, SOURCES
from pagefold.engine.configuration.work_config import WorkConfig
from pagefold.engine.consumers.log_tail import MIN_WINDOW
from pagefold.engine.stores.event_state import EncodedEvent

DOMAINS: Final = ("catalog", "pricing", "inventory", "media")

MAX_WINDOW: Final = WorkConfig().batch
STREAMS_PER_READ: Final = 5_000
"""Streams per read of a scan."""

STREAM_SUFFIXES: Final = {
    domain: [f"/{domain}/{name}" for name, of in SOURCES.items() if of == domain] for domain in DOMAINS
}
"""The suffixes of a domain's stream names."""

Head: TypeAlias = Any
"""A row of the log, in its driver's type."""

Row: TypeAlias = tuple[str, str, str, str, str, bytes]
"""A row of `sections`: see `pagefold.engine.stores.section_rows`."""

ENABLED_AND_READY: Final = "3"


class State(msgspec.Struct, gc=False, rename="camel"):
    """An event's stored state, with its payload undecoded."""

    occurred_at: str
    recorded_at: str
    payload: msgspec.Raw


class HeadChunk(NamedTuple):
    """The next heads in the order of their streams, and the stream after which the scan continues; None at the end."""

    heads: list[Head]
    end: str | None


class HeadReader(Protocol):
    """Reads heads, and the sections folded from them."""

    async def scan(self, suffixes: Sequence[str], after: str) -> HeadChunk:
        """The next heads of the streams whose names end in one of the tails."""

    async def sections(self, domain: str, skus: Sequence[str]) -> Sequence[object]:
        """A domain's sections of these SKUs."""


class Baseline(ABC):
    """One store, used without checks."""

    @abstractmethod
    async def append(self, events: Sequence[EncodedEvent]) -> None:
        """One durable transaction."""

    @abstractmethod
    async def apply(self) -> None:
        """Folds each domain from its checkpoint to the end of the log."""

    @abstractmethod
    async def append_and_apply(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        """Appends the batches in order, and folds concurrently until everything is folded."""

    @abstractmethod
    async def read(self, keys: Iterable[tuple[str, str]]) -> None:
        """Fetches the rows of each page, one page at a time."""

    @abstractmethod
    async def scan(self, suffixes: Sequence[str], after: str) -> HeadChunk:
        """The next heads of the streams whose names end in one of the tails."""

    @abstractmethod
    async def reread(self) -> int:
        """Reads every head and every row of sections. Returns the number of rows."""

    @abstractmethod
    async def close(self) -> None:
        """Closes its connections."""


_decode = msgspec.json.Decoder(State).decode
_number = itemgetter(6)

CHANNELS_OF_SOURCE: Mapping[str, tuple[str, ...]] = {
    source: tuple(
        sorted(
            name
            for name, channel in CHANNELS.items()
            if domain != "inventory" or source in channel["sources"]["inventory"]  # type: ignore[index]  # it is a table
        )
    )
    for source, domain in SOURCES.items()
}
"""By source, the channels that read its events for every channel."""


def rows_of(heads: Iterable[Head]) -> list[Row]:
    """As many section rows as a consumer writes for these heads, in key order, with payloads as bodies."""
    by_sku: dict[str, list[Head]] = {}
    for head in heads:
        by_sku.setdefault(head[1].partition("/")[0], []).append(head)
    return sorted([_row(sku, own) for sku, own in by_sku.items()])


def _row(sku: str, heads: Iterable[Head]) -> Row:
    index_of: dict[str, int] = {}
    layout: list[tuple[int, int, int, str, str]] = []
    contents = b""
    for _, stream, version, _, _, state in heads:
        _, channel, domain, source = stream.split("/")
        event = _decode(state)
        versions = b'{"%b/%b":%d}' % (domain.encode(), source.encode(), version)
        body = bytes(event.payload)
        index_of |= dict.fromkeys(CHANNELS_OF_SOURCE[source] if channel == "*" else (channel,), len(layout))
        layout.append((len(contents), len(versions), len(body), event.occurred_at, event.recorded_at))
        contents += versions + body
    texts = orjson.dumps(index_of).decode(), ENABLED_AND_READY * len(layout), orjson.dumps(layout).decode()
    return sku, domain, *texts, contents


def next_window(window: int, scanned: int) -> int:
    """The size of a consumer's next window: it doubles while windows are full."""
    return min(window * 2, MAX_WINDOW) if scanned >= window else MIN_WINDOW


def chunk_of(rows: list[Head]) -> HeadChunk:
    """A scan's rows, sorted by their number. The last row may be a marker without a head."""
    rows.sort(key=_number)
    end = rows[-1][1] if rows and _number(rows[-1]) == STREAMS_PER_READ else None
    return HeadChunk([row for row in rows if row[0] is not None], end)


async def reread(reader: HeadReader, domain: str) -> int:
    """Reads a domain's heads and the sections of their SKUs. A SKU in two chunks is read twice."""
    rows = 0
    after: str | None = ""
    while after is not None:
        heads, after = await reader.scan(STREAM_SUFFIXES[domain], after)
        skus = dict.fromkeys(head[1].partition("/")[0] for head in heads)
        rows += len(await reader.sections(domain, list(skus)))
    return rows
