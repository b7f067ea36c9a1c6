"""How long what dead letters say is kept: then it is removed, and the letter stays.

What remains is that it happened, when, to which stream, and the digest by which the same is recognised when it comes
again. What an open letter says of a request or a conflict is nowhere else, though it was acknowledged. So it is told
before it goes, and afterwards for as long as nobody has decided about the letter.
"""

from collections.abc import Sequence
from typing import NamedTuple

import anyio
import msgspec

from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.errors import StoreError
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH, check_text
from pagefold.engine.runtime.clock import days_ago, now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.dead_letter_records import SORTS, DeadLetterHeader, DeadLetters, Expiry, Purge, Sort

STEP = 100
"""Letters that are emptied in one transaction, at most."""

STEP_BYTES = 8 * 1024 * 1024
"""Bytes that are removed in one transaction before it ends; the last letter may have more."""

SECONDS_BETWEEN_STEPS = 0.05
SECONDS_BETWEEN_ROUNDS = 3_600.0
SECONDS_AFTER_A_FAILURE = 60.0

NOTICE_DAYS = 7.0
"""How long before it goes it is told."""

NOWHERE_ELSE: tuple[Sort, ...] = ("request", "conflict")
"""What nothing but the letter has."""

REMOVED = "what it said was removed"
"""In the place of an error, which may have a part of it."""

BY_ITSELF = "retention"
"""Who removes what no operator does."""

log = Logger(__name__)


class Emptied(msgspec.Struct, frozen=True):
    """How many letters of a sort lose what they say, the open or the resolved ones."""

    sort: Sort
    resolved: bool
    letters: int


class Outlook(NamedTuple):
    """Open letters of which nothing else has what they say: those that lose it soon, and those that lost it."""

    expiring: int
    purged: int


class Retention:
    """Keeps the dead letters of one store no longer than the configuration says."""

    def __init__(self, letters: DeadLetters, config: DeadLettersConfig) -> None:
        self._letters = letters
        self._config = config

    async def run(self) -> None:
        """Enforces it every hour, until it is cancelled, which waits for a step. A store that fails is asked later."""
        while True:
            seconds = SECONDS_BETWEEN_ROUNDS
            try:
                await self.enforce()
            except StoreError as error:
                log.warning("dead letters are kept longer than they should be", error=str(error))
                seconds = SECONDS_AFTER_A_FAILURE
            await anyio.sleep(seconds)

    async def enforce(self, by: str = BY_ITSELF) -> list[Emptied]:
        """Empties every letter whose time is over, the oldest first, step by step; how many of which there were.

        Raises `Rejected` for an operator without a name.
        """
        check_text("operator", by, MAX_IDENTIFIER_LENGTH)
        emptied = [Emptied(each.sort, each.resolved, await self._empty(each, by)) for each in self._expiries()]
        for each in emptied:
            if each.letters:
                tell = log.info if each.resolved else log.warning
                tell("dead letters emptied", sort=each.sort, resolved=each.resolved, letters=each.letters, by=by)
        return emptied

    async def overdue(self) -> list[Emptied]:
        """What `enforce` would empty now."""
        expiries = self._expiries()
        return [Emptied(each.sort, each.resolved, await self._letters.count_expired(each)) for each in expiries]

    async def empty(self, letter: DeadLetterHeader, by: str) -> bool:
        """Removes what one letter says, whatever its age; False when that was removed before.

        Raises `Rejected` for an operator without a name.
        """
        check_text("operator", by, MAX_IDENTIFIER_LENGTH)
        return await self._letters.purge_one(letter.kind, letter.number, Purge(REMOVED, now(), by))

    async def outlook(self) -> Outlook:
        """What an operator should know of open letters."""
        soon = [each for each in self._expiries(NOTICE_DAYS) if each.sort in NOWHERE_ELSE and not each.resolved]
        expiring = [await self._letters.count_expired(each) for each in soon]
        return Outlook(sum(expiring), await self._letters.count_purged("ingest"))

    async def _empty(self, expiry: Expiry, by: str) -> int:
        total = 0
        while True:
            with anyio.CancelScope(shield=True):
                purge = Purge(REMOVED, now(), by)
                emptied = await self._letters.purge(expiry, purge, limit=STEP, size=STEP_BYTES)
            if not emptied:
                return total
            total += emptied
            await anyio.sleep(SECONDS_BETWEEN_STEPS)

    def _expiries(self, ahead: float = 0.0) -> Sequence[Expiry]:
        """Whose time is over so many days ahead."""
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
