"""Compares stored sections with the log, without locks or writes.

Ranges of a few thousand SKUs that match are confirmed at once. It stops before the first range that does not: that may
be drift, or the consumer may be ahead or behind.
"""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeAlias

import anyio

from pagefold.domains import AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.fold_results import FoldedSections, ValidSections
from pagefold.engine.folding.folder import Folder
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.log_records import ScannedHeads, StoredEvent
from pagefold.engine.stores.reference_records import changes_of_references
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction, Log, Store
from pagefold.projections.streams import decode_part, encode_part

STEP_STREAMS = 6_000
"""Streams scanned in a step, unless they are too large."""

MAX_STEP_BYTES = 40 * 1024 * 1024
"""Bytes of the heads of a step, and of the sections that they give in all channels."""

MAX_CACHED_SCANS = 4
"""Scans that are cached for slower users. After that, they scan again."""

RANGE_SAMPLES = 100
"""Positions of the log that are sampled for SKUs, to split the ranges."""

EVENTS_PER_SAMPLE = 20
"""Events read at each sampled position."""

_SURROGATES = range(0xD800, 0xE000)


class StreamRange(NamedTuple):
    """The streams whose names lie between two names; "" is no bound. `ended` if none is left."""

    after: str
    below: str
    ended: bool = False


EMPTY_RANGE = StreamRange("", "", ended=True)


class ScanStep(NamedTuple):
    """Some SKUs, encoded as in the log, and the heads of all streams that can give them a section.

    `rest` is the range after them.
    """

    skus: list[str]
    heads: list[StoredEvent]
    rest: StreamRange


class FoldedStep(NamedTuple):
    """The result of a step: its SKUs by name, and what they fold to; None if any cannot be folded."""

    skus: list[str]
    valid: ValidSections | None
    rest: StreamRange


class VerifiedRange(NamedTuple):
    """How many more sections match, and the range that is left."""

    sections: int
    rest: StreamRange


OnVerified: TypeAlias = Callable[[VerifiedRange], None]
"""Called with each range that matches."""

Verify: TypeAlias = Callable[[StreamRange, OnVerified], Awaitable[None]]
"""A function that verifies a domain's pages, as `SectionVerifier.verify` does."""


