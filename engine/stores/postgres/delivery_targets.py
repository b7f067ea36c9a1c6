"""What the processes that deliver to a target share: a row, changed under its lock."""

from collections.abc import Sequence

from pagefold.engine.stores.delivery_records import is_group
from pagefold.engine.stores.delivery_targets import DeliveryTarget
from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.shared_targets import SharedTargets
from pagefold.engine.stores.target_state import Change, Result, TargetState, decode_state, encode_state, shown


class PostgresDeliveryTargets(SharedTargets):
    """The table `delivery_targets`."""

    def __init__(self, connections: Connections) -> None:
        self._readers = connections.readers
        self._writers = connections.delivery_writers

    async def targets(self) -> Sequence[DeliveryTarget]:
        return [
            shown(name, decode_state(state), now, is_resetting=is_resetting)
            for name, now, state, is_resetting in await self._readers.fetch("delivery_targets")
            if not is_group(name)
        ]

    async def _change(self, target: str, change: Change[Result], *, durable: bool = False) -> Result:  # noqa: ARG002  # every commit is
        async with self._writers.session() as session, session.transaction():
            rows = await session.fetch("lock_delivery_target", target)
            if not rows:
                await session.execute("add_delivery_target", target)
                rows = await session.fetch("lock_delivery_target", target)
            [(now, text)] = rows
            before = decode_state(text)
            after, result = change(before, now)
            if after != before:
                await session.execute("keep_delivery_target", target, encode_state(after), after.stop is not None)
        return result

    async def _peek(self, target: str) -> tuple[TargetState, int] | None:
        for now, text in await self._readers.fetch("delivery_target", target):
            return decode_state(text), now
        return None
