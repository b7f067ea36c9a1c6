"""A recovery: the log is taken as it is, and every page is folded again from it, while readers and workers go on."""

from collections.abc import Awaitable, Callable

import msgspec

from pagefold.domains import DOMAINS, AnyDomain
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
"""How many dead letters are looked at in a step."""

EVENT_MISSING = "its event is not in the log any more"


class RecoveryResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a recovery has come to: which log counts now, up to where it is folded, and what was found in the pages.

    Of all `sections`, those that `changed` were not what this log says.
    """

    log_id: str
    position: int
    sections: int
    changed: int


class Recovery:
    """Recovers one store under one configuration. `replay` folds every page of it again, in place."""

    def __init__(self, store: Store, config: Config, replay: Callable[[], Awaitable[ReplayResult]]) -> None:
        self._store = store
        self._config = config
        self._replay = replay

    async def run(self, *, confirmed: bool) -> RecoveryResult:
        """Takes the log as it is, folds every page again, and lets the checkpoints prove themselves by this log.

        Where it is cut short, the store says so until another one has come to its end. Raises `RecoveryUnderWay`, and
        unless `confirmed`, `PagesWouldGo` where many pages are shown of which the log has nothing.
        """
        async with self._store.coordination.claim(CLAIM) as claimed:
            if not claimed:
                raise RecoveryUnderWay
            if not confirmed:
                await self._check_pages()
            await self._store.proof.begin_recovery()
            position = await self._store.log.end()
            found = await self._replay()
            for domain in DOMAINS:
                await self._advance(domain, position)
            await self._discard_missing_events()
            await self._store.proof.end_recovery()
        changed = found.changed + found.behind  # of consumers that begin anew, everything is ahead
        return RecoveryResult(await self._store.proof.log_id(), position, found.sections, changed)

    async def _check_pages(self) -> None:
        found = await find_lost_pages(self._store, self._config)
        if found.needs_confirmation:
            raise PagesWouldGo(found.lost, found.shown)
        if found.lost:
            log.warning("pages go of which the log has nothing", pages=found.lost, of=found.shown)

    async def _advance(self, domain: AnyDomain, position: int) -> None:
        """Moves the checkpoint to where everything is folded, unless its consumer has come further meanwhile."""
        tally = await self._store.proof.count_events(domain.name, position)
        dead = min(await self._store.dead_letters.count(DeadLetterFilter("projection", domain.name)), tally.streams)
        async with self._store.coordination.fold_transaction(domain.name) as folding:
            if folding.checkpoint.position <= position:
                moved = folding.checkpoint._replace(
                    position=position,
                    applied=tally.streams - dead,
                    stale=tally.events - tally.streams,
                    dead=dead,
                    fingerprint=self._config.fingerprint(domain),
                )
                await folding.advance(moved)

    async def _discard_missing_events(self) -> None:
        """Events of the fold's dead letters that are not in this log need nobody any more."""
        place = FIRST_KEY
        letters = self._store.dead_letters
        while page := await letters.oldest(DeadLetterFilter("projection"), after=place, limit=CHUNK_DEAD_LETTERS):
            place = page[-1].key
            for letter in await self._missing(page):
                await letters.resolve(
                    letter.kind, letter.number, Resolution("discarded", now(), "recovery", EVENT_MISSING)
                )

    async def _missing(self, letters: list[DeadLetterHeader]) -> list[DeadLetterHeader]:
        versions = {(letter.originator_id, letter.originator_version) for letter in letters}
        there = {event[1:4] for event in await self._store.log.events_at(versions)}
        return [
            letter
            for letter in letters
            if (letter.originator_id, letter.originator_version, letter.revision) not in there
        ]
