"""The contract of a store for the audit. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from pagefold.engine.runtime.origin import Via

AuditOutcome: TypeAlias = Literal["done", "refused", "failed", "stopped"]
"""It was done; refused, and nothing was changed; it failed, or was stopped before its end, and may be done in part."""


class NewAuditEntry(NamedTuple):
    """What is known before something is done. `started_at` is fixed-width UTC text.

    `action` is named as its command, such as `dead-letters discard`; `target` is what it is about, such as `ingest-7`;
    `command` does the same, None if there is none.
    """

    started_at: str
    actor: str
    via: Via
    action: str
    target: str
    reason: str | None
    command: str | None


class AuditEntry(NamedTuple):
    """An entry of the audit: who did what, when, why, and what came of it.

    `ended_at` and `outcome` are None while it is going on, or if its process is gone. `error` is why it was refused or
    failed; `details` is a JSON object with counts and samples.
    """

    number: int
    started_at: str
    actor: str
    via: Via
    action: str
    target: str
    reason: str | None
    command: str | None
    ended_at: str | None
    outcome: AuditOutcome | None
    error: str | None
    details: str


class AuditEnd(NamedTuple):
    """What came of something. `at` is fixed-width UTC text."""

    at: str
    outcome: AuditOutcome
    error: str | None
    details: str


class AuditFilter(NamedTuple):
    """Selects entries, where None is any: of an actor, about a target; of an action, or of all of a command.

    `dead-letters` selects `dead-letters discard`, too.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None


EVERY = AuditFilter()


class AuditRecords(ABC):
    """Who did what. An entry is never changed after its end, and removed by its age alone."""

    @abstractmethod
    async def begin(self, entry: NewAuditEntry) -> int:
        """Adds an entry, durably, before anything is done. Returns its number."""

    @abstractmethod
    async def end(self, number: int, end: AuditEnd) -> None:
        """Records what came of it, durably. A no-op if that is recorded already."""

    @abstractmethod
    async def newest(
        self, selection: AuditFilter = EVERY, *, below: int | None = None, limit: int = 100
    ) -> Sequence[AuditEntry]:
        """The newest entries, newest first, at most `limit`; with `below`, those with lower numbers."""

    @abstractmethod
    async def oldest(self) -> str | None:
        """When the oldest entry began; None if there is none."""

    @abstractmethod
    async def forget(self, before: str, limit: int) -> int:
        """Removes those of the oldest `limit` entries that began before a time. Returns how many."""
