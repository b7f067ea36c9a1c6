"""Appending with group commit: many callers share a transaction, and each learns what became of its events."""

import asyncio
import itertools
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import msgspec

from pagefold.engine.configuration.config import AppendConfig
from pagefold.engine.errors import RETRYABLE, Overloaded, Rejected, StoreUnavailable
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.intake.epoch_registry import Epochs
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.healing import healing_of
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.stores.dead_letter_records import NewDeadLetter
from pagefold.engine.stores.epoch_fence import EpochsMoved, Fence
from pagefold.engine.stores.event_state import EncodedEvent, EventState
from pagefold.engine.stores.store import Store, StoredEvent
from pagefold.projections.epochs import describe_version

RETRY_SECONDS = 20.0
"""How long a transaction is tried again before its callers are told that the store is unavailable."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries, doubled with each, and up to a half more."""

LOOKS = 10
"""How often it is looked for those who have waited too long, in the time that they wait."""

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of the events of a transaction, unless a single call has more that must be taken together."""

QUEUE_BYTES = 64 * 1024 * 1024
"""Bytes of the events that may wait."""

FEW = 200
"""Up to so many events are admitted on the event loop; more would hold it up."""

_state = msgspec.json.Decoder(EventState)


class _Request(NamedTuple):
    """The admitted events of one call, the promise of what becomes of them, and until when they are tried again."""

    admissions: list[EncodedEvent]
    bytes: int
    results: asyncio.Future[list[AppendResult]]
    deadline: float


class _Watch:
    """Calls something every so many seconds, until it is cancelled."""

    def __init__(self, look: Callable[[], None], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        if math.isfinite(seconds):
            self._begin()

    def _begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._call)

    def _call(self) -> None:
        self._look()
        self._begin()

    def cancel(self) -> None:
        """No more."""
        if self._timer is not None:
            self._timer.cancel()


_Tried: TypeAlias = tuple[Sequence[EncodedEvent], Sequence[EncodedEvent]]
"""Events of a try that may have appended any, and how it had placed them in epochs."""


class Appender:
    """Appends events to the log of one store.

    What callers have queued is committed by one task, up to `batch` events and `BATCH_BYTES` in a transaction, for as
    long as there is any; what comes meanwhile shares the next transaction. The queue is bounded, by events and bytes:
    callers wait for room, or are told that there is none. `queued` is how many events wait. What it does is counted in
    `counts`, what fails is in `faults`.

    `patience` is for how many seconds a caller's events are tried again, or wait for a store that says nothing; None
    for `RETRY_SECONDS`, and then as long as an answer takes.
    """

    def __init__(
        self,
        store: Store,
        door: EventValidator,
        config: AppendConfig,
        counts: Counters | None = None,
        faults: RecentFaults | None = None,
        epochs: Epochs | None = None,
    ) -> None:
        self._epochs = epochs or Epochs(store.log)
        self._counts = counts or Counters()
        self._faults = RecentFaults() if faults is None else faults
        self._store = store
        self._door = door
        self._config = config
        self._queue: deque[_Request] = deque()
        self._taken: list[_Request] = []
        self._tried: list[_Tried] = []
        self._room = asyncio.Event()
        self._committing: asyncio.Task[None] | None = None
        self._calls = itertools.count()
        self._name = uuid4().hex
        self._heard_at = 0.0
        self.queued = 0
        self._queued_bytes = 0
        self.patience: float | None = None

    async def append(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """One result an event, in order. When it returns, every `appended` is durable.

        Raises `StoreUnavailable` when the store does not come back in time: any of the events may or may not be in the
        log then, and sending them again is safe.
        """
        size = self._config.batch
        results: list[AppendResult] = []
        while len(results) < len(events):
            some = events[len(results) : len(results) + size] if results or len(events) > size else events
            answered = await self._append(some, max_bytes=BATCH_BYTES)
            self._counts.add_outcomes(answered)
            results += answered
        return results

    async def append_atomically(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """As `append`, but in one transaction however many they are, and without waiting for room.

        Raises `Overloaded` when there is none, and nothing of it was taken; `StoreUnavailable` as `append` does.
        """
        self.check_capacity(len(events))
        results = await self._append(events)
        self._counts.add_outcomes(results)
        return results

    def check_capacity(self, events: int = 1) -> None:
        """Raises `Overloaded` when so many events would have to wait for room. An empty queue takes any number."""
        if not self._has_room(events, 0):
            raise Overloaded(self.queued)

    async def close(self) -> None:
        """Waits until what was queued is committed."""
        while self._committing is not None:
            await asyncio.wait([self._committing])

    async def _append(self, events: Sequence[DomainEvent], *, max_bytes: int | None = None) -> list[AppendResult]:
        """The results of all of these events, in one transaction and at once, or, given `max_bytes`, of the first."""
        admit = partial(self._admit, events, max_bytes)
        admitted, size = admit() if len(events) <= FEW else await compute_in_thread(admit)
        admissions = [each for each in admitted if isinstance(each, EncodedEvent)]
        if max_bytes is None and not self._has_room(len(admissions), size):
            raise Overloaded(self.queued)
        if len(admissions) == len(admitted):
            return await self._commit(admissions, size)
        committed = iter(await self._commit(admissions, size) if admissions else ())
        return [each if isinstance(each, AppendResult) else next(committed) for each in admitted]

    def _admit(
        self, events: Sequence[DomainEvent], max_bytes: int | None
    ) -> tuple[list[EncodedEvent | AppendResult], int]:
        """Events in the form in which they are stored, and the bytes of all; no more once these are `max_bytes`."""
        admitted: list[EncodedEvent | AppendResult] = []
        size = 0
        recorded_at, call = now(), f"{self._name}-{next(self._calls)}"
        for index, event in enumerate(events):
            try:
                admission = self._door.admit(event, recorded_at, f"{call}-{index}")
            except Rejected as refused:
                admitted.append(rejected(refused))
                continue
            admitted.append(admission)
            size += len(admission[3])
            if max_bytes is not None and size >= max_bytes:
                break
        return admitted, size

    async def _commit(self, admissions: list[EncodedEvent], size: int) -> list[AppendResult]:
        while not self._has_room(len(admissions), size):
            await self._room.wait()
        deadline = time.monotonic() + (RETRY_SECONDS if self.patience is None else self.patience)
        request = _Request(admissions, size, asyncio.get_running_loop().create_future(), deadline)
        self._queue.append(request)
        self.queued += len(admissions)
        self._queued_bytes += size
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        return await request.results

    def _has_room(self, events: int, size: int) -> bool:
        return not self.queued or (
            self.queued + events <= self._config.queue and self._queued_bytes + size <= QUEUE_BYTES
        )

    async def _commit_all(self) -> None:
        """Commits what is queued, until nothing is. Every request is settled, whatever happens."""
        try:
            await asyncio.sleep(self._config.delay_seconds)
            while self._queue:
                self._taken = self._take()
                watch = self._look_later()
                await self._settle()
                watch.cancel()
        finally:
            self._committing = None
            for request in (*self._taken, *self._queue):  # none is left but when the event loop is being torn down
                request.results.cancel()

    def _look_later(self) -> "_Watch":
        return _Watch(self._give_up_on_silence, math.inf if self.patience is None else self.patience / LOOKS)

    def _give_up_on_silence(self) -> None:
        """Tells those who have waited too long, while the store has said nothing to anybody: it may never answer.

        Where others are answered, it is only slow.
        """
        now, patience = time.monotonic(), self.patience or 0.0
        if now - self._heard_at >= patience:
            silence = TimeoutError(f"it has said nothing for {patience:g} s")
            error = StoreUnavailable(self._store.name, silence)
            if len(_told((*self._taken, *self._queue), error, now)) < len(self._taken) + len(self._queue):
                self._faults.failed("append", error)

    def _take(self) -> list[_Request]:
        """The requests that stand longest, together at most a batch; one alone may be larger, to be taken whole."""
        taken = [self._queue.popleft()]
        events, size = len(taken[0].admissions), taken[0].bytes
        while self._queue and (
            events + len(self._queue[0].admissions) <= self._config.batch and size + self._queue[0].bytes <= BATCH_BYTES
        ):
            taken.append(self._queue.popleft())
            events += len(taken[-1].admissions)
            size += taken[-1].bytes
        self.queued -= events
        self._queued_bytes -= size
        room, self._room = self._room, asyncio.Event()
        room.set()
        return taken

    async def _settle(self) -> None:
        """Appends in one transaction what was taken, again after what may pass, and tells what became of it.

        A request whose time is over is no part of the next try: whoever was told that it failed will not find it later.
        """
        pause = FIRST_PAUSE
        self._tried = []
        while self._taken:
            started = time.perf_counter()
            requests, admissions = self._taken, [each for request in self._taken for each in request.admissions]
            try:
                results = iter(await self._insert(admissions))
            except RETRYABLE as error:
                self._faults.failed("append", error)
                wait = pause * random.uniform(1.0, 1.5)  # noqa: S311  # it is no secret
                self._taken = _told(requests, error, time.monotonic() + wait)
                if self._taken:
                    await asyncio.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001  # whatever it is, everybody whose events were in it is told
                self._faults.failed("append", error)
                self._taken = _told(requests, error, math.inf)
            else:
                self._succeeded(len(admissions), time.perf_counter() - started)
                self._taken = []
                _give(requests, results)
        self._tried = []

    def _succeeded(self, events: int, seconds: float) -> None:
        self._heard_at = time.monotonic()
        self._faults.succeeded("append")
        self._counts.appends.add(events, seconds)

    async def _insert(self, admissions: Sequence[EncodedEvent]) -> list[AppendResult]:
        while True:
            try:
                return await self._insert_placed(admissions)
            except EpochsMoved:
                await self._epochs.refresh()

    async def _insert_placed(self, admissions: Sequence[EncodedEvent]) -> list[AppendResult]:
        """Appends the events in the epochs that they enter. Raises `EpochsMoved` when those have changed meanwhile."""
        placed, fence = await self._epochs.place(admissions)
        for tried in self._tried:
            placed = await self._as_before(admissions, placed, tried)
        self._tried.append((admissions, placed))
        positions = await self._store.log.insert(placed, fence)
        if None not in positions:
            return [AppendResult("appended", position) for position in positions]
        return await self._explain(placed, positions, fence)

    async def _as_before(
        self, admissions: Sequence[EncodedEvent], placed: Sequence[EncodedEvent], tried: _Tried
    ) -> list[EncodedEvent]:
        """The events; those that an earlier try placed in another epoch stay there, where they are in the log."""
        before = {id(each): was for each, was in zip(*tried, strict=True)}
        pairs = [(each, before.get(id(admission), each)) for admission, each in zip(admissions, placed, strict=True)]
        moved = {was.key for each, was in pairs if each.key != was.key}
        found = await self._store.log.events_at(moved) if moved else []
        there = {(event.originator_id, event.originator_version, event.state) for event in found}
        return [was if (*was.key, was.state) in there else each for each, was in pairs]

    async def _explain(
        self, admissions: Sequence[EncodedEvent], positions: Sequence[int | None], fence: Fence
    ) -> list[AppendResult]:
        """Duplicates are told from conflicts, and conflicts are kept, before anybody gets an answer.

        What a rebuild withdrew is healed before that, see `healing.py`: the event that heals is found there then.
        """
        taken = {each.key for each, position in zip(admissions, positions, strict=True) if position is None}
        stored = await self._stored(taken)
        while healing := healing_of(admissions, positions, stored):
            await self._store.log.correct(healing, fence)
            stored = await self._stored(taken)
        answered: set[tuple[str, int, bytes]] = set()
        results: list[AppendResult] = []
        letters: list[NewDeadLetter] = []
        for admission, position in zip(admissions, positions, strict=True):
            if position is not None:
                result = AppendResult("appended", position)
            else:
                fresh = (*admission.key, admission.state) not in answered
                result = _compare(admission, stored[admission.key], fresh=fresh)
            answered.add((*admission.key, admission.state))
            results.append(result)
            if result.outcome == "conflict":
                letters.append(_letter(admission, newest_of(stored[admission.key]), result.reason or ""))
        if letters:
            await self._store.dead_letters.add(letters)
        return results

    async def _stored(self, versions: Collection[tuple[str, int]]) -> dict[tuple[str, int], list[StoredEvent]]:
        """Every revision of some versions."""
        stored: dict[tuple[str, int], list[StoredEvent]] = {}
        for event in await self._store.log.events_at(versions):
            stored.setdefault((event.originator_id, event.originator_version), []).append(event)
        return stored


def _told(requests: Sequence[_Request], error: Exception, until: float) -> list[_Request]:
    """Tells those whose time is over by then, or who have gone, and gives the others."""
    left: list[_Request] = []
    for request in requests:
        if request.results.done():
            continue
        if request.deadline > until:
            left.append(request)
        else:
            request.results.set_exception(error)
    return left


def _give(requests: Sequence[_Request], results: Iterator[AppendResult]) -> None:
    """Tells each what became of its events."""
    for request in requests:
        outcomes = [next(results) for _ in request.admissions]
        if not request.results.done():  # its caller gave up; the events are in the log all the same
            request.results.set_result(outcomes)


async def append_parsed(
    found: Sequence[DomainEvent | Rejected], append: Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
) -> list[AppendResult]:
    """What became of each of these, in order: events are appended, and what could not be read is rejected."""
    events = [each for each in found if isinstance(each, DomainEvent)]
    results = iter(await append(events) if events else ())
    return [next(results) if isinstance(each, DomainEvent) else rejected(each) for each in found]


def rejected(refused: Rejected) -> AppendResult:
    """The outcome of what was refused."""
    return AppendResult("rejected", path=refused.path, reason=refused.reason)


def _compare(admission: EncodedEvent, stored: Sequence[StoredEvent], *, fresh: bool) -> AppendResult:
    """What an event is to those that stand at its version.

    `fresh`: this very state was not answered in this transaction yet. Where it is in the log, it is then our own:
    committed by an attempt whose acknowledgement was lost, or because it heals. It is no duplicate, but appended.
    """
    for event in stored:
        if fresh and event.state == admission.state:
            return AppendResult("appended", event.notification_id)
    for event in stored:
        stands = content_of(event)
        if stands is not None and is_same_content(admission.topic, stands, admission.content):
            return AppendResult("duplicate", event.notification_id)
    version = describe_version(admission.originator_version)
    reason = f"another content stands at version {version} of {admission.originator_id}"
    return AppendResult("conflict", newest_of(stored).notification_id, reason=reason)


def newest_of(stored: Sequence[StoredEvent]) -> StoredEvent:
    """Of the revisions of one version, the one that stands."""
    return max(stored, key=lambda event: event.revision)


def content_of(event: StoredEvent) -> bytes | None:
    """The canonical payload of an event; None for what an application wrote."""
    try:
        return bytes(_state.decode(event.state).payload)
    except msgspec.MsgspecError:  # an application of the eventsourcing library wrote it
        return None


def _letter(admission: EncodedEvent, stands: StoredEvent, reason: str) -> NewDeadLetter:
    return NewDeadLetter(
        kind="ingest",
        domain=admission.topic,
        originator_id=admission.originator_id,
        originator_version=admission.originator_version,
        revision=stands.revision,
        digest=blake2b(admission.content, digest_size=16).digest(),
        error=reason,
        state=admission.state,
        recorded_at=now(),
    )
