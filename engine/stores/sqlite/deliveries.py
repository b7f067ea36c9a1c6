"""Deliveries, in `deliveries.db`: neither appends nor folds wait for receipts.

The file is made with the first write; a shop without targets has none. It is written with `synchronous = NORMAL`, since
a receipt that is lost with a power failure is a page that is delivered again. But a claim is synced, with everything
before it: nothing is sent of which the file does not know that it may have been.
"""

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import apsw
import msgspec

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
from pagefold.engine.stores.sqlite.connections import Connections, Row, fetch, in_transaction, with_full_sync

FAR = round(MAX_SECONDS * SECOND)
PAST, FUTURE = -(2**62), 2**62
"""A row that is due later than `FAR` from now was given its time by a wrong clock."""

Result = TypeVar("Result")


def system_clock() -> int:
    """The time in microseconds since 1970. The processes of an embedded store share the machine's clock."""
    return time.time_ns() // 1_000


class SQLiteDeliveries(Deliveries):
    """The table `deliveries`, and what belongs to it."""

    def __init__(self, connections: Connections, clock: Callable[[], int] = system_clock) -> None:
        self._connections = connections
        self.clock = clock

    async def _write(self, work: Callable[[apsw.Connection], Result], *, durable: bool = False) -> Result:
        write = in_transaction(work)
        return await self._connections.deliveries.run(with_full_sync(write) if durable else write)

    async def _read(self, statement: str, *bindings: object) -> list[Row]:
        if not self._connections.has_deliveries:
            return []
        return await self._connections.deliveries_reader.fetch(statement, *bindings)

    async def cursor(self, target: str) -> str:
        rows = await self._read("delivery_cursor", target)
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
        rows = _json(sorted(wanted))

        def work(connection: apsw.Connection) -> int | None:
            moved = fetch(connection, "move_delivery_cursor", target, before, after)
            if not moved and before == "":
                fetch(connection, "add_delivery_target", target)
                fetch(connection, "add_delivery_cursor", target)
                moved = fetch(connection, "move_delivery_cursor", target, before, after)
            if not moved:
                return None
            if not wanted:
                return 0
            fetch(connection, "mark_deliveries", target, rows, self.clock(), moved[0][0], held, unsent_withdrawals)
            return connection.changes()

        return await self._write(work)

    async def claim(
        self, target: str, holder: str, limit: int, seconds: float
    ) -> tuple[Claim, Sequence[ClaimedDelivery]]:
        claim = Claim(target, holder, secrets.randbits(63))
        if await self.next_due(target) != 0:  # so that looking costs no write
            return claim, []

        def work(connection: apsw.Connection) -> list[Row]:
            now = self.clock()
            lease = (limit, now + delay_of(seconds), claim.number, holder)
            rows = fetch(connection, "claim_deliveries", target, PAST, now, *lease)
            return rows or fetch(connection, "claim_deliveries", target, now + FAR, FUTURE, *lease)

        return claim, list(map(ClaimedDelivery._make, await self._write(work, durable=True)))

    async def renew(self, claim: Claim, keys: Collection[DeliveryKey], seconds: float) -> set[DeliveryKey]:
        names = (claim.target, claim.number, claim.holder, _json(sorted(keys)))
        rows = await self._write(
            lambda connection: fetch(connection, "renew_deliveries", *names, self.clock() + delay_of(seconds))
        )
        return set(keys).difference(map(DeliveryKey._make, rows))

    async def offer(self, claim: Claim, offers: Mapping[DeliveryKey, bytes | None]) -> None:
        rows = [(*key, None if echo is None else echo.hex()) for key, echo in sorted(offers.items())]
        names = (claim.target, claim.number, claim.holder, _json(rows))
        await self._write(lambda connection: fetch(connection, "offer_deliveries", *names))

    async def settle(
        self, claim: Claim, settlements: Collection[Settlement], counts: Mapping[str, int] | None = None
    ) -> set[DeliveryKey]:
        names = (
            claim.target,
            claim.number,
            claim.holder,
            _json(sorted(map(partial(_values, claim.target), settlements))),
        )
        all_keys = {DeliveryKey(each.sku, each.channel) for each in settlements}

        def work(connection: apsw.Connection) -> set[DeliveryKey]:
            now = self.clock()
            lost = all_keys.difference(map(DeliveryKey._make, fetch(connection, "settle_deliveries", *names, now)))
            if overtaking := may_have_arrived(settlements, lost):
                fetch(connection, "overtake_deliveries", claim.target, _json(overtaking), now)
            _add(connection, claim.target, totals_of(settlements, lost, counts))
            return lost

        return await self._write(work)

    async def next_due(self, target: str) -> float | None:
        rows = await self._read("next_due_delivery", target, self.clock(), FAR)
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
        return await self._change("move_deliveries", target, _json(sorted(keys)), _json(states), to)

    async def place(self, target: str, placements: Collection[Placement]) -> int:
        rows = _json(sorted((*each[:4], each.document.hex()) for each in placements))

        def work(connection: apsw.Connection) -> int:
            fetch(connection, "add_delivery_target", target)
            fetch(connection, "add_delivery_cursor", target)
            fetch(connection, "place_deliveries", target, rows, self.clock())
            return connection.changes()

        return await self._write(work) if placements else 0

    async def edit(self, target: str, key: DeliveryKey, document: bytes) -> bool:
        return bool(await self._change("edit_delivery", target, *key, document))

    async def redeliver(self, target: str, keys: Collection[DeliveryKey]) -> int:
        return await self._change("redeliver_deliveries", target, _json(sorted(keys)), 0)

    async def _change(self, statement: str, *bindings: object) -> int:
        """Runs a statement whose last binding is the time, durably; returns the number of rows."""

        def work(connection: apsw.Connection) -> int:
            fetch(connection, statement, *bindings, self.clock())
            return connection.changes()

        return await self._write(work, durable=True) if self._connections.has_deliveries else 0

    async def reset(self, target: str, since: str | None = None) -> None:
        moment = None if since is None else micros_of(since)
        if self._connections.has_deliveries:
            await self._write(lambda connection: fetch(connection, "begin_reset", target, moment), durable=True)

    async def reset_step(self, target: str, limit: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            for epoch, sku, channel, since in fetch(connection, "reset_progress", target):
                rows = fetch(connection, "reset_deliveries", target, sku, channel, since, epoch, limit)
                keys = [row[:2] for row in rows if row[2]]
                fetch(connection, "redeliver_deliveries", target, _json(keys), epoch, self.clock())
                is_left = len(rows) == limit
                fetch(connection, "keep_reset", target, *(rows[-1][:2] if is_left else (None, None)))
                return is_left
            return False

        return await self._write(work) if self._connections.has_deliveries else False

    async def forget(self, target: str, limit: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            fetch(connection, "forget_deliveries", target, limit)
            if connection.changes() == limit:
                return True
            for table in ("cursor", "target", "counts", "totals"):
                fetch(connection, f"forget_delivery_{table}", target)
            return False

        return await self._write(work) if self._connections.has_deliveries else False

    # --- to be seen ----------------------------------------------------------------------------------------

    async def receipts(self, skus: Collection[str], target: str | None = None) -> Sequence[StoredDelivery]:
        rows = await self._read("deliveries_of_skus", apsw.carray(tuple(skus)), target) if skus else []
        return [stored_delivery(row) for row in rows if target is not None or not is_group(row[0])]

    async def rows(self, target: str, after: DeliveryKey = FIRST_KEY, limit: int = 100) -> Sequence[StoredDelivery]:
        return list(map(stored_delivery, await self._read("deliveries_by_key", target, *after, limit)))

    async def oldest(
        self, target: str, state: DeliveryState, after: WaitingKey = FIRST_WAITING, limit: int = 100
    ) -> Sequence[StoredDelivery]:
        place = (micros_of(after.since), after.sku, after.channel)
        return list(map(stored_delivery, await self._read("oldest_deliveries", target, state, *place, limit)))

    async def waiting_since(self) -> Mapping[str, str]:
        found = await self._read("waiting_since")
        return {target: text_of(since) for target, since in found if not is_group(target)}

    async def counts(self, target: str | None = None) -> Sequence[DeliveryCount]:
        found = map(DeliveryCount._make, await self._read("delivery_counts", target))
        return [each for each in found if target is not None or not is_group(each.target)]

    async def totals(self, target: str | None = None) -> Mapping[str, Mapping[str, int]]:
        found = await self._read("delivery_totals", target)
        return by_target(row for row in found if target is not None or not is_group(row[0]))

    async def count(self, target: str, counts: Mapping[str, int]) -> None:
        await self._write(lambda connection: _add(connection, target, counts))


def _add(connection: apsw.Connection, target: str, counts: Mapping[str, int]) -> None:
    if counts:
        fetch(connection, "add_delivery_totals", target, _json(counts))


def _values(target: str, each: Settlement) -> tuple[object, ...]:
    page_tag = each.tag if each.page_tag is None else each.page_tag
    outcome = (each.sku, each.channel, each.outcome, each.tag, page_tag, each.position)
    echo = None if each.echo is None else each.echo.hex()
    return (*outcome, answer_of(each.answer), delay_of(each.delay), echo, letter_cause(target, each))


def _json(value: Any) -> str:  # noqa: ANN401  # anything that JSON has
    return msgspec.json.encode(value).decode()
