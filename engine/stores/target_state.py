"""What the processes that deliver to a target share, as it is stored, and how it changes. Pure, for both stores.

A store reads the state of a target under a lock, applies one of these changes, and writes the result. Moments are
microseconds since 1970, by the store's clock. A clock that was set back by more than any wait would block a target: a
moment too far ahead counts as past.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from pagefold.engine.stores.delivery_records import SECOND, text_of
from pagefold.engine.stores.delivery_targets import (
    MAX_AHEAD_SECONDS,
    MAX_HOLD_OFF_SECONDS,
    DeliveryTarget,
    OpenCircuit,
    Reservation,
    Stop,
    StopKind,
    TargetProblem,
)

MAX_SLOT_SECONDS = 3_600.0
"""The longest time for which slots are taken."""

Result = TypeVar("Result")


class Slots(NamedTuple):
    """The slots of a holder: how many it wants and has, until when."""

    holder: str
    wanted: int
    granted: int
    until: int


class TargetState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shared state of a target. `free_at` is when the bucket is full again: GCRA's theoretical arrival time."""

    stop: tuple[StopKind, str, str, int] | None = None
    circuit: tuple[int, str] | None = None
    probe_at: int = 0
    failing_since: int | None = None
    succeeded_at: int | None = None
    pace: float = 1.0
    paced_at: int = 0
    free_at: int = 0
    held_until: int = 0
    slots: tuple[Slots, ...] = ()
    problem: tuple[int, str] | None = None


def decode_state(text: str) -> TargetState:
    """The state, as it is stored."""
    return msgspec.json.decode(text, type=TargetState)


def encode_state(state: TargetState) -> str:
    """The text that is stored."""
    return msgspec.json.encode(state).decode()


Change: TypeAlias = Callable[[TargetState, int], tuple[TargetState, Result]]
"""A function of a state and the time: the state after it, and what its caller gets."""

replace = msgspec.structs.replace


def shown(name: str, state: TargetState, now: int, *, is_resetting: bool) -> DeliveryTarget:
    """The state as others see it."""
    stop = None if state.stop is None else Stop(*state.stop[:3], text_of(state.stop[3]))
    probe_in = max(0, state.probe_at - now) / SECOND
    circuit = None if state.circuit is None else OpenCircuit(text_of(state.circuit[0]), state.circuit[1], probe_in)
    return DeliveryTarget(
        name=name,
        stop=stop,
        circuit=circuit,
        failing_since=None if state.failing_since is None else text_of(state.failing_since),
        last_success_at=None if state.succeeded_at is None else text_of(state.succeeded_at),
        pace=state.pace,
        held_off=max(0, _ahead(state.held_until, now, MAX_HOLD_OFF_SECONDS) - now) / SECOND,
        slots=sum(each.granted for each in _live(state, now)),
        is_resetting=is_resetting,
        problem=None if state.problem is None else TargetProblem(text_of(state.problem[0]), state.problem[1]),
    )


# --- whether -------------------------------------------------------------------------------------------


def stopped(kind: StopKind, by: str, reason: str) -> Change[None]:
    """Stops a target."""
    return lambda state, now: (replace(state, stop=(kind, by, reason, now)), None)


def resumed(state: TargetState, _now: int) -> tuple[TargetState, bool]:
    """Ends a stop."""
    after = replace(state, stop=None, circuit=None, probe_at=0, failing_since=None)
    return after, state.stop is not None or state.circuit is not None


def opened(reason: str, probe_seconds: float) -> Change[bool]:
    """Opens the circuit."""

    def change(state: TargetState, now: int) -> tuple[TargetState, bool]:
        since = now if state.circuit is None else state.circuit[0]
        failing = now if state.failing_since is None else state.failing_since
        probe_at = now + _micros(probe_seconds, MAX_HOLD_OFF_SECONDS)
        after = replace(state, circuit=(since, reason), probe_at=probe_at, failing_since=failing)
        return after, state.circuit is None

    return change


def probing(seconds: float) -> Change[bool]:
    """Takes the probe of an open circuit, if it is time."""

    def change(state: TargetState, now: int) -> tuple[TargetState, bool]:
        if state.circuit is None or _ahead(state.probe_at, now, MAX_HOLD_OFF_SECONDS) > now:
            return state, False
        return replace(state, probe_at=now + _micros(seconds, MAX_HOLD_OFF_SECONDS)), True

    return change


