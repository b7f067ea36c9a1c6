"""Checkpoints and the transactions that fold."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from pagefold.engine.errors import LeaseLost, LogReplaced
from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.log_records import event_of
from pagefold.engine.stores.postgres.connections import Record, Session
from pagefold.engine.stores.postgres.dead_letters import dead_letter_columns
from pagefold.engine.stores.postgres.feed import note_changes
from pagefold.engine.stores.postgres.log_proof import UNPROVED, problem
from pagefold.engine.stores.postgres.sized_reads import sections_within
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.engine.stores.section_rows import SectionRow, decode_sections, encode_sections
from pagefold.engine.stores.size_batches import batches
from pagefold.engine.stores.store import MAX_FEW_BYTES, Checkpoint, FewStored, FoldFew, FoldTransaction
from pagefold.projections.section_fold import SharedSections

NO_ROWS: Sequence[Sequence[object]] = [()] * len(SectionRow._fields)

SLICE_ROWS = 500
SLICE_BYTES = 4 * 1024 * 1024
"""Rows, and bytes, sent to the server at a time: encoding them blocks the event loop."""


class PostgresFoldTransaction(FoldTransaction):
    """Holds the lock of the checkpoint's row from before the heads are read until the commit."""

    def __init__(self, session: Session, checkpoint: Checkpoint, *, references: bool) -> None:
        self._session = session
        self.checkpoint = checkpoint
        self.has_references = references

    async def write(self, sections: Sequence[SharedSections], *, followed: bool = False) -> int:
        rows, changed, noted = sorted(encode_sections(sections)), 0, list[str]()
        sizes = [len(row.contents) for row in rows]
        for start, stop in batches(sizes, max_bytes=SLICE_BYTES, max_items=SLICE_ROWS):
            columns = zip(*rows[start:stop], strict=True)
            if followed:
                changed += await self._session.execute("write_sections", *columns)
            else:
                noted += [sku for (sku,) in await self._session.fetch("write_noted_sections", *columns)]
        await note_changes(self._session, self.checkpoint.domain, noted)
        return changed + len(noted)

    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[SharedSections]:
        needed = (self.checkpoint.domain, list(skus))
        read, measure = (partial(self._session.fetch, name, *needed) for name in ("domain_sections", "section_sizes"))
        rows = await sections_within(max_bytes, read, measure)
        return list(map(decode_sections, rows))

    async def remove(self, skus: Collection[str]) -> None:
        if skus:
            rows = await self._session.fetch("remove_sections", self.checkpoint.domain, list(skus))
            await note_changes(self._session, self.checkpoint.domain, sorted([sku for (sku,) in rows]))

    async def references(self, streams: Collection[str]) -> list[StoredReference]:
        rows = await self._session.fetch("references_of_streams", list(streams)) if streams else []
        return list(map(StoredReference._make, rows))

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        if not references:
            return []
        kinds, ids = map(list, zip(*references, strict=True))
        rows = await self._session.fetch("stated_references", kinds, ids, None)
        return list(map(StoredReference._make, rows))

    async def change_references(self, removed: Sequence[StoredReference], added: Sequence[StoredReference]) -> None:
        if removed:
            await self._session.execute("remove_references", *list(zip(*removed, strict=True))[:3])
        if added:
            await self._session.execute("keep_references", *zip(*added, strict=True))
            if not self.has_references:
                await self._session.execute("have_references", self.checkpoint.domain)

    async def streaks(self) -> dict[str, int]:
        rows = await self._session.fetch("domain_streaks", self.checkpoint.domain)
        return {row["source"]: row["stale"] for row in rows}

    async def save_streaks(self, streaks: Mapping[str, int]) -> None:
        if streaks:
            await self._session.execute("keep_streak", self.checkpoint.domain, list(streaks), list(streaks.values()))

    async def add_dead_letters(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        if dead_letters:
            await self._session.execute("keep_dead_letter", *dead_letter_columns(dead_letters))

    async def has_dead_letters(self) -> bool:
        return bool((await self._session.fetch("has_dead_letters", self.checkpoint.domain))[0][0])

    async def resolve(self, streams: Collection[str], resolution: Resolution) -> None:
        await self._session.execute("resolve_dead_letters", *resolution, self.checkpoint.domain, list(streams))

    async def advance(self, checkpoint: Checkpoint) -> Checkpoint:
        [(mark,)] = await self._session.fetch("advance", *checkpoint[1:6], checkpoint.domain)
        moved = checkpoint._replace(mark=mark, holder=self.checkpoint.holder)
        if mark is None and moved.position:
            raise LogReplaced(await problem(self._session) or UNPROVED)
        return moved


@asynccontextmanager
async def open_fold_transaction(session: Session, domain: str, holder: str | None) -> AsyncIterator[FoldTransaction]:
    """A transaction of the holder, or of a repair if that is None. Raises `LeaseLost`, `LogReplaced`."""
    async with session.turn, session.transaction():
        *row, proved, references = await _checkpoint(session, domain)
        checkpoint = Checkpoint._make(row)
        if holder is not None and checkpoint.holder != holder:
            raise LeaseLost(domain)
        # After waiting for the row, the snapshot of the log is older than that: check it again.
        if not proved and (found := await problem(session)) is not None:
            raise LogReplaced(found)
        if holder is None:  # the holder may be between the two steps of `fold_few`
            await session.execute("change_row_version", domain)
        yield PostgresFoldTransaction(session, checkpoint, references=references)


async def fold_few(
    session: Session, domain: str, holder: str, streams: Sequence[str], end: int, fold: FoldFew
) -> FewStored | None:
    """Two statements without a lock between them: see `Lease.fold_few`.

    Every fold transaction of another connection, every new holder and every recovery changes the version of the
    checkpoint's row, and this connection takes its turns. So if the version is still the one that was read together
    with the heads, no section of the domain was written after them, and what is stored is never older than before.
    """
    async with session.turn:
        rows = await session.fetch("fold_input", domain, streams, end, MAX_FEW_BYTES // len(streams))
        if not rows:
            return None
        *row, version, proved, needs_transaction, mark = rows[0][:12]
        checkpoint = Checkpoint._make(row)
        if checkpoint.holder != holder:
            raise LeaseLost(domain)
        heads = [event_of(row[12:]) for row in rows if row[12] is not None]
        if not proved or needs_transaction or mark is None or any(head.state is None for head in heads):
            return None
        if (folded := fold(checkpoint, heads)) is None:
            return None
        rows_of_sections = sorted(encode_sections(folded.sections))
        columns = zip(*rows_of_sections, strict=True) if rows_of_sections else NO_ROWS
        [(stored, changed)] = await session.fetch(
            "fold_output", *folded.checkpoint[1:6], domain, mark, version, *columns
        )
    return FewStored(folded.checkpoint._replace(mark=mark, holder=holder), changed) if stored else None


async def _checkpoint(session: Session, domain: str) -> Record:
    rows = await session.fetch("checkpoint", domain)
    if not rows:
        await session.execute("create_checkpoint", domain)
        rows = await session.fetch("checkpoint", domain)
    return rows[0]
