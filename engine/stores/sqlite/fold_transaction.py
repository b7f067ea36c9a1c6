"""Checkpoints and the transactions that fold, in `pages.db`."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import apsw

from pagefold.domains import DOMAINS
from pagefold.engine.errors import LeaseLost, ReadTooLarge
from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.engine.stores.section_rows import decode_sections, encode_sections
from pagefold.engine.stores.sqlite.connections import (
    SQL,
    Connections,
    ThreadedConnection,
    fetch,
    in_transaction,
    packed_of,
    packed_within,
    unpacked_sections,
)
from pagefold.engine.stores.sqlite.dead_letters import dead_letter_row
from pagefold.engine.stores.sqlite.feed import note_changes
from pagefold.engine.stores.sqlite.log import unpacked
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.store import MAX_FEW_BYTES, Checkpoint, FewStored, FoldFew, FoldTransaction
from pagefold.projections.section_fold import SharedSections

NO_LIMIT = -1
"""A `LIMIT` of SQLite that is none."""


class SQLiteFoldTransaction(FoldTransaction):
    """Holds the write lock of `pages.db` from before the heads are read until the commit."""

    def __init__(
        self,
        pages: ThreadedConnection[apsw.Connection],
        proof: SQLiteProof,
        checkpoint: Checkpoint,
        *,
        references: bool,
    ) -> None:
        self._pages = pages
        self._proof = proof
        self.checkpoint = checkpoint
        self.has_references = references

    async def write(self, sections: Sequence[SharedSections], *, followed: bool = False) -> int:
        if not sections:
            return 0
        if followed:
            return await self._pages.run_reserved(partial(_write, sections=sections))
        return await self._pages.run_reserved(partial(_write_noted, domain=self.checkpoint.domain, sections=sections))

    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[SharedSections]:
        if not skus:
            return []
        domain, wanted = self.checkpoint.domain, list(skus)

        def read(connection: apsw.Connection) -> list[SharedSections]:
            if max_bytes is not None:
                bindings = (domain, apsw.carray(tuple(wanted)))
                reads = iter([packed_within(connection, "domain_sections", "section_sizes", bindings, max_bytes)])
            else:
                reads = packed_of(connection, "domain_sections", wanted, domain)
            return [decode_sections(row) for rows in reads for row in unpacked_sections(*rows)]

        return await self._pages.run_reserved(read)

    async def remove(self, skus: Collection[str]) -> None:
        domain = self.checkpoint.domain

        def remove(connection: apsw.Connection) -> None:
            rows = fetch(connection, "remove_sections", domain, apsw.carray(tuple(skus)))
            note_changes(connection, domain, sorted([str(sku) for (sku,) in rows]))

        if skus:
            await self._pages.run_reserved(remove)

    async def references(self, streams: Collection[str]) -> list[StoredReference]:
        rows = await self._pages.fetch_reserved("references_of_streams", apsw.carray(tuple(streams))) if streams else []
        return list(map(StoredReference._make, rows))

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        def read(connection: apsw.Connection) -> list[StoredReference]:
            statement, found = SQL["stated_references"], list[StoredReference]()
            for reference in references:
                found += map(StoredReference._make, connection.execute(statement, (*reference, NO_LIMIT)))
            return found

        return await self._pages.run_reserved(read) if references else []

    async def change_references(self, removed: Sequence[StoredReference], added: Sequence[StoredReference]) -> None:
        def change(connection: apsw.Connection) -> None:
            connection.executemany(SQL["remove_references"], [row[:3] for row in removed])
            connection.executemany(SQL["keep_references"], added)
            if added and not self.has_references:
                fetch(connection, "have_references", self.checkpoint.domain)

        await self._pages.run_reserved(change)

    async def streaks(self) -> dict[str, int]:
        return dict(await self._pages.fetch_reserved("domain_streaks", self.checkpoint.domain))

    async def save_streaks(self, streaks: Mapping[str, int]) -> None:
        rows = [(self.checkpoint.domain, *streak) for streak in streaks.items()]
        await self._pages.run_reserved(lambda connection: connection.executemany(SQL["keep_streak"], rows))

    async def add_dead_letters(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        rows = [dead_letter_row(dead_letter) for dead_letter in dead_letters]
        await self._pages.run_reserved(lambda connection: connection.executemany(SQL["keep_dead_letter"], rows))

    async def has_dead_letters(self) -> bool:
        domain = self.checkpoint.domain
        return bool((await self._pages.fetch_reserved("has_dead_letters", domain))[0][0])

    async def resolve(self, streams: Collection[str], resolution: Resolution) -> None:
        if streams:
            await self._pages.fetch_reserved("resolve_dead_letters", *resolution, apsw.carray(tuple(streams)))

    async def advance(self, checkpoint: Checkpoint) -> Checkpoint:
        moved = await self._pages.run_reserved(partial(_advance, proof=self._proof, checkpoint=checkpoint))
        return moved._replace(holder=self.checkpoint.holder)


@asynccontextmanager
async def open_fold_transaction(
    connections: Connections, proof: SQLiteProof, domain: str, holder: str | None
) -> AsyncIterator[FoldTransaction]:
    """A transaction of the holder, or of a repair if that is None. Raises `LeaseLost`, `LogReplaced`."""
    async with connections.pages.transaction():
        read = partial(_checkpoint, proof=proof, domain=domain, holder=holder)
        checkpoint, references = await connections.pages.run_reserved(read)
        yield SQLiteFoldTransaction(connections.pages, proof, checkpoint, references=references)


async def fold_few(
    connections: Connections, proof: SQLiteProof, domain: str, holder: str, streams: Sequence[str], fold: FoldFew
) -> FewStored | None:
    """One transaction in one step of the thread: see `Lease.fold_few`. Heads are read under the write lock."""
    wanted = apsw.carray(tuple(streams))

    def run(pages: apsw.Connection) -> FewStored | None:
        checkpoint, references = _checkpoint(pages, proof, domain, holder)
        if fetch(pages, "have_dead_letters", domain, wanted)[0][0]:
            return None
        if references and fetch(pages, "references_of_streams", wanted):
            return None
        try:
            events = connections.events_witness.current()
            heads = unpacked(*packed_within(events, "heads", "head_sizes", (wanted,), MAX_FEW_BYTES))
        except ReadTooLarge:
            return None
        if (folded := fold(checkpoint, heads)) is None:
            return None
        changed = _write(pages, folded.sections)
        return FewStored(_advance(pages, proof, folded.checkpoint)._replace(holder=holder), changed)

    return await connections.pages.run(in_transaction(run))


def _checkpoint(
    connection: apsw.Connection, proof: SQLiteProof, domain: str, holder: str | None
) -> tuple[Checkpoint, bool]:
    """The checkpoint, inside a transaction, and whether the domain has had references.

    Raises `LeaseLost`, `LogReplaced`.
    """
    fetch(connection, "create_checkpoint", domain)
    *row, log_id, references = fetch(connection, "checkpoint", domain)[0]
    checkpoint = Checkpoint._make(row)
    if holder is not None and checkpoint.holder != holder:
        raise LeaseLost(domain)
    proof.check_checkpoint(domain, checkpoint.position, checkpoint.mark, log_id)
    return checkpoint, bool(references)


def _write(connection: apsw.Connection, sections: Sequence[SharedSections]) -> int:
    before = connection.total_changes()
    connection.executemany(SQL["write_sections"], sorted(encode_sections(sections)))
    return connection.total_changes() - before


def _write_noted(connection: apsw.Connection, domain: str, sections: Sequence[SharedSections]) -> int:
    rows = connection.executemany(SQL["write_noted_sections"], sorted(encode_sections(sections)))
    changed = [str(sku) for (sku,) in rows]
    note_changes(connection, domain, changed)
    return len(changed)


def _advance(connection: apsw.Connection, proof: SQLiteProof, checkpoint: Checkpoint) -> Checkpoint:
    mark, log_id = proof.marked(checkpoint.domain, checkpoint.position)
    fetch(connection, "advance", *checkpoint[1:6], mark, log_id, checkpoint.domain)
    fetch(connection, "all_is_folded", len(DOMAINS))
    return checkpoint._replace(mark=mark)
