"""What a floor is: the statements of a store in a bare loop, straight on the driver, with no checks at all.

A floor appends with the store's own insert statement and never looks at what came back. It folds in the windows and
the transactions of a consumer, and with a consumer's statements: but it asks only for the heads of the streams that
were touched, decodes nothing of a payload, and writes it as it stands as the body of one row a channel. No lease, no
dead letters, no contributions of other sources, no readiness: what is left is what the database and its driver cost.

It walks through the log with the store's own scan, and looks only at the names and versions of what it finds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from benchmarks.workload import CHANNELS, SOURCES
from pagefold.engine.configuration.config import WorkConfig
from pagefold.engine.consumers.consumer import MIN_WINDOW as FIRST_WINDOW
from pagefold.engine.stores.event_state import EncodedEvent

DOMAINS: Final = ("catalog", "pricing", "inventory", "media")
SMALLEST_WINDOW: Final = FIRST_WINDOW
LARGEST_WINDOW: Final = WorkConfig().batch
STREAMS: Final = 5_000
"""How many streams are looked at in one read of a walk."""

TAILS: Final = {domain: [f"/{domain}/{name}" for name, of in SOURCES.items() if of == domain] for domain in DOMAINS}
"""How the names of a domain's streams end."""

Head: TypeAlias = Any
"""A row of the log, in whatever type its driver has for rows."""

Row: TypeAlias = tuple[str, str, str, bool, bool, bytes, bytes, str, str]
"""A row of `sections`: sku, channel, domain, enabled, ready, versions, body, occurred_at, recorded_at."""


class State(msgspec.Struct, gc=False, rename="camel"):
    """What stands in the log, its payload not decoded."""

    occurred_at: str
    recorded_at: str
    payload: msgspec.Raw


class Stretch(NamedTuple):
    """The next heads in the order of their streams, and the stream behind which a walk goes on; None at its end."""

    heads: list[Head]
    end: str | None


class Walker(Protocol):
    """Whoever can walk through the log, and read what is folded from it."""

    async def scan(self, tails: Sequence[str], after: str) -> Stretch:
        """The next heads of the streams whose names end in one of the tails."""

    async def sections(self, domain: str, skus: Sequence[str]) -> Sequence[object]:
        """A domain's rows of some SKUs."""


class Floor(ABC):
    """One store, used barely."""

    @abstractmethod
    async def append(self, events: Sequence[EncodedEvent]) -> None:
        """One durable transaction."""

    @abstractmethod
    async def apply(self) -> None:
        """Folds each domain from its checkpoint to the end of the log."""

    @abstractmethod
    async def append_and_apply(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        """Appends the batches, one after the other, and folds beside it until everything is folded."""

    @abstractmethod
    async def read(self, keys: Iterable[tuple[str, str]]) -> None:
        """Fetches the rows of each page, one after the other."""

    @abstractmethod
    async def scan(self, tails: Sequence[str], after: str) -> Stretch:
        """The next heads of the streams whose names end in one of the tails."""

    @abstractmethod
    async def reread(self) -> int:
        """Reads every head and every section, and tells how many sections that were."""

    @abstractmethod
    async def close(self) -> None:
        """Closes its connections."""


_decode = msgspec.json.Decoder(State).decode
_number = itemgetter(6)

LISTENERS: Mapping[str, tuple[str, ...]] = {
    source: tuple(
        sorted(
            name
            for name, channel in CHANNELS.items()
            if domain != "inventory" or source in channel["sources"]["inventory"]  # type: ignore[index]  # it is a table
        )
    )
    for source, domain in SOURCES.items()
}
"""Who hears what a source says to every channel, by source."""


def rows_of(heads: Iterable[Head]) -> list[Row]:
    """As many rows as a consumer writes for these heads, in key order, with payloads as bodies."""
    rows: dict[tuple[str, str], Row] = {}
    for _, stream, version, _, _, state in heads:
        sku, channel, domain, source = stream.split("/")
        said = _decode(state)
        versions = b'{"%b/%b":%d}' % (domain.encode(), source.encode(), version)
        body = bytes(said.payload)
        for name in LISTENERS[source] if channel == "*" else (channel,):
            rows[sku, name] = (sku, name, domain, True, True, versions, body, said.occurred_at, said.recorded_at)
    return sorted(rows.values())


def next_window(window: int, scanned: int) -> int:
    """A consumer's windows grow while they are full."""
    return min(window * 2, LARGEST_WINDOW) if scanned >= window else FIRST_WINDOW


def stretch(rows: list[Head]) -> Stretch:
    """What a scan's rows are: numbered, in no order, the last of all perhaps without a head."""
    rows.sort(key=_number)
    end = rows[-1][1] if rows and _number(rows[-1]) == STREAMS else None
    return Stretch([row for row in rows if row[0] is not None], end)


async def reread(walker: Walker, domain: str) -> int:
    """Reads a domain's heads, and the sections of their SKUs. Those of a SKU that two reads share are read twice."""
    sections = 0
    after: str | None = ""
    while after is not None:
        heads, after = await walker.scan(TAILS[domain], after)
        skus = dict.fromkeys(head[1].partition("/")[0] for head in heads)
        sections += len(await walker.sections(domain, list(skus)))
    return sections