def closed(state: TargetState, now: int) -> tuple[TargetState, bool]:
    """Closes the circuit."""
    after = replace(state, circuit=None, probe_at=0, failing_since=None, succeeded_at=now)
    return after, state.circuit is not None


def succeeded(state: TargetState, now: int) -> tuple[TargetState, None]:
    """Notes a success, unless one was noted within a second and none failed since."""
    noted = state.succeeded_at is not None and abs(now - state.succeeded_at) < SECOND
    if noted and state.failing_since is None and state.problem is None:
        return state, None
    return replace(state, failing_since=None, succeeded_at=now, problem=None), None


def failed(state: TargetState, now: int) -> tuple[TargetState, None]:
    """Notes the first failure after a success."""
    return (state if state.failing_since is not None else replace(state, failing_since=now)), None


def troubled(reason: str) -> Change[None]:
    """Notes a problem; another one has begun when the first did."""

    def change(state: TargetState, now: int) -> tuple[TargetState, None]:
        since = now if state.problem is None else state.problem[0]
        return replace(state, problem=(since, reason)), None

    return change


def untroubled(state: TargetState, _now: int) -> tuple[TargetState, None]:
    """Forgets the problem."""
    return replace(state, problem=None), None


# --- how fast ------------------------------------------------------------------------------------------


def reserved(requests: int, rate: float, burst: float, within: float) -> Change[Reservation]:
    """Reserves requests in the bucket (GCRA): all or none, at a moment that is at most `within` seconds ahead."""
    if requests < 1 or rate <= 0 or requests > burst:
        problem = f"{requests} requests of a burst of {burst}, at {rate} a second, could never be granted"
        raise ValueError(problem)
    each = SECOND / rate
    ahead = min(within, MAX_AHEAD_SECONDS) * SECOND

    def change(state: TargetState, now: int) -> tuple[TargetState, Reservation]:
        begin = _ahead(state.held_until, now, MAX_HOLD_OFF_SECONDS)
        if state.free_at > now + MAX_AHEAD_SECONDS * SECOND + burst * each:  # the clock was set back: an empty bucket
            state = replace(state, free_at=ceil(now + burst * each))
        full_at = max(begin, state.free_at) + requests * each
        wait = max(begin, full_at - burst * each) - now
        if wait > ahead:
            return state, Reservation(granted=False, wait=(wait - ahead) / SECOND)
        return replace(state, free_at=ceil(full_at)), Reservation(granted=True, wait=wait / SECOND)

    return change


def held_off(seconds: float) -> Change[None]:
    """Grants nothing for a while."""

    def change(state: TargetState, now: int) -> tuple[TargetState, None]:
        until = now + _micros(seconds, MAX_HOLD_OFF_SECONDS)
        return replace(state, held_until=max(until, _ahead(state.held_until, now, MAX_HOLD_OFF_SECONDS))), None

    return change


def with_slots(holder: str, wanted: int, of: int, seconds: float) -> Change[int]:
    """Takes, renews or gives back slots."""

    def change(state: TargetState, now: int) -> tuple[TargetState, int]:
        others = [each for each in _live(state, now) if each.holder != holder]
        if wanted <= 0:
            return replace(state, slots=tuple(others)), 0
        free = max(0, of - sum(each.granted for each in others))
        share = max(1, of // (len(others) + 1))
        is_short = any(each.granted < min(each.wanted, share) for each in others)
        granted = min(wanted, free, share) if is_short else min(wanted, free)
        own = Slots(holder, wanted, granted, now + _micros(seconds, MAX_SLOT_SECONDS))
        return replace(state, slots=(*others, own)), granted

    return change


def paced(change: Callable[[float], float], seconds: float) -> Change[float]:
    """Changes the pace, unless it was changed in the last seconds."""

    def apply(state: TargetState, now: int) -> tuple[TargetState, float]:
        if abs(now - state.paced_at) < seconds * SECOND:
            return state, state.pace
        pace = change(state.pace)
        return (state if pace == state.pace else replace(state, pace=pace, paced_at=now)), pace

    return apply


def _live(state: TargetState, now: int) -> list[Slots]:
    return [each for each in state.slots if now < each.until <= now + MAX_SLOT_SECONDS * SECOND]


def _ahead(moment: int, now: int, most: float) -> int:
    """A moment, or now if it is past, or further ahead than it can be."""
    return moment if now < moment <= now + most * SECOND else now


def _micros(seconds: float, most: float) -> int:
    return round(min(max(seconds, 0.0), most) * SECOND)
