"""Appends events with group commit: concurrent callers share a transaction, and each gets the results of its events."""

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

import anyio

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.work_config import AppendConfig
from pagefold.engine.errors import RETRYABLE, Overloaded, Rejected, StoreUnavailable
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.canonical_payloads import content_of, is_same_content
from pagefold.engine.intake.echo_finder import NOTHING, EchoFinder
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_encoder import EventEncoder, Outcome
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.healing import healing_corrections
from pagefold.engine.intake.ties import tie_corrections
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.stores.dead_letter_records import NewDeadLetter
from pagefold.engine.stores.epoch_fence import EpochsMoved, Fence
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import describe_version

RETRY_SECONDS = 20.0
"""Seconds during which a failed transaction is retried before its callers get `StoreUnavailable`."""

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0
"""The pause before a retry. It doubles with each retry; up to half of it is added at random."""

DEADLINE_CHECKS = 10
"""How often per timeout the queue is checked for requests that have timed out."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of events in a transaction. A single atomic call may exceed it."""

MAX_QUEUE_BYTES = 64 * 1024 * 1024
"""Bytes of events that may be queued."""

MAX_INLINE_EVENTS = 200
"""Up to this many events are validated on the event loop; more go to the compute thread."""


ECHO = AppendResult("echo")

log = Logger(__name__)

_domains = frozenset(domain.name for domain in DOMAINS)


class _Request(NamedTuple):
    """The encoded events of one call, the future of their results, the deadline of retries, and which are echoes."""

    encoded: list[EncodedEvent]
    bytes: int
    results: asyncio.Future[list[AppendResult]]
    deadline: float
    echoes: Collection[int] = ()

    @property
    def new(self) -> list[EncodedEvent]:
        """The events that are to be appended."""
        if not self.echoes:
            return self.encoded
        return [each for number, each in enumerate(self.encoded) if number not in self.echoes]


class _PeriodicTimer:
    """Calls a function at an interval, until it is cancelled."""

    def __init__(self, callback: Callable[[], None], seconds: float) -> None:
        self._callback = callback
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        if math.isfinite(seconds):
            self._schedule()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._call)

    def _call(self) -> None:
        self._callback()
        self._schedule()

    def cancel(self) -> None:
        """Stops the calls."""
        if self._timer is not None:
            self._timer.cancel()


_Attempt: TypeAlias = tuple[Sequence[EncodedEvent], Sequence[EncodedEvent]]
"""The events of an attempt that may have been committed, and the same events as placed in epochs."""


