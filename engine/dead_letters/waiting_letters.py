"""Takes dead letters that wait, once what they wait for has come. Requests that were kept whole wait for their turn.

Nothing is remembered but what is stored: each round looks up every reference under which something waits. So a
reference that appears while something is being kept is not missed, and a crash loses nothing: appending is idempotent,
and what was not resolved is taken again. Whatever waits for whatever, a round ends, since it takes each letter at most
once; and the next one comes only if a letter was taken, or something has changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import anyio

from pagefold.engine.dead_letters.bulk_decisions import RetryResult
from pagefold.engine.errors import LogReplaced, Overloaded, StoreError
from pagefold.engine.intake.references import REFERENCING, ReferenceResolver
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.dead_letter_records import FIRST_WAITING, FOLD, DeadLetter, WaitingKey, WaitingState
from pagefold.engine.stores.store import Store

CLAIM = "waiting-dead-letters"

MAX_IDLE_SECONDS = 1.0
"""How often it is checked, at most, whether something has changed."""

MAX_ROUND_SECONDS = 30.0
"""How long after a round another one follows, also if nothing seems to have changed."""

RETRY_SECONDS = 5.0
CHUNK = 500
CONCURRENT_REFERENCES = 8
"""References whose letters are taken at a time, those of each in order: their appends share transactions."""

PASSING = (StoreError, Overloaded, LogReplaced)
"""Errors that are not a dead letter's: they pass, or stop the consumers, too."""

log = Logger(__name__)

Retry = Callable[[DeadLetter], Awaitable[RetryResult]]


class _Seen(NamedTuple):
    """What a round depends on: how far references are folded, and what waits."""

    position: int
    waiting: WaitingState


class WaitingLetters:
    """Takes what waits in one store: `retry` appends a dead letter again, and resolves it if that succeeds."""

    def __init__(self, store: Store, resolver: ReferenceResolver, retry: Retry) -> None:
        self._store = store
        self._resolver = resolver
        self._retry = retry

    async def run(self, poll_seconds: float) -> None:
        """Takes what has come, soon after it has, until it is cancelled; a store's errors are retried."""
        seen: _Seen | None = None
        round_at = anyio.current_time()
        while True:
            seconds = max(poll_seconds, MAX_IDLE_SECONDS)
            try:
                found = await self._seen()
                overdue = anyio.current_time() > round_at + MAX_ROUND_SECONDS
                if found.waiting.letters and (found != seen or overdue):
                    seen, round_at = found, anyio.current_time()
                    if await self.take_round():
                        seen, seconds = None, 0.0
            except PASSING as error:
                log.warning("what waits is not taken yet", error=str(error))
                seconds = RETRY_SECONDS
            await anyio.sleep(seconds)

    async def take_all(self) -> int:
        """Takes everything whose reference is known, in rounds until nothing more comes; returns how many."""
        total = 0
        while taken := await self.take_round():
            total += taken
        return total

    async def take_round(self) -> int:
        """Takes every dead letter whose reference is known, once; returns how many. 0 if another process does it."""
        taken = 0
        async with self._store.coordination.claim(CLAIM) as claimed:
            key = FIRST_WAITING
            while claimed and (chunk := await self._store.dead_letters.waiting(key, CHUNK)):
                key = chunk[-1]
                with anyio.CancelScope(shield=True):
                    taken += await self._take(chunk)
        if taken:
            log.info("took what waited", letters=taken)
        return taken

    async def _seen(self) -> _Seen:
        waiting = await self._store.dead_letters.waiting_state()
        checkpoints = await self._store.coordination.checkpoints() if waiting.letters else []
        return _Seen(next((each.position for each in checkpoints if each.domain == REFERENCING), 0), waiting)

    async def _take(self, chunk: Sequence[WaitingKey]) -> int:
        """Takes those of a chunk whose reference is known; returns how many."""
        known = await self._resolver.look_up({key.reference for key in chunk} - {FOLD}, waited=True)
        limiter = anyio.CapacityLimiter(CONCURRENT_REFERENCES)
        taken: list[bool] = []

        async def take(keys: Sequence[WaitingKey]) -> None:
            async with limiter:
                taken.extend([await self._take_one(key) for key in keys])

        by_reference = [(reference, list(keys)) for reference, keys in groupby(chunk, lambda key: key.reference)]
        ready = [
            keys
            for reference, keys in by_reference
            if reference == FOLD or self._resolver.is_ready(reference, known[reference])
        ]
        await run_together(*(partial(take, keys) for keys in ready))
        return sum(taken)

    async def _take_one(self, key: WaitingKey) -> bool:
        letter = await self._store.dead_letters.get("waiting", key.number)
        if letter is None or letter.resolution is not None or letter.purged_at is not None:
            return False
        try:
            return await self._retry(letter) == "resolved"
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001  # such as a contract that cannot work; the others are taken
            log.error("a dead letter that waits cannot be read", dead_letter=letter.id, error=str(error))  # noqa: TRY400
            return False
