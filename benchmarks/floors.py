"""What a floor is: the statements of a store in a bare loop, straight on the driver, with no checks at all.

A floor appends with the store's own insert statement and never looks at what came back. It folds in the windows and
the transactions of a consumer, and with a consumer's statements: but it asks only for the heads of the streams that
were touched, decodes nothing of a payload, and writes it as it stands as the body of one row a channel. No lease, no
dead letters, no contributions of other sources, no readiness: what is left is what the database and its driver cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from benchmarks.workload import CHANNELS, SOURCES
from engine.config import WorkConfig
from engine.consuming import SMALLEST_WINDOW as FIRST_WINDOW
from engine.door import Admission

DOMAINS: Final = ("catalog", "pricing", "inventory", "media")
SMALLEST_WINDOW: Final = FIRST_WINDOW
LARGEST_WINDOW: Final = WorkConfig().batch

Head: TypeAlias = Any
"""A row of the log, in whatever type its driver has for rows."""

Row: TypeAlias = tuple[str, str, str, bool, bool, bytes, bytes, str, str]
"""A row of `sections`: sku, channel, domain, enabled, ready, versions, body, occurred_at, recorded_at."""


class State(msgspec.Struct, gc=False, rename="camel"):
    """What stands in the log, its payload not decoded."""

    occurred_at: str
    recorded_at: str
    payload: msgspec.Raw


class Floor(ABC):
    """One store, used barely."""

    @abstractmethod
    async def append(self, events: Sequence[Admission]) -> None:
        """One durable transaction."""

    @abstractmethod
    async def apply(self) -> None:
        """Folds each domain from its checkpoint to the end of the log."""

    @abstractmethod
    async def append_and_apply(self, batches: Sequence[Sequence[Admission]]) -> None:
        """Appends the batches, one after the other, and folds beside it until everything is folded."""

    @abstractmethod
    async def read(self, keys: Iterable[tuple[str, str]]) -> None:
        """Fetches the rows of each page, one after the other."""

    @abstractmethod
    async def close(self) -> None:
        """Closes its connections."""


_decode = msgspec.json.Decoder(State).decode

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
