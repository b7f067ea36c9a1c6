"""Checkpoints and the transactions that fold, in `pages.db`."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain

import apsw

from pagefold.domains import DOMAINS
from pagefold.engine.errors import LeaseLost
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.sqlite.connections import (
    SQL,
    Connections,
    Row,
    ThreadedConnection,
    cut_sections,
    fetch,
    packed_of,
    packed_within,
)
from pagefold.engine.stores.sqlite.dead_letters import dead_letter_row
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.store import Checkpoint, FoldTransaction
from pagefold.projections.section_fold import Section

_section = partial(tuple.__new__, Section)  # takes a third of the time of the class itself


class SQLiteFoldTransaction(FoldTransaction):
    """Holds the write lock of `pages.db` from before the heads are read until the commit."""

    def __init__(self, pages: ThreadedConnection[apsw.Connection], proof: SQLiteProof, checkpoint: Checkpoint) -> None:
        self._pages = pages
        self._proof = proof
        self.checkpoint = checkpoint

    async def write(self, sections: Sequence[Section]) -> int:
        rows = sorted(sections)

        def write(connection: apsw.Connection) -> int:
            before = connection.total_changes()
            connection.executemany(SQL["write_section"], rows)
            return connection.total_changes() - before

        return await self._pages.run_reserved(write)

    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[Section]:
        if not skus:
            return []
        domain, wanted = self.checkpoint.domain, list(skus)

        def read(connection: apsw.Connection) -> list[Section]:
            if max_bytes is not None:
                bindings = (domain, apsw.carray(tuple(wanted)))
                rows = packed_within(connection, "domain_sections", "section_sizes", bindings, max_bytes)
                return sorted(_unpacked(*rows))
            goes = packed_of(connection, "domain_sections", wanted, domain)
            return sorted(chain.from_iterable(_unpacked(*rows) for rows in goes))

        return await self._pages.run_reserved(read)

    async def remove(self, keys: Collection[tuple[str, str]]) -> None:
        rows = [(*key, self.checkpoint.domain) for key in keys]
        await self._pages.run_reserved(lambda connection: connection.executemany(SQL["remove_section"], rows))

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
        def advance(connection: apsw.Connection) -> bytes | None:
            mark, log_id = self._proof.marked(checkpoint.domain, checkpoint.position)
            fetch(connection, "advance", *checkpoint[1:6], mark, log_id, checkpoint.domain)
            fetch(connection, "all_is_folded", len(DOMAINS))
            return mark

        mark = await self._pages.run_reserved(advance)
        return checkpoint._replace(mark=mark, holder=self.checkpoint.holder)


@asynccontextmanager
async def open_fold_transaction(
    connections: Connections, proof: SQLiteProof, domain: str, holder: str | None
) -> AsyncIterator[FoldTransaction]:
    """A transaction of the holder, or of a repair if that is None. Raises `LeaseLost`, `LogReplaced`."""
    async with connections.pages.transaction():

        def read(connection: apsw.Connection) -> Checkpoint:
            fetch(connection, "create_checkpoint", domain)
            *row, log_id = fetch(connection, "checkpoint", domain)[0]
            checkpoint = Checkpoint._make(row)
            if holder is not None and checkpoint.holder != holder:
                raise LeaseLost(domain)
            proof.check_checkpoint(domain, checkpoint.position, checkpoint.mark, log_id)
            return checkpoint

        yield SQLiteFoldTransaction(connections.pages, proof, await connections.pages.run_reserved(read))


def _unpacked(rows: Sequence[Row], blobs: bytes) -> Iterable[Section]:
    """Sections from packed rows."""
    if not rows:
        return ()
    skus, channels, domains, enabled, ready, sizes, lengths, *moments = zip(*rows, strict=True)
    flags = map(bool, enabled), map(bool, ready)
    return map(
        _section, zip(skus, channels, domains, *flags, *cut_sections(blobs, sizes, lengths), *moments, strict=True)
    )
