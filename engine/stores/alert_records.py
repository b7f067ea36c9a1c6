"""The contract of a store for alerts. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeAlias

AlertEvent: TypeAlias = Literal["crossed", "resolved"]


class StoredAlert(NamedTuple):
    """That a key figure was above its limit `since` a time. `reading` is what was measured then, as JSON.

    `below_since` is when it came below, for now; `resolved_at` when that had lasted. Times are fixed-width UTC text.
    """

    number: int
    kpi: str
    label: str
    since: str
    reading: bytes
    below_since: str | None
    resolved_at: str | None


class AlertMessage(NamedTuple):
    """What a target is to be sent of an alert, which was tried so often. `reading` is that of the event."""

    alert: int
    target: str
    event: AlertEvent
    since: str
    reading: bytes
    tries: int


class Alerts(ABC):
    """When key figures were above their limits, and what was sent to whom. A key figure and label has one open one."""

    @abstractmethod
    async def open(self) -> Sequence[StoredAlert]:
        """Those that are not resolved, the oldest first."""

    @abstractmethod
    async def newest(self, limit: int) -> Sequence[StoredAlert]:
        """The newest ones, resolved or not."""

    @abstractmethod
    async def begin(self, key: tuple[str, str], at: str, reading: bytes, targets: Collection[str]) -> None:
        """Opens an alert for a key figure and label, and queues a message for each target, durably and together.

        A no-op if one is open.
        """

    @abstractmethod
    async def note_below(self, number: int, at: str | None) -> None:
        """Notes since when it is below its limit; None that it is above again."""

    @abstractmethod
    async def resolve(self, number: int, at: str, reading: bytes) -> None:
        """Resolves an alert, and queues a message for each target that was to be notified. A no-op if it is."""

    @abstractmethod
    async def due(self, at: str, limit: int) -> Sequence[AlertMessage]:
        """The next messages, the oldest first. That an alert is resolved is due once the other message is done with."""

    @abstractmethod
    async def sent(self, message: AlertMessage, at: str) -> None:
        """Notes that a message was sent, or that it will never be: it is not due any more."""

    @abstractmethod
    async def failed(self, message: AlertMessage, error: str, due: str) -> None:
        """Notes a failure, and when it is tried again."""

    @abstractmethod
    async def forget(self, before: str) -> None:
        """Removes alerts that were resolved before a time, and their messages."""
