"""What the processes that deliver to a target share: a row in `deliveries.db`, changed by one writer at a time."""

from collections.abc import Callable, Sequence

import apsw

from pagefold.engine.stores.delivery_records import is_group
from pagefold.engine.stores.delivery_targets import DeliveryTarget
from pagefold.engine.stores.shared_targets import SharedTargets
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction, with_full_sync
from pagefold.engine.stores.sqlite.deliveries import system_clock
from pagefold.engine.stores.target_state import Change, Result, TargetState, decode_state, encode_state, shown


class SQLiteDeliveryTargets(SharedTargets):
    """The table `delivery_targets`."""

    def __init__(self, connections: Connections, clock: Callable[[], int] = system_clock) -> None:
        self._connections = connections
        self.clock = clock

    async def targets(self) -> Sequence[DeliveryTarget]:
        if not self._connections.has_deliveries:
            return []
        rows = await self._connections.deliveries_reader.fetch("delivery_targets")
        return [
            shown(name, decode_state(state), self.clock(), is_resetting=bool(is_resetting))
            for name, state, is_resetting in rows
            if not is_group(name)
        ]

    async def _change(self, target: str, change: Change[Result], *, durable: bool = False) -> Result:
        def work(connection: apsw.Connection) -> Result:
            rows = fetch(connection, "lock_delivery_target", target)
            if not rows:
                fetch(connection, "add_delivery_target", target)
            before = decode_state(rows[0][0]) if rows else TargetState()
            after, result = change(before, self.clock())
            if after != before:
                fetch(connection, "keep_delivery_target", target, encode_state(after), after.stop is not None)
            return result

        write = in_transaction(work)
        return await self._connections.deliveries.run(with_full_sync(write) if durable else write)

    async def _peek(self, target: str) -> tuple[TargetState, int] | None:
        if self._connections.has_deliveries:
            for (text,) in await self._connections.deliveries_reader.fetch("delivery_target", target):
                return decode_state(text), self.clock()
        return None
