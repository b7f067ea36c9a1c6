"""The brake of a sync: what removes much is not appended until somebody has confirmed it.

Changes that remove something from a stream are kept in a temporary file until everything was read, and with them all
later changes of those streams, so that their order stays.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.snapshot_config import MIN_LIMIT, OrphanLimit
from pagefold.engine.events import NULL
from pagefold.engine.intake.canonical_payloads import content_of
from pagefold.engine.rebuild.excerpts import shorten, shorten_json
from pagefold.engine.rebuild.losses import ROOT_PATH, lost_values
from pagefold.engine.rebuild.spill import Spill
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.field_changes import FieldChange
from pagefold.projections.streams import encode_part

HEADS_PER_READ = 500
SCANNED_STREAMS = 10_000
MAX_READ_BYTES = 16 * 1024 * 1024

MAX_STREAMS = 2**53
"""More than any source has."""

MAX_SAMPLES = 10
MAX_SAMPLED_FIELDS = 8
"""Streams that are sampled, and fields of each."""

MAX_PATHS = 1_000
"""Fields that are counted. Others are appended as if they were few."""


class Excess(NamedTuple):
    """What would be removed, and from how many streams: a field, or `ROOT_PATH` if they are withdrawn or disabled."""

    topic: str
    path: str
    streams: int
    among: int

    def __str__(self) -> str:
        if self.path == ROOT_PATH:
            return f"{self.streams:,} streams would be withdrawn; without a confirmation, {self.among:,} may be"
        return f"{self.topic} would lose {self.path} in {self.streams:,} of {self.among:,} changes"


class HeldDecision(NamedTuple):
    """What becomes of too many removals: they are appended, or left out, which is as if they had not been read.

    Only if they are from at most an `expected` number of streams; None for any.
    """

    leaves_out: bool = False
    expected: int | None = None

    @property
    def option(self) -> str:
        """The option of the command that decides so."""
        return "--leave-out" if self.leaves_out else "--yes"


class RemovalBrake:
    """Keeps removals of a source back, and says whether they are too many. `limit` is that of withdrawals.

    A `decision` is about the first of them; what a later period of a run would remove needs another one.

    More may lose one field than a few, and than half of the changes of streams that there are.
    """

    def __init__(
        self, log: Log, source: str, domains: Sequence[str], limit: OrphanLimit, decision: HeldDecision | None
    ) -> None:
        self._log = log
        self._decision = decision
        self._suffixes = [f"/{domain}/{encode_part(source)}" for domain in domains]
        self._limit = limit
        self._clear()

    def _clear(self) -> None:
        self._spill = Spill(EncodedEvent)
        self._streams: set[str] = set()
        self.samples: list[tuple[str, list[FieldChange]]] = []
        self._withdrawn = 0
        self._lost: Counter[tuple[str, str]] = Counter()
        self._changes: Counter[str] = Counter()

    @property
    def keeps(self) -> bool:
        """Whether there is anything that is kept back."""
        return bool(self._spill)

    @property
    def removals(self) -> int:
        """From how many streams something would be removed."""
        return len(self._streams)

    def take_decision(self) -> HeldDecision | None:
        """The decision about what is kept back, once; None if there is none, or if it is about fewer streams."""
        taken, self._decision = self._decision, None
        if taken is None or (taken.expected is not None and self.removals > taken.expected):
            return None
        return taken

    async def pass_on(self, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
        """Keeps back those that remove something, and returns the others. Raises `SpillFailed`."""
        passed: list[EncodedEvent] = []
        for start in range(0, len(events), HEADS_PER_READ):
            some = events[start : start + HEADS_PER_READ]
            heads = {head.originator_id: head for head in await self._log.heads(sorted({each[0] for each in some}))}
            if heads:
                self._streams |= await compute_in_thread(partial(self._count, some, heads))
            passed += [each for each in some if each.originator_id not in self._streams]
            self._spill.add([each for each in some if each.originator_id in self._streams])
        return passed

    def _count(self, events: Sequence[EncodedEvent], heads: Mapping[str, StoredEvent]) -> set[str]:
        """Counts what changes remove; returns the streams from which they do."""
        found: set[str] = set()
        for event in events:
            head = heads.get(event.originator_id)
            before = None if head is None or event.originator_id in found else content_of(head)
            if before is None or before == NULL:
                continue
            self._changes[event.topic] += 1
            if lost := lost_values(event.topic, before, event.content):
                found.add(event.originator_id)
                self._add(event.topic, {path for path, _ in lost})
                self._sample(event.originator_id, lost)
        return found - self._streams

    def _add(self, topic: str, paths: set[str]) -> None:
        if ROOT_PATH in paths:
            self._withdrawn += 1
            return
        for path in paths:
            if (topic, path) in self._lost or len(self._lost) < MAX_PATHS:
                self._lost[topic, path] += 1

    def _sample(self, stream: str, lost: Sequence[tuple[str, JSON]]) -> None:
        if len(self.samples) < MAX_SAMPLES:
            whole = [each for each in lost if each[0] == ROOT_PATH]
            fields = [FieldChange(shorten(path), shorten_json(value), None) for path, value in (whole or lost)]
            self.samples.append((stream, fields[:MAX_SAMPLED_FIELDS]))

    async def excess(self) -> Excess | None:
        """What is too much of what was kept back, if anything is: withdrawals, or the field that most would lose."""
        if (allowed := await self._allowed()) is not None:
            return Excess("", ROOT_PATH, self._withdrawn, allowed)
        for (topic, path), streams in sorted(self._lost.items(), key=lambda each: (-each[1], each[0])):
            if streams > max(MIN_LIMIT, self._changes[topic] // 2):
                return Excess(topic, path, streams, self._changes[topic])
        return None

    async def _allowed(self) -> int | None:
        """How many streams may be withdrawn, if more would be. Streams are counted as far as it takes to tell."""
        if self._withdrawn > (most := self._limit.limit(MAX_STREAMS)):
            return most
        live = 0
        async with aclosing(self._live()) as numbers:
            while self._withdrawn > self._limit.limit(live):
                if (number := await anext(numbers, None)) is None:
                    return self._limit.limit(live)
                live += number
        return None

    async def _live(self) -> AsyncGenerator[int, None]:
        """How many streams of the source are not withdrawn, step by step."""
        after: str | None = ""
        while after is not None:
            scanned = await self._log.scan(
                self._suffixes, after=after, below="", limit=SCANNED_STREAMS, max_bytes=MAX_READ_BYTES
            )
            yield len([head for head in scanned.heads if content_of(head) != NULL])
            after = scanned.end

    def release(self) -> Iterator[list[EncodedEvent]]:
        """What was kept back, in its order. It stays until `clear`."""
        return self._spill.batches()

    async def without_removals(self) -> AsyncGenerator[list[EncodedEvent], None]:
        """The same, without what removes something from what the log has."""
        for events in self.release():
            for start in range(0, len(events), HEADS_PER_READ):
                some = events[start : start + HEADS_PER_READ]
                heads = {head.originator_id: head for head in await self._log.heads(sorted({each[0] for each in some}))}
                yield await compute_in_thread(partial(_harmless, some, heads))

    def clear(self) -> None:
        """Forgets everything."""
        self._spill.clear()
        self._clear()


def _harmless(events: Sequence[EncodedEvent], heads: Mapping[str, StoredEvent]) -> list[EncodedEvent]:
    """The events that remove nothing from these heads."""
    befores = {stream: content_of(head) or NULL for stream, head in heads.items()}
    return [each for each in events if not lost_values(each.topic, befores.get(each.originator_id, NULL), each.content)]
