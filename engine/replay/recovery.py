"""Recovery: accepts the log as it is and folds every page again from it, while readers and workers continue."""

from collections.abc import Awaitable, Callable

import msgspec

from pagefold.domains import DOMAINS, AnyDomain
from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import PagesWouldGo, RecoveryUnderWay
from pagefold.engine.replay.lost_pages import find_lost_pages
from pagefold.engine.replay.replayer import ReplayResult
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.dead_letter_records import FIRST_KEY, DeadLetterFilter, DeadLetterHeader, Resolution
from pagefold.engine.stores.store import Store

CLAIM = "recovery"

log = Logger(__name__)

CHUNK_DEAD_LETTERS = 50
"""Dead letters checked at a time."""

EVENT_MISSING = "its event is no longer in the log"


class RecoveryResult(msgspec.Struct, frozen=True, rename="camel"):
    """The result of a recovery: the log that now counts, up to where it is folded, and the state of the pages.

    Of all `sections`, those that `changed` differed from this log.
    """

    log_id: str
    position: int
    sections: int
    changed: int


class Recovery:
    """Recovers one store under one configuration. `replay` folds every page of it again, in place."""

    def __init__(
        self, store: Store, config: Config, replay: Callable[[], Awaitable[ReplayResult]], audit: AuditLog
    ) -> None:
        self._store = store
        self._audit = audit
        self._config = config
        self._replay = replay

    async def run(self, *, confirmed: bool) -> RecoveryResult:
        """Accepts the log as it is, folds every page again, and gives the checkpoints marks of this log.

        If it is interrupted, the store reports so until another recovery has finished. Raises `RecoveryUnderWay`, and
        unless `confirmed`, `PagesWouldGo` if many live pages have no events in the log.
        """
        async with self._store.coordination.claim(CLAIM) as claimed:
            if not claimed:
                raise RecoveryUnderWay
            async with self._audit.action("recover") as action:
                if not confirmed:
                    await self._check_pages()
                position, found = await self._recovered()
                action.details |= {"position": position, "sections": found.sections, "changed": found.changed}
        changed = found.changed + found.behind  # for consumers that start over, everything is ahead
        return RecoveryResult(await self._store.proof.log_id(), position, found.sections, changed)

    async def _recovered(self) -> tuple[int, ReplayResult]:
        """Folds every page again up to a position."""
        await self._store.proof.begin_recovery()
        position = await self._store.log.end()
        found = await self._replay()
        for domain in DOMAINS:
            await self._advance(domain, position)
        await self._discard_missing_events()
        await self._store.proof.end_recovery()
        return position, found

    async def _check_pages(self) -> None:
        found = await find_lost_pages(self._store, self._config)
        if found.needs_confirmation:
            raise PagesWouldGo(found.lost, found.shown)
        if found.lost:
            log.warning("removing pages without events in the log", pages=found.lost, of=found.shown)

    async def _advance(self, domain: AnyDomain, position: int) -> None:
        """Moves the checkpoint to the position folded, unless its consumer is further already."""
        counts = await self._store.proof.count_events(domain.name, position)
        dead = min(await self._store.dead_letters.count(DeadLetterFilter("projection", domain.name)), counts.streams)
        async with self._store.coordination.fold_transaction(domain.name) as transaction:
            if transaction.checkpoint.position <= position:
                moved = transaction.checkpoint._replace(
                    position=position,
                    applied=counts.streams - dead,
                    stale=counts.events - counts.streams,
                    dead=dead,
                    fingerprint=self._config.fingerprint(domain),
                )
                await transaction.advance(moved)

    async def _discard_missing_events(self) -> None:
        """Discards the dead letters of the fold whose events are not in this log."""
        key = FIRST_KEY
        dead_letters = self._store.dead_letters
        while chunk := await dead_letters.oldest(DeadLetterFilter("projection"), after=key, limit=CHUNK_DEAD_LETTERS):
            key = chunk[-1].key
            for dead_letter in await self._missing(chunk):
                await dead_letters.resolve(
                    dead_letter.kind, dead_letter.number, Resolution("discarded", now(), "recovery", EVENT_MISSING)
                )

    async def _missing(self, dead_letters: list[DeadLetterHeader]) -> list[DeadLetterHeader]:
        versions = {(dead_letter.originator_id, dead_letter.originator_version) for dead_letter in dead_letters}
        present = {event[1:4] for event in await self._store.log.events_at(versions)}
        return [
            dead_letter
            for dead_letter in dead_letters
            if (dead_letter.originator_id, dead_letter.originator_version, dead_letter.revision) not in present
        ]
