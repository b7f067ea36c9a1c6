"""Checkpoints and the transactions that fold."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from pagefold.engine.errors import LeaseLost, LogReplaced
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.postgres.connections import Record, Session
from pagefold.engine.stores.postgres.dead_letters import dead_letter_columns
from pagefold.engine.stores.postgres.log_proof import UNPROVED, problem
from pagefold.engine.stores.postgres.sized_reads import sections_within
from pagefold.engine.stores.size_batches import batches
from pagefold.engine.stores.store import Checkpoint, FoldTransaction
from pagefold.projections.section_fold import Section

SLICE_SECTIONS = 500
SLICE_BYTES = 4 * 1024 * 1024
"""Rows, and bytes, sent to the server at a time: encoding them blocks the event loop."""

VERSIONS = 5
"""The index of `versions` in a row of `domain_sections`."""


class PostgresFoldTransaction(FoldTransaction):
    """Holds the lock of the checkpoint's row from before the heads are read until the commit."""

    def __init__(self, session: Session, checkpoint: Checkpoint) -> None:
        self._session = session
        self.checkpoint = checkpoint

    async def write(self, sections: Sequence[Section]) -> int:
        rows, changed = sorted(sections), 0
        sizes = [len(row[6] or b"") for row in rows]
        for start, stop in batches(sizes, max_bytes=SLICE_BYTES, max_items=SLICE_SECTIONS):
            changed += await self._session.execute("write_section", *zip(*rows[start:stop], strict=True))
        return changed

    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[Section]:
        needed = (self.checkpoint.domain, list(skus))
        read, measure = (partial(self._session.fetch, name, *needed) for name in ("domain_sections", "section_sizes"))
        rows = await sections_within(max_bytes, read, measure, VERSIONS)
        return list(map(Section._make, rows))

    async def remove(self, keys: Collection[tuple[str, str]]) -> None:
        by_channel: dict[str, list[str]] = {}
        for sku, channel in keys:
            by_channel.setdefault(channel, []).append(sku)
        for channel, skus in by_channel.items():
            await self._session.execute("remove_section", self.checkpoint.domain, channel, skus)

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
        *row, proved = await _checkpoint(session, domain)
        checkpoint = Checkpoint._make(row)
        if holder is not None and checkpoint.holder != holder:
            raise LeaseLost(domain)
        # After waiting for the row, the snapshot of the log is older than that: check it again.
        if not proved and (found := await problem(session)) is not None:
            raise LogReplaced(found)
        yield PostgresFoldTransaction(session, checkpoint)


async def _checkpoint(session: Session, domain: str) -> Record:
    rows = await session.fetch("checkpoint", domain)
    if not rows:
        await session.execute("create_checkpoint", domain)
        rows = await session.fetch("checkpoint", domain)
    return rows[0]
