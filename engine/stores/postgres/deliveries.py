"""Deliveries: tables next to the log, written over connections of their own, so that appends never wait for them.

Locks are taken in one order by all: the target's cursor, rows by key, the numbers of rows, totals. A claim skips rows
that are locked.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from pagefold.engine.stores.delivery_letters import letter_cause
from pagefold.engine.stores.delivery_records import (
    FIRST_KEY,
    FIRST_WAITING,
    MAX_SECONDS,
    SECOND,
    Claim,
    ClaimedDelivery,
    Deliveries,
    DeliveryCount,
    DeliveryKey,
    DeliveryState,
    Placement,
    Settlement,
    StoredDelivery,
    WaitingKey,
    Wanted,
    answer_of,
    by_target,
    delay_of,
    is_group,
    may_have_arrived,
    micros_of,
    stored_delivery,
    text_of,
    totals_of,
)
from pagefold.engine.stores.postgres.connections import Connections, Session

DUE = (-(2**62), 0)
FAR = (round(MAX_SECONDS * SECOND), 2**62)
"""Between which moments rows are due, in microseconds from now: those of the past, and those of a wrong clock."""


class PostgresDeliveries(Deliveries):
    """The table `deliveries`, and what belongs to it."""

    def __init__(self, connections: Connections) -> None:
        self._readers = connections.readers
        self._writers = connections.delivery_writers

    async def cursor(self, target: str) -> str:
        rows = await self._readers.fetch("delivery_cursor", target)
        return str(rows[0][0]) if rows else ""

    async def mark(
        self,
        target: str,
        before: str,
        after: str,
        wanted: Collection[Wanted],
        *,
        held: bool = False,
        unsent_withdrawals: bool = False,
    ) -> int | None:
        columns = _columns(sorted(wanted), 4)
        async with self._writers.session() as session, session.transaction():
            moved = await session.fetch("move_delivery_cursor", target, before, after)
            if not moved and before == "":
                await session.execute("add_delivery_target", target)
                await session.execute("add_delivery_cursor", target)
                moved = await session.fetch("move_delivery_cursor", target, before, after)
            if not moved:
                return None
            values = (*columns[:3], moved[0][0], held, unsent_withdrawals, columns[3])
            return await session.execute("mark_deliveries", target, *values) if wanted else 0

    async def claim(
        self, target: str, holder: str, limit: int, seconds: float
    ) -> tuple[Claim, Sequence[ClaimedDelivery]]:
        claim = Claim(target, holder, secrets.randbits(63))
        lease = (limit, delay_of(seconds), claim.number, holder)
        async with self._writers.session() as session:
            rows = await session.fetch("claim_deliveries", target, *DUE, *lease)
            if not rows:
                rows = await session.fetch("claim_deliveries", target, *FAR, *lease)
        return claim, list(map(ClaimedDelivery._make, rows))

    async def renew(self, claim: Claim, keys: Collection[DeliveryKey], seconds: float) -> set[DeliveryKey]:
        names = (claim.target, claim.number, claim.holder, *_columns(sorted(keys), 2))
        async with self._writers.session() as session:
            rows = await session.fetch("renew_deliveries", *names, delay_of(seconds))
        return set(keys).difference(map(DeliveryKey._make, rows))

    async def offer(self, claim: Claim, offers: Mapping[DeliveryKey, bytes | None]) -> None:
        rows = [(*key, echo) for key, echo in sorted(offers.items())]
        async with self._writers.session() as session:
            await session.execute("offer_deliveries", claim.target, claim.number, claim.holder, *_columns(rows, 3))

    async def settle(
        self, claim: Claim, settlements: Collection[Settlement], counts: Mapping[str, int] | None = None
    ) -> set[DeliveryKey]:
        columns = _columns(sorted(map(partial(_values, claim.target), settlements)), 10)
        lost = {DeliveryKey(each.sku, each.channel) for each in settlements}
        async with self._writers.session() as session, session.transaction():
            if settlements:
                found = await session.fetch("settle_deliveries", claim.target, claim.number, claim.holder, *columns)
                lost.difference_update(map(DeliveryKey._make, found))
            if overtaking := may_have_arrived(settlements, lost):
                await session.execute("overtake_deliveries", claim.target, *_columns(overtaking, 2))
            await _add(session, claim.target, totals_of(settlements, lost, counts))
        return lost

    async def next_due(self, target: str) -> float | None:
        rows = await self._readers.fetch("next_due_delivery", target, FAR[0])
        return rows[0][0] / SECOND if rows else None

    # --- for people and groups -----------------------------------------------------------------------------

    async def release(self, target: str, keys: Collection[DeliveryKey]) -> int:
        return await self._move(target, keys, ["held"], "waiting")

    async def retry(self, target: str, keys: Collection[DeliveryKey]) -> int:
        return await self._move(target, keys, ["dead", "discarded"], "waiting")

    async def discard(self, target: str, keys: Collection[DeliveryKey]) -> int:
        return await self._move(target, keys, ["dead"], "discarded")

    async def _move(
        self, target: str, keys: Collection[DeliveryKey], states: list[DeliveryState], to: DeliveryState
    ) -> int:
        return await self._writers.execute("move_deliveries", target, *_columns(sorted(keys), 2), states, to)

    async def place(self, target: str, placements: Collection[Placement]) -> int:
        if not placements:
            return 0
        columns = _columns(sorted(placements), 5)
        async with self._writers.session() as session, session.transaction():
            await session.execute("add_delivery_target", target)
            await session.execute("add_delivery_cursor", target)
            return await session.execute("place_deliveries", target, *columns)

    async def edit(self, target: str, key: DeliveryKey, document: bytes) -> bool:
        return bool(await self._writers.execute("edit_delivery", target, *key, document))

    async def redeliver(self, target: str, keys: Collection[DeliveryKey]) -> int:
        return await self._writers.execute("redeliver_deliveries", target, *_columns(sorted(keys), 2), 0)

    async def reset(self, target: str, since: str | None = None) -> None:
        await self._writers.execute("begin_reset", target, None if since is None else micros_of(since))

    async def reset_step(self, target: str, limit: int) -> bool:
        async with self._writers.session() as session, session.transaction():
            for epoch, sku, channel, since in await session.fetch("reset_progress", target):
                rows = await session.fetch("reset_deliveries", target, sku, channel, since, epoch, limit)
                if keys := [DeliveryKey(*row[:2]) for row in rows if row[2]]:
                    await session.execute("redeliver_deliveries", target, *_columns(keys, 2), epoch)
                is_left = len(rows) == limit
                await session.execute("keep_reset", target, *(rows[-1][:2] if is_left else (None, None)))
                return is_left
        return False

    async def forget(self, target: str, limit: int) -> bool:
        async with self._writers.session() as session, session.transaction():
            await session.execute("keep_reset", target, None, None)
            if await session.execute("forget_deliveries", target, limit) == limit:
                return True
            for table in ("cursor", "target", "counts", "totals"):
                await session.execute(f"forget_delivery_{table}", target)
        return False

    # --- to be seen ----------------------------------------------------------------------------------------

    async def receipts(self, skus: Collection[str], target: str | None = None) -> Sequence[StoredDelivery]:
        rows = await self._readers.fetch("deliveries_of_skus", list(skus), target)
        return [stored_delivery(row) for row in rows if target is not None or not is_group(row[0])]

    async def rows(self, target: str, after: DeliveryKey = FIRST_KEY, limit: int = 100) -> Sequence[StoredDelivery]:
        return list(map(stored_delivery, await self._readers.fetch("deliveries_by_key", target, *after, limit)))

    async def oldest(
        self, target: str, state: DeliveryState, after: WaitingKey = FIRST_WAITING, limit: int = 100
    ) -> Sequence[StoredDelivery]:
        place = (micros_of(after.since), after.sku, after.channel)
        return list(map(stored_delivery, await self._readers.fetch("oldest_deliveries", target, state, *place, limit)))

    async def waiting_since(self) -> Mapping[str, str]:
        found = await self._readers.fetch("waiting_since")
        return {target: text_of(since) for target, since in found if not is_group(target)}

    async def counts(self, target: str | None = None) -> Sequence[DeliveryCount]:
        found = map(DeliveryCount._make, await self._readers.fetch("delivery_counts", target))
        return [each for each in found if target is not None or not is_group(each.target)]

    async def totals(self, target: str | None = None) -> Mapping[str, Mapping[str, int]]:
        found = await self._readers.fetch("delivery_totals", target)
        return by_target(row for row in found if target is not None or not is_group(row[0]))

    async def count(self, target: str, counts: Mapping[str, int]) -> None:
        async with self._writers.session() as session:
            await _add(session, target, dict(sorted(counts.items())))


async def _add(session: Session, target: str, counts: Mapping[str, int]) -> None:
    if counts:
        await session.execute("add_delivery_totals", target, list(counts), list(counts.values()))


def _values(target: str, each: Settlement) -> tuple[object, ...]:
    page_tag = each.tag if each.page_tag is None else each.page_tag
    outcome = (each.sku, each.channel, each.outcome, each.tag, page_tag, each.position)
    return (*outcome, answer_of(each.answer), delay_of(each.delay), each.echo, letter_cause(target, each))


def _columns(rows: Sequence[Sequence[object]], number: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(number)]