class Appender:
    """Appends events to the log of one store.

    One task commits what callers have queued, up to `batch` events and `MAX_BATCH_BYTES` per transaction. Events
    that arrive meanwhile share the next one. The queue is bounded in events and bytes: `append` waits for room,
    `append_atomically` raises `Overloaded`. `queued` is the number of queued events. Activity is counted in
    `counts`, failures in `faults`.

    `patience` is how many seconds a caller's events are retried, or wait for a store that does not answer. None means
    `RETRY_SECONDS`, with no limit on waiting for an answer.
    """

    def __init__(  # noqa: PLR0913  # what it needs, by name
        self,
        store: Store,
        validator: EventValidator,
        config: AppendConfig,
        counts: Counters | None = None,
        faults: RecentFaults | None = None,
        epochs: EpochRegistry | None = None,
        *,
        echoes: EchoFinder | None = None,
    ) -> None:
        self._echoes = echoes
        self._epochs = epochs or EpochRegistry(store.log)
        self._counts = counts or Counters()
        self._faults = RecentFaults() if faults is None else faults
        self._store = store
        self._encoder = EventEncoder(validator)
        self._config = config
        self._queue: deque[_Request] = deque()
        self._taken: list[_Request] = []
        self._attempts: list[_Attempt] = []
        self._room = asyncio.Event()
        self._committing: asyncio.Task[None] | None = None
        self._calls = itertools.count()
        self._name = uuid4().hex
        self._answered_at = 0.0
        self.queued = 0
        self._queued_bytes = 0
        self.patience: float | None = None

    async def append(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """Appends events and returns one result per event, in order. On return, every `appended` event is durable.

        Raises `StoreUnavailable` when the store does not recover in time. Any of the events may or may not be in the
        log then; sending them again is safe.
        """
        size = self._config.batch
        results: list[AppendResult] = []
        while len(results) < len(events):
            some = events[len(results) : len(results) + size] if results or len(events) > size else events
            answered = await self._append(some, max_bytes=MAX_BATCH_BYTES)
            self._counts.add_outcomes(answered)
            results += answered
        return results

    async def append_atomically(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """Appends events in one transaction, however many there are, without waiting for room.

        Raises `Overloaded` when the queue is full; nothing was appended then. Raises `StoreUnavailable` as `append`
        does.
        """
        self.check_capacity(len(events))
        results = await self._append(events)
        self._counts.add_outcomes(results)
        return results

    async def encode(self, events: Sequence[DomainEvent]) -> list[Outcome]:
        """The events as they will be stored, or why they are not valid. Nothing is appended."""
        return (await self._encoded(events))[0]

    async def append_noted(self, events: Sequence[EncodedEvent], note: EncodedEvent) -> tuple[list[AppendResult], bool]:
        """Appends events that were encoded, and a note of another topic, in one transaction.

        Returns the results, and whether the note's version was free. If it was taken, another process has written it,
        and the events are appended all the same. Raises what `append` raises. A caller that is cancelled learns that
        once it is settled what became of the transaction: until then it must not give back what it has claimed.
        """
        size = sum([len(each.state) for each in events])
        with anyio.CancelScope(shield=True):
            *results, noted = await self._commit([*events, note], size + len(note.state))
        self._counts.add_outcomes(results)
        return results, noted.outcome == "appended"

    def check_capacity(self, events: int = 1) -> None:
        """Raises `Overloaded` if the queue has no room for this many events. An empty queue takes any number."""
        if not self._has_room(events, 0):
            raise Overloaded(self.queued)

    async def close(self) -> None:
        """Waits until everything queued is committed."""
        while self._committing is not None:
            await asyncio.wait([self._committing])

    async def _append(self, events: Sequence[DomainEvent], *, max_bytes: int | None = None) -> list[AppendResult]:
        """Appends all events in one transaction, or, given `max_bytes`, as many of the first as fit."""
        outcomes, size = await self._encoded(events, max_bytes)
        encoded = [each for each in outcomes if isinstance(each, EncodedEvent)]
        if max_bytes is None and not self._has_room(len(encoded), size):
            raise Overloaded(self.queued)
        if len(encoded) == len(outcomes):
            return await self._commit(encoded, size)
        committed = iter(await self._commit(encoded, size) if encoded else ())
        return [rejected(each) if isinstance(each, Rejected) else next(committed) for each in outcomes]

    async def _encoded(self, events: Sequence[DomainEvent], max_bytes: int | None = None) -> tuple[list[Outcome], int]:
        """What became of each event, and their bytes; given `max_bytes`, of as many of the first as fit."""
        made_id = f"{self._name}-{next(self._calls)}"
        encode = partial(self._encoder.encode, events, now(), made_id, max_bytes)
        return encode() if len(events) <= MAX_INLINE_EVENTS else await compute_in_thread(encode)

    async def _commit(self, encoded: list[EncodedEvent], size: int) -> list[AppendResult]:
        while not self._has_room(len(encoded), size):
            await self._room.wait()
        deadline = time.monotonic() + (RETRY_SECONDS if self.patience is None else self.patience)
        request = _Request(encoded, size, asyncio.get_running_loop().create_future(), deadline)
        self._queue.append(request)
        self.queued += len(encoded)
        self._queued_bytes += size
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        return await request.results

    def _has_room(self, events: int, size: int) -> bool:
        return not self.queued or (
            self.queued + events <= self._config.queue and self._queued_bytes + size <= MAX_QUEUE_BYTES
        )

    async def _commit_all(self) -> None:
        """Commits the queue until it is empty. Every request is settled, even after an error."""
        try:
            await asyncio.sleep(self._config.delay_seconds)
            while self._queue:
                self._taken = self._take()
                watch = self._start_timer()
                await self._settle()
                watch.cancel()
        finally:
            self._committing = None
            for request in (*self._taken, *self._queue):  # only non-empty while the event loop is being torn down
                request.results.cancel()

    def _start_timer(self) -> "_PeriodicTimer":
        return _PeriodicTimer(
            self._expire_requests, math.inf if self.patience is None else self.patience / DEADLINE_CHECKS
        )

    def _expire_requests(self) -> None:
        """Fails the requests whose deadline has passed, if the store has answered no request within `patience`.

        If it has answered others, it is only slow.
        """
        now, patience = time.monotonic(), self.patience or 0.0
        if now - self._answered_at >= patience:
            silence = TimeoutError(f"it has not answered for {patience:g} s")
            error = StoreUnavailable(self._store.name, silence)
            if len(_fail_expired((*self._taken, *self._queue), error, now)) < len(self._taken) + len(self._queue):
                self._faults.failed("append", error)

    def _take(self) -> list[_Request]:
        """Takes the oldest requests, together at most a batch. A single request may be larger."""
        taken = [self._queue.popleft()]
        events, size = len(taken[0].encoded), taken[0].bytes
        while self._queue and (
            events + len(self._queue[0].encoded) <= self._config.batch
            and size + self._queue[0].bytes <= MAX_BATCH_BYTES
        ):
            taken.append(self._queue.popleft())
            events += len(taken[-1].encoded)
            size += taken[-1].bytes
        self.queued -= events
        self._queued_bytes -= size
        room, self._room = self._room, asyncio.Event()
        room.set()
        return taken

    async def _settle(self) -> None:
        """Appends the taken requests in one transaction, retries transient errors, and sets the results.

        A request whose deadline has passed is left out of the next attempt: a caller that got an error must not find
        its events in the log later.
        """
        pause = FIRST_PAUSE_SECONDS
        self._attempts = []
        if self._echoes is not None:
            await self._find_echoes(self._echoes)
        while self._taken:
            started = time.perf_counter()
            requests, encoded = self._taken, [each for request in self._taken for each in request.new]
            try:
                results = iter(await self._insert(encoded) if encoded else ())
            except RETRYABLE as error:
                self._faults.failed("append", error)
                wait = pause * random.uniform(1.0, 1.5)  # noqa: S311  # it is no secret
                self._taken = _fail_expired(requests, error, time.monotonic() + wait)
                if self._taken:
                    await asyncio.sleep(wait)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001  # whatever it is, every caller in the batch gets it
                self._faults.failed("append", error)
                self._taken = _fail_expired(requests, error, math.inf)
            else:
                self._succeeded(len(encoded), time.perf_counter() - started)
                self._taken = []
                _deliver_results(requests, results)
        self._attempts = []

    async def _find_echoes(self, finder: EchoFinder) -> None:
        """Finds the echoes of the taken requests: once, in the order in which they arrived, before any attempt."""
        try:
            events = [each for request in self._taken for each in request.encoded]
            found = await finder.find((await self._epochs.place(events))[0])
        except RETRYABLE as error:
            log.warning("echoes were not looked for: whatever targets send back is appended", error=str(error))
            return
        if found != NOTHING:
            events = found.completed(events)
            self._taken = list(_with_echoes(self._taken, events, found.echoes))

    def _succeeded(self, events: int, seconds: float) -> None:
        self._answered_at = time.monotonic()
        self._faults.succeeded("append")
        self._counts.appends.add(events, seconds)

    async def _insert(self, encoded: Sequence[EncodedEvent]) -> list[AppendResult]:
        while True:
            try:
                return await self._insert_placed(encoded)
            except EpochsMoved:
                await self._epochs.refresh()

    async def _insert_placed(self, encoded: Sequence[EncodedEvent]) -> list[AppendResult]:
        """Appends the events in their epochs. Raises `EpochsMoved` when an epoch was raised meanwhile."""
        placed, fence = await self._epochs.place(encoded)
        for attempt in self._attempts:
            placed = await self._keep_committed(encoded, placed, attempt)
        self._attempts.append((encoded, placed))
        positions = await self._store.log.insert(placed, fence)
        if None not in positions:
            return [AppendResult("appended", position) for position in positions]
        return await self._explain(placed, positions, fence)

    async def _keep_committed(
        self, encoded: Sequence[EncodedEvent], placed: Sequence[EncodedEvent], attempt: _Attempt
    ) -> list[EncodedEvent]:
        """The events; those that an earlier attempt committed in another epoch keep it."""
        before = {id(each): was for each, was in zip(*attempt, strict=True)}
        pairs = [(each, before.get(id(new_event), each)) for new_event, each in zip(encoded, placed, strict=True)]
        moved = {was.key for each, was in pairs if each.key != was.key}
        found = await self._store.log.events_at(moved) if moved else []
        there = {(event.originator_id, event.originator_version, event.state) for event in found}
        return [was if (*was.key, was.state) in there else each for each, was in pairs]

    async def _explain(
        self, encoded: Sequence[EncodedEvent], positions: Sequence[int | None], fence: Fence
    ) -> list[AppendResult]:
        """Tells duplicates from conflicts, and stores conflicts as dead conflicts before anybody gets a result.

        Streams that a rebuild withdrew are healed first, see `healing.py`, and sources that may replace what they said
        do so, see `ties.py`.
        """
        taken = {each.key for each, position in zip(encoded, positions, strict=True) if position is None}
        stored = await self._stored(taken)
        while corrections := (
            healing_corrections(encoded, positions, stored) or tie_corrections(encoded, positions, stored)
        ):
            await self._store.log.correct(corrections, fence)
            stored = await self._stored(taken)
        answered: set[tuple[str, int, bytes]] = set()
        results: list[AppendResult] = []
        conflicts: list[NewDeadLetter] = []
        for new_event, position in zip(encoded, positions, strict=True):
            if position is not None:
                result = AppendResult("appended", position)
            else:
                fresh = (*new_event.key, new_event.state) not in answered
                result = _compare(new_event, stored[new_event.key], fresh=fresh)
            answered.add((*new_event.key, new_event.state))
            results.append(result)
            if result.outcome == "conflict" and new_event.topic in _domains:
                conflicts.append(
                    _conflict_dead_letter(new_event, newest_revision(stored[new_event.key]), result.reason or "")
                )
        if conflicts:
            await self._store.dead_letters.add(conflicts)
        return results

    async def _stored(self, versions: Collection[tuple[str, int]]) -> dict[tuple[str, int], list[StoredEvent]]:
        """Every revision of some versions."""
        stored: dict[tuple[str, int], list[StoredEvent]] = {}
        for event in await self._store.log.events_at(versions):
            stored.setdefault((event.originator_id, event.originator_version), []).append(event)
        return stored


def _fail_expired(requests: Sequence[_Request], error: Exception, until: float) -> list[_Request]:
    """Fails the requests whose deadline is not after `until`, and returns the others. Drops abandoned ones."""
    left: list[_Request] = []
    for request in requests:
        if request.results.done():
            continue
        if request.deadline > until:
            left.append(request)
        else:
            request.results.set_exception(error)
    return left


def _with_echoes(
    requests: Sequence[_Request], events: Sequence[EncodedEvent], echoes: Collection[int]
) -> Iterator[_Request]:
    """The requests with these events, of all of which some are echoes."""
    start = 0
    for request in requests:
        end = start + len(request.encoded)
        own = frozenset(number - start for number in echoes if start <= number < end)
        yield request._replace(encoded=list(events[start:end]), echoes=own)
        start = end


def _deliver_results(requests: Sequence[_Request], results: Iterator[AppendResult]) -> None:
    """Sets each request's results."""
    for request in requests:
        outcomes = [ECHO if number in request.echoes else next(results) for number in range(len(request.encoded))]
        if not request.results.done():  # its caller gave up; the events are in the log nevertheless
            request.results.set_result(outcomes)


async def append_parsed(
    found: Sequence[DomainEvent | Rejected], append: Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
) -> list[AppendResult]:
    """Appends the parsed events and returns one result per item, in order; rejections become `rejected` results."""
    events = [each for each in found if isinstance(each, DomainEvent)]
    results = iter(await append(events) if events else ())
    return [next(results) if isinstance(each, DomainEvent) else rejected(each) for each in found]


def rejected(rejection: Rejected) -> AppendResult:
    """The `rejected` result of a rejection."""
    return AppendResult("rejected", path=rejection.path, reason=rejection.reason)


def _compare(new_event: EncodedEvent, stored: Sequence[StoredEvent], *, fresh: bool) -> AppendResult:
    """Compares an event with the stored revisions of its version.

    `fresh`: this state has had no result in this transaction yet. If it is in the log, this process wrote it, in an
    attempt whose acknowledgement was lost or to heal the stream. The result is then `appended`, not `duplicate`.
    """
    for event in stored:
        if fresh and event.state == new_event.state:
            return AppendResult("appended", event.notification_id)
    for event in stored:
        content = content_of(event)
        if content is not None and is_same_content(new_event.topic, content, new_event.content):
            return AppendResult("duplicate", event.notification_id)
    version = describe_version(new_event.originator_version)
    reason = f"version {version} of {new_event.originator_id} is stored with other content"
    return AppendResult("conflict", newest_revision(stored).notification_id, reason=reason)


def newest_revision(stored: Sequence[StoredEvent]) -> StoredEvent:
    """The newest of the revisions of one version."""
    return max(stored, key=lambda event: event.revision)


def _conflict_dead_letter(new_event: EncodedEvent, head: StoredEvent, reason: str) -> NewDeadLetter:
    return NewDeadLetter(
        kind="ingest",
        domain=new_event.topic,
        originator_id=new_event.originator_id,
        originator_version=new_event.originator_version,
        revision=head.revision,
        digest=blake2b(new_event.content, digest_size=16).digest(),
        error=reason,
        state=new_event.state,
        recorded_at=now(),
    )
