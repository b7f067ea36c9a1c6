"""What the processes that deliver to a target share: whether and how fast it may be sent to. Both stores keep it.

Moments and seconds are as in `pagefold.engine.stores.delivery_records`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

StopKind: TypeAlias = Literal["paused", "disabled"]
"""`paused` by a person, `disabled` after too long without a success."""

MAX_AHEAD_SECONDS = 60.0
"""How far ahead requests may be reserved."""

MAX_HOLD_OFF_SECONDS = 86_400.0
"""The longest time for which a target's own limit is obeyed."""


class Stop(NamedTuple):
    """Why nothing is delivered to a target, since when, and by whom it was decided."""

    kind: StopKind
    by: str
    reason: str
    at: str


class OpenCircuit(NamedTuple):
    """Since when the target is only probed, why, and in how many seconds it is next; 0 for now."""

    since: str
    reason: str
    probe_in: float


class TargetProblem(NamedTuple):
    """Why a process cannot deliver to a target at all, and since when: a secret or a library is missing."""

    since: str
    reason: str


class DeliveryTarget(NamedTuple):
    """The shared state of a target.

    `failing_since` is the first failure after the last success. `pace`, from 0 to 1, is the part of its rate and
    concurrency that is used. `held_off` is for how many seconds nothing may be sent, as the target has said.
    """

    name: str
    stop: Stop | None
    circuit: OpenCircuit | None
    failing_since: str | None
    last_success_at: str | None
    pace: float
    held_off: float
    slots: int
    is_resetting: bool
    problem: TargetProblem | None = None


class Reservation(NamedTuple):
    """Whether requests were reserved, and how many seconds to wait: before they are sent, or before asking again."""

    granted: bool
    wait: float


class DeliveryTargets(ABC):
    """The targets that were ever delivered to. A method that writes makes the target known."""

    @abstractmethod
    async def targets(self) -> Sequence[DeliveryTarget]:
        """All of them, by name. Without groups."""

    # --- whether -------------------------------------------------------------------------------------------

    @abstractmethod
    async def stop(self, target: str, kind: StopKind, by: str, reason: str) -> None:
        """Stops delivering, durably: from now on nothing is claimed. Replaces an earlier stop."""

    @abstractmethod
    async def resume(self, target: str) -> bool:
        """Ends a stop, closes the circuit, and forgets failures; returns whether it was stopped or open."""

    @abstractmethod
    async def open_circuit(self, target: str, reason: str, probe_seconds: float) -> bool:
        """Opens the circuit, or keeps it open, until the next probe; returns whether it was closed."""

    @abstractmethod
    async def take_probe(self, target: str, seconds: float) -> bool:
        """Whether the circuit is open, and the caller is the one that may probe now, for some seconds."""

    @abstractmethod
    async def close_circuit(self, target: str) -> bool:
        """Closes the circuit after a success, and returns whether it was open."""

    @abstractmethod
    async def note_success(self, target: str) -> None:
        """Notes a success, which ends `failing_since` but closes no circuit. Writes at most once a second."""

    @abstractmethod
    async def note_failure(self, target: str) -> None:
        """Notes a failure of the target. Writes only the first one after a success."""

    @abstractmethod
    async def note_problem(self, target: str, reason: str) -> None:
        """Notes that a process cannot deliver to it at all, until a success, or `end_problem`. Writes what is new."""

    @abstractmethod
    async def end_problem(self, target: str) -> None:
        """Forgets the problem: a process can deliver to it."""

    # --- how fast ------------------------------------------------------------------------------------------

    @abstractmethod
    async def reserve(self, target: str, requests: int, rate: float, burst: float, within: float = 0.25) -> Reservation:
        """Reserves requests, of all processes together at most `rate` a second, and a `burst` at once.

        Over any interval of t seconds at most rate * t + burst are granted, whichever process asks. Nothing is
        reserved if they could be sent only after more than `within` seconds, at most `MAX_AHEAD_SECONDS`. Raises
        `ValueError` for more requests than the burst, which could never be granted.
        """

    @abstractmethod
    async def hold_off(self, target: str, seconds: float) -> None:
        """Grants nothing for some seconds, as the target has said. A longer time that was said before stays."""

    @abstractmethod
    async def take_slots(self, target: str, holder: str, wanted: int, of: int, seconds: float) -> int:
        """Takes, renews or gives back slots for requests at the same time, and returns how many the holder has.

        Those of all holders are at most `of` together; a holder's expire after some seconds unless it asks again. While
        another holder has less than its share, one gets no more than its own share. `wanted` 0 gives all back. A holder
        that could not ask in time is to send nothing more.
        """

    @abstractmethod
    async def slow_down(self, target: str, factor: float, least: float, seconds: float) -> float:
        """Multiplies the pace, down to `least`, and returns it; unless it was changed in the last `seconds`."""

    @abstractmethod
    async def speed_up(self, target: str, step: float, seconds: float) -> float:
        """Adds to the pace, up to 1, and returns it; unless it was changed in the last `seconds`."""
