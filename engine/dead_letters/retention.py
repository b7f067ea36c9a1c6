"""Removes the content of dead letters after their retention; the dead letters stay.

What remains: that it happened, when, its stream, and the digest by which a repetition is recognised. The content of an
open request or conflict is nowhere else, although it was acknowledged. It is therefore announced before removal, and
afterwards until somebody resolves the dead letter.
"""

from collections.abc import Sequence
from typing import NamedTuple

import anyio
import msgspec

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.errors import StoreError
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH, check_text
from pagefold.engine.runtime.clock import days_ago, now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.dead_letter_records import SORTS, DeadLetterHeader, Expiry, Purge, Sort
from pagefold.engine.stores.store import Store

STEP = 100
"""Dead letters that one transaction purges, at most."""

STEP_BYTES = 8 * 1024 * 1024
"""Bytes after which a transaction ends; the last dead letter may exceed them."""

STEP_PAUSE_SECONDS = 0.05
ROUND_SECONDS = 3_600.0
RETRY_SECONDS = 60.0

NOTICE_DAYS = 7.0
"""How long before removal it is announced."""

UNIQUE_CONTENT: tuple[Sort, ...] = ("request", "conflict", "waiting")
"""Sorts whose content exists nowhere else."""

REMOVED = "what it said was removed"
"""Replaces the error, which may quote the content."""

BY_ITSELF = "retention"
"""The name under which the retention itself removes content."""

log = Logger(__name__)


class PurgedCount(msgspec.Struct, frozen=True):
    """How many dead letters of a sort, open or resolved, lose their content."""

    sort: Sort
    resolved: bool
    dead_letters: int = msgspec.field(name="letters")


class Outlook(NamedTuple):
    """Open dead letters whose content exists nowhere else: those that lose it soon, and those that lost it."""

    expiring: int
    purged: int


class Retention:
    """Applies the configured retention to the dead letters of one store."""

    def __init__(self, store: Store, config: DeadLettersConfig) -> None:
        self._dead_letters = store.dead_letters
        self._audit = AuditLog(store.audit)
        self._config = config

    async def run(self) -> None:
        """Enforces the retention hourly until it is cancelled, which waits for the current step.

        Retries after store errors.
        """
        while True:
            seconds = ROUND_SECONDS
            try:
                await self.enforce()
            except StoreError as error:
                log.warning("dead letters are kept longer than they should be", error=str(error))
                seconds = RETRY_SECONDS
            await anyio.sleep(seconds)

    async def enforce(self, by: str = BY_ITSELF) -> list[PurgedCount]:
        """Purges every dead letter past its retention, oldest first, in steps; returns how many.

        Raises `Rejected` for an operator without a name.
        """
        check_text("operator", by, MAX_IDENTIFIER_LENGTH)
        if by == BY_ITSELF:
            return await self._enforced(by)
        async with self._audit.action("dead-letters purge", by=by) as action:
            emptied = await self._enforced(by)
            action.details["purged"] = sum(each.dead_letters for each in emptied)
        return emptied

    async def _enforced(self, by: str) -> list[PurgedCount]:
        emptied = [PurgedCount(each.sort, each.resolved, await self._empty(each, by)) for each in self._expiries()]
        for each in emptied:
            if each.dead_letters:
                write = log.info if each.resolved else log.warning
                write("dead letters emptied", sort=each.sort, resolved=each.resolved, letters=each.dead_letters, by=by)
        return emptied

    async def overdue(self) -> list[PurgedCount]:
        """What `enforce` would purge now."""
        expiries = self._expiries()
        return [
            PurgedCount(each.sort, each.resolved, await self._dead_letters.count_expired(each)) for each in expiries
        ]

    async def empty(self, dead_letter: DeadLetterHeader, by: str) -> bool:
        """Purges one dead letter, whatever its age; False if it was purged before.

        Raises `Rejected` for an operator without a name.
        """
        check_text("operator", by, MAX_IDENTIFIER_LENGTH)
        async with self._audit.action("dead-letters purge", dead_letter.id, by=by):
            return await self._dead_letters.purge_one(dead_letter.kind, dead_letter.number, Purge(REMOVED, now(), by))

    async def outlook(self) -> Outlook:
        """What an operator should know of open dead letters."""
        soon = [each for each in self._expiries(NOTICE_DAYS) if each.sort in UNIQUE_CONTENT and not each.resolved]
        expiring = [await self._dead_letters.count_expired(each) for each in soon]
        purged = [await self._dead_letters.count_purged(kind) for kind in ("ingest", "waiting")]
        return Outlook(sum(expiring), sum(purged))

    async def _empty(self, expiry: Expiry, by: str) -> int:
        total = 0
        while True:
            with anyio.CancelScope(shield=True):
                purge = Purge(REMOVED, now(), by)
                emptied = await self._dead_letters.purge(expiry, purge, limit=STEP, size=STEP_BYTES)
            if not emptied:
                return total
            total += emptied
            await anyio.sleep(STEP_PAUSE_SECONDS)

    def _expiries(self, ahead: float = 0.0) -> Sequence[Expiry]:
        """The sorts with the time before which they expire this many days from now."""
        return [
            Expiry(sort, resolved, days_ago(self._days(sort, resolved=resolved) - ahead))
            for sort in SORTS
            for resolved in (False, True)
        ]

    def _days(self, sort: Sort, *, resolved: bool) -> float:
        config = self._config
        match sort:
            case "request":
                return config.request_resolved_days if resolved else config.request_days
            case "conflict":
                return config.conflict_resolved_days if resolved else config.conflict_days
            case "projection":
                return config.projection_resolved_days if resolved else config.projection_days
            case "waiting":
                return config.waiting_resolved_days if resolved else config.waiting_days