class SharedScans:
    """Scans of the heads of some domains' streams, shared by verifiers that run through them at about the same time.

    A scan that was just done for one is given to the others: stepping through the names takes longer than reading the
    heads, and every SKU has names of all domains.
    """

    def __init__(self, log: Log, domains: Collection[AnyDomain], config: Config) -> None:
        self._log = log
        # also sources that no channel listens to: their dead letters are resolved
        self._suffixes = {
            domain.name: tuple(f"/{domain.name}/{encode_part(name)}" for name in config.counting_sources(domain.name))
            for domain in domains
        }
        self._all_suffixes = list(chain.from_iterable(self._suffixes.values()))
        self.max_bytes = MAX_STEP_BYTES // (4 + len(config.channels))  # a head is in memory in several forms
        self._lock = anyio.Lock()
        self._cached: dict[tuple[str, str, int], dict[str, ScannedHeads]] = {}
        """What was read, without the parts of those who have come for it."""

    async def cached(self, domain: str, after: str, below: str, limit: int) -> ScannedHeads:
        """As `Log.scan`, possibly from some steps ago."""
        key = (after, below, limit)
        async with self._lock:
            if domain not in (parts := self._cached.pop(key, {})):
                parts = self._parts(await self._scan(self._all_suffixes, after, below, limit))
            own = parts.pop(domain)
            if parts:
                self._cached[key] = parts
                if len(self._cached) > MAX_CACHED_SCANS:
                    del self._cached[next(iter(self._cached))]
        return own

    async def fresh(self, domain: str, after: str, below: str, limit: int) -> ScannedHeads:
        """As `Log.scan`, read now."""
        return self._parts(await self._scan(self._suffixes[domain], after, below, limit))[domain]

    async def _scan(self, suffixes: Collection[str], after: str, below: str, limit: int) -> ScannedHeads:
        """Scans streams. If there are more than usual, since they are all of one SKU, more bytes are allowed, too."""
        max_bytes = self.max_bytes * max(limit // STEP_STREAMS, 1)
        return await self._log.scan(suffixes, after=after, below=below, limit=limit, max_bytes=max_bytes)

    def _parts(self, scanned: ScannedHeads) -> dict[str, ScannedHeads]:
        """The part of each domain. Under a domain's topic, applications may have other streams."""
        parts = {domain: ScannedHeads([], scanned.end) for domain in self._suffixes}
        for head in scanned.heads:
            part = parts.get(head[4])
            if part is not None and head[1].endswith(self._suffixes[head[4]]):
                part.heads.append(head)
        return parts


Scan: TypeAlias = Callable[[str, str, int], Awaitable[ScannedHeads]]
"""A function that scans streams between two names, up to a number of them, as `Log.scan` does."""

DomainScan: TypeAlias = Callable[[str, str, str, int], Awaitable[ScannedHeads]]
"""The same for the domain that is named first."""


class SectionVerifier:
    """Folds one domain again, step by step. `scans` are shared with the verifiers of other domains.

    `max_bytes` limits the heads of a step, unless they are of one SKU.
    """

    def __init__(self, store: Store, domain: AnyDomain, config: Config, scans: SharedScans | None = None) -> None:
        self._store = store
        self.domain = domain.name
        self._scans = scans or SharedScans(store.log, [domain], config)
        self.max_bytes = self._scans.max_bytes
        self.folder = Folder(domain, config.resolved_channels, store.log)
        self.fingerprint = config.fingerprint(domain)

    async def verify(self, streams: StreamRange, on_verified: OnVerified) -> None:
        """Verifies ranges while they match, and reports each.

        While one step is compared, the next is folded, and the streams of the one after it are read.
        """
        to_fold, scanned = anyio.create_memory_object_stream[ScanStep](0)
        to_compare, folded = anyio.create_memory_object_stream[FoldedStep](0)

        async def scan(rest: StreamRange = streams) -> None:
            async with to_fold:
                while not rest.ended:
                    step = await self._next_step(rest, self._scans.cached)
                    rest = step.rest
                    await to_fold.send(step)

        async def fold() -> None:
            async with to_compare:
                async for skus, heads, rest in scanned:
                    valid = await self.folder.fold_valid(heads, self._store.references)
                    await to_compare.send(FoldedStep(list(map(decode_part, skus)), valid, rest))

        async with scanned, folded, run_beside(fold), run_beside(scan):
            async for skus, valid, rest in folded:
                if valid is None or not await self._matches(valid, skus):
                    return
                on_verified(VerifiedRange(sum([len(each.channels) for each in valid.sections]), rest))

    async def _matches(self, valid: ValidSections, skus: list[str]) -> bool:
        """Whether sections and references are stored as they must be. Others of these SKUs may be stored, too."""
        if not await self._store.pages.matches(self.domain, valid.sections, skus):
            return False
        if not valid.references:
            return True
        stored = await self._store.references.of_streams(valid.references)
        return not changes_of_references(stored, valid.references)

    async def next_step(self, streams: StreamRange) -> ScanStep:
        """The first SKUs of a range, with all of their current heads."""
        return await self._next_step(streams, self._scans.fresh)

    async def _next_step(self, streams: StreamRange, scan: DomainScan) -> ScanStep:
        return await next_step(streams, partial(scan, self.domain))

    async def steps_of(self, skus: Sequence[str]) -> AsyncGenerator[ScanStep, None]:
        """Some SKUs, encoded as in the log, in as many steps as they need."""
        chunks_left: list[Sequence[str]] = [skus]
        while chunks_left:
            skus_here = chunks_left.pop()
            try:
                heads = await self.folder.heads(skus_here, self.max_bytes if len(skus_here) > 1 else None)
            except ReadTooLarge as error:
                chunks_left += split_equal(skus_here, error.parts)[::-1]
                continue
            yield ScanStep(list(skus_here), heads, EMPTY_RANGE)

    async def fold(self, step: ScanStep, transaction: FoldTransaction) -> FoldedSections:
        """The expected sections, by SKU."""
        return await self.folder.sections(step.heads, transaction)


async def next_step(streams: StreamRange, scan: Scan) -> ScanStep:
    """The first SKUs of a range, with all heads that a scan finds of them."""
    limit = STEP_STREAMS
    after, below, _ = streams
    while True:
        heads, end = await scan(after, below, limit)
        if end is None:
            return _step(heads, StreamRange(after, below, ended=True))
        begun = end[: end.find("/") + 1] or end
        if begun > after:  # otherwise one SKU has more streams than that
            whole = [head for head in heads if not head.originator_id.startswith(begun)]
            return _step(whole, StreamRange(begun, below))
        limit *= 2


async def split_ranges(store: Store, domains: Collection[AnyDomain], number: int) -> list[StreamRange]:
    """Splits all streams into about `number` ranges with about equally many events. No SKU is in two."""
    end = await store.log.end()
    found: set[str] = set()
    samples = RANGE_SAMPLES // len(domains)
    for domain in domains:
        for sample in range(samples):
            after = end * sample // samples
            window = await store.log.window(domain.name, after, after + EVENTS_PER_SAMPLE)
            found.update(event.originator_id[: event.originator_id.find("/") + 1] for event in window)
    names = sorted(found - {""})
    between = list(dict.fromkeys(names[len(names) * index // number] for index in range(1, number) if names))
    return [StreamRange(after, below) for after, below in zip(["", *between], [*between, ""], strict=True)]


def prefix_range(prefix: str) -> StreamRange:
    """The streams of the SKUs that begin with a prefix."""
    begin = encode_part(prefix)
    below = begin
    while below:
        following = ord(below[-1]) + 1
        if following <= sys.maxunicode:
            last = chr(following if following not in _SURROGATES else _SURROGATES.stop)
            return StreamRange(begin, below[:-1] + last)
        below = below[:-1]
    return StreamRange(begin, "")


def _step(heads: list[StoredEvent], rest: StreamRange) -> ScanStep:
    return ScanStep(list(dict.fromkeys(head.originator_id.partition("/")[0] for head in heads)), heads, rest)
