"""Folds streams into sections, inside one transaction. Consumers do it window by window, repairs stream by stream."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from typing import NamedTuple, Self

from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.fold_results import FoldResult
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.folding.parent_reader import Spellings
from pagefold.engine.folding.source_resets import without_payload
from pagefold.engine.folding.stored_links import store_references, with_variants
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import Resolution
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import PastLog
from pagefold.engine.stores.reference_records import ReferenceChange
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction, Log
from pagefold.projections import skus_of
from pagefold.projections.inheritance import SPELLING, Parents
from pagefold.projections.section_fold import SharedSections
from pagefold.projections.streams import EVERY_CHANNEL, decode_part

CHUNK_SKUS = 2_000
"""SKUs that are read, folded and written at a time, unless they are too large."""

CHUNK_BYTES = 64 * 1024 * 1024
"""Bytes of a chunk that a transaction holds in memory: heads and the sections that they give."""

OF_EVERY_CHANNEL = f"/{EVERY_CHANNEL}/"

LARGE_HEAD_BYTES = 4 * 1024
"""The mean size of heads above which payloads are not kept until the transaction ends."""


class _Others(NamedTuple):
    """The SKUs whose own events lead followers to all of their pages; and those, encoded, that name a folded SKU."""

    own: Collection[str]
    naming: set[str]


class Folder(HeadFolder):
    """Folds one domain under one configuration, and writes what it gives."""

    async def fold(
        self,
        transaction: FoldTransaction,
        streams: Collection[str],
        *,
        by: str | None = None,
        again: bool = False,
        followed: bool = False,
    ) -> FoldResult:
        """Writes all sections of the streams' SKUs, of the SKUs that inherit from them, and of those that name them.

        Events that cannot be folded become dead letters; nothing is raised.

        `by` is the operator who asked for it. With `again`, other streams of these SKUs may have counted before: what
        inherited from those is written, too. With `followed`, the streams have events in the window that `transaction`
        folds: see `FoldTransaction.write`.
        """
        found = FoldResult([], [], [], 0)
        skus = skus_of(streams)
        own = _of_every_channel(streams) if followed and self.reads_others else frozenset[str]()
        if self._parents is not None:
            codes = self._inheritance.all_codes(skus) if again else self._inheritance.own_codes(streams)
            skus = await with_variants(transaction, self._inheritance, streams, codes)
        unused = self._fold.unused_streams(streams)
        folded = set(skus)
        while skus:  # who is folded once has seen all that is to be folded here
            naming: set[str] = set()
            found = await self._fold_chunks(transaction, skus, unused, found, _Others(own, naming), followed=followed)
            skus, unused = sorted(naming - folded), []
            folded |= naming
        await self.resolve(transaction, found.heads, found.bad, by=by)
        given = set(streams)
        return found._replace(settled=[head for head in found.settled if self._is_settled(head, given)])

    def _is_settled(self, head: StoredEvent, streams: Collection[str]) -> bool:
        """Whether no fold is needed of a head until there is a newer one, once `streams` are folded.

        Variants of the other streams, which may be newer than the fold was asked for, were not folded.
        """
        return self._parents is None or head[1] in streams or not self._inheritance.inherits(head[1])

    async def _fold_chunks(
        self,
        transaction: FoldTransaction,
        skus: Sequence[str],
        unused: Sequence[str],
        before: FoldResult,
        others: "_Others",
        *,
        followed: bool,
    ) -> FoldResult:
        """Writes all sections of SKUs, after others. Adds the SKUs whose answers about these may be outdated."""
        heads, bad, settled, changed = before
        async for folder, found, parents in self._chunks(skus, unused, transaction):
            folded = await folder._sections(found, parents, transaction)  # noqa: SLF001  # its own
            sections, bad_here, dead_letters, references, _, _, answers = folded
            if dead_letters:
                await transaction.add_dead_letters(dead_letters)
            changed += await self._write(transaction, sections, others.own, followed=followed)
            await store_references(transaction, [head[1] for head in found], references)
            if self._skus is not None:
                others.naming.update(await self._skus.outdated(transaction, answers))
            kept = _without_large_payloads(found)
            del folder, found, folded, sections, parents  # free them before the next are read
            heads += kept
            bad += map(without_payload, bad_here)
            if not bad_here:
                settled += kept
        return FoldResult(heads, bad, settled, changed)

    async def _write(
        self, transaction: FoldTransaction, sections: Sequence[SharedSections], own: Collection[str], *, followed: bool
    ) -> int:
        """Writes sections. Where others are read, those of other SKUs than `own` apart, since they are noted.

        A fold then changes pages of all channels, and an event of one channel leads followers to one.
        """
        if not followed or not self.reads_others:
            return await transaction.write(sections, followed=followed)
        changed = await transaction.write([each for each in sections if each.sku in own], followed=True)
        return changed + await transaction.write([each for each in sections if each.sku not in own])

    async def fold_variants(self, transaction: FoldTransaction, changes: Iterable[ReferenceChange]) -> int:
        """Folds what may inherit from SKUs whose spellings have changed. Returns for how many the sections changed."""
        rows = [row for change in changes for row in (*change.removed, *change.added) if row.kind.startswith(SPELLING)]
        streams = {row.stream for row in rows}
        return (await self.fold(transaction, streams)).changed if streams and self._parents is not None else 0

    async def _chunks(
        self, skus: Sequence[str], unused: Sequence[str], spellings: Spellings
    ) -> AsyncGenerator[tuple[Self, list[StoredEvent], Parents | None], None]:
        """The heads that decide the sections of these SKUs, in chunks of whole SKUs, and their parents.

        With each, the folder of the moment at which they were read. A chunk whose heads or parents are too large is
        divided, down to one SKU.
        """
        chunks_left = split_equal(skus, -(-len(skus) // CHUNK_SKUS))[::-1] if skus else []
        chunk_bytes = CHUNK_BYTES // (1 + self._fold.max_contents)
        while chunks_left:
            skus_here = chunks_left.pop()
            also: Sequence[str] = ()
            if unused:
                chunk = set(skus_here)
                also = [stream for stream in unused if stream.partition("/")[0] in chunk]
            max_bytes = chunk_bytes if len(skus_here) > 1 else None
            folder = await self._reading_now()
            try:
                heads = await folder.heads(skus_here, max_bytes, also)
                parents = await folder.parents(heads, spellings, max_bytes)
            except ReadTooLarge as error:
                chunks_left += split_equal(skus_here, error.parts)[::-1]
                continue
            yield folder, heads, parents
            del heads, parents  # free them before the next are read

    async def _reading_now(self) -> Self:
        """This folder, reading the log as it is now: others are read after the SKUs that name them, and both change.

        What a page is made of then stood in the log at one moment.
        """
        if not self.reads_others or not isinstance(self._log, Log):
            return self
        return self.reading(PastLog(self._log, await self._log.end()))

    async def resolve(
        self,
        transaction: FoldTransaction,
        heads: Sequence[StoredEvent],
        bad: Sequence[StoredEvent],
        *,
        by: str | None = None,
    ) -> None:
        """Resolves the dead letters of streams whose heads fold."""
        if heads and await transaction.has_dead_letters():
            fine = {head.originator_id for head in heads} - {head.originator_id for head in bad}
            if fine:
                await transaction.resolve(fine, Resolution("folded", now(), by))


def _of_every_channel(streams: Iterable[str]) -> frozenset[str]:
    """The SKUs of those streams that are of every channel."""
    return frozenset([decode_part(stream[: stream.index("/")]) for stream in streams if OF_EVERY_CHANNEL in stream])


def _without_large_payloads(heads: list[StoredEvent]) -> list[StoredEvent]:
    """Drops the payloads of heads that are kept, if they are large."""
    if sum([len(head[5]) for head in heads]) < LARGE_HEAD_BYTES * len(heads):
        return heads
    return list(map(without_payload, heads))
