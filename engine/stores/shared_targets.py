"""The contract for targets, kept by changes of one row under its lock: a store reads it, and writes the result."""

from abc import abstractmethod

from pagefold.engine.stores import target_state
from pagefold.engine.stores.delivery_records import answer_of
from pagefold.engine.stores.delivery_targets import DeliveryTargets, Reservation, StopKind
from pagefold.engine.stores.target_state import Change, Result, TargetState


class SharedTargets(DeliveryTargets):
    """All but how the row is read and written."""

    @abstractmethod
    async def _change(self, target: str, change: Change[Result], *, durable: bool = False) -> Result:
        """Changes the state of a target, alone, and makes the target known. `durable`: also on SQLite."""

    @abstractmethod
    async def _peek(self, target: str) -> tuple[TargetState, int] | None:
        """The state of a target, and the time, without a lock; None if the target is not known."""

    async def _change_if_needed(self, target: str, change: Change[Result]) -> Result:
        """As `_change`, without a lock if nothing changes."""
        if (found := await self._peek(target)) is not None:
            after, result = change(*found)
            if after == found[0]:
                return result
        return await self._change(target, change)

    async def stop(self, target: str, kind: StopKind, by: str, reason: str) -> None:
        await self._change(target, target_state.stopped(kind, answer_of(by), answer_of(reason)), durable=True)

    async def resume(self, target: str) -> bool:
        return await self._change(target, target_state.resumed, durable=True)

    async def open_circuit(self, target: str, reason: str, probe_seconds: float) -> bool:
        return await self._change(target, target_state.opened(answer_of(reason), probe_seconds))

    async def take_probe(self, target: str, seconds: float) -> bool:
        return await self._change_if_needed(target, target_state.probing(seconds))

    async def close_circuit(self, target: str) -> bool:
        return await self._change(target, target_state.closed)

    async def note_success(self, target: str) -> None:
        await self._change_if_needed(target, target_state.succeeded)

    async def note_failure(self, target: str) -> None:
        await self._change_if_needed(target, target_state.failed)

    async def note_problem(self, target: str, reason: str) -> None:
        await self._change_if_needed(target, target_state.troubled(answer_of(reason)))

    async def end_problem(self, target: str) -> None:
        await self._change_if_needed(target, target_state.untroubled)

    async def reserve(self, target: str, requests: int, rate: float, burst: float, within: float = 0.25) -> Reservation:
        return await self._change(target, target_state.reserved(requests, rate, burst, within))

    async def hold_off(self, target: str, seconds: float) -> None:
        await self._change(target, target_state.held_off(seconds))

    async def take_slots(self, target: str, holder: str, wanted: int, of: int, seconds: float) -> int:
        return await self._change(target, target_state.with_slots(holder, wanted, of, seconds))

    async def slow_down(self, target: str, factor: float, least: float, seconds: float) -> float:
        return await self._change_if_needed(
            target, target_state.paced(lambda pace: max(min(least, pace), pace * factor), seconds)
        )

    async def speed_up(self, target: str, step: float, seconds: float) -> float:
        return await self._change_if_needed(target, target_state.paced(lambda pace: min(1.0, pace + step), seconds))
