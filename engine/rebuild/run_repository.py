"""The runs of rebuilds, in the shop's own log: an application of the `eventsourcing` library over the open store.

A run's events are a stream of the name of the run; a register, which is a stream too, names every run that was started.
So that a long run need not be read from its beginning, a snapshot of it (in the library's sense) is kept with every
tenth of its events, and whenever it stops running.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal
from anyio.to_thread import run_sync
from eventsourcing.application import AggregateNotFoundError, Application, EventSourcedLog
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    JSONTranscoder,
    PersistenceError,
    StoredEvent,
    Transcoding,
)
from eventsourcing.utils import Environment, EnvType, register_topic

from pagefold.engine.errors import RunTakenOver, UnknownRun
from pagefold.engine.rebuild.older_rows import OlderRowsFound, RecreatedCandidate
from pagefold.engine.rebuild.run_aggregate import RebuildRun, RunCounts, RunEvent, RunSpec
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.recorders import PagefoldFactory
from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.runtime.task_groups import unwrap_group
from pagefold.engine.stores.store import Store

REGISTER = "pagefold-rebuilds"
"""The stream that lists the runs. Domain streams have slashes in their names: neither a run's nor this one has any."""

SNAPSHOT_EVERY = 10
"""Events between snapshots of a run: the most that must be read to know its state."""

MAX_START_ATTEMPTS = 100
"""How often a start is retried because another run was registered at the same time."""

REGISTER_CHUNK = 100
"""Entries of the register that are read at a time."""

THREADS = 2
"""Threads for calls of the library. They wait for the store, which needs threads of its own."""

_run_id = re.compile(r"[A-Za-z0-9._-]{1,64}-[0-9]{8}T[0-9]{6}-[0-9a-f]{4}", re.ASCII)

Result = TypeVar("Result")


class Registered(RunEvent):
    """A run was started."""

    TOPIC = "engine.rebuild.runs:Registered"
    run: str
    source: str


register_topic(Registered.TOPIC, Registered)  # it names no module any more


class CountsAsObject(Transcoding):
    """Counts in a snapshot of a run."""

    type = RunCounts
    name = "pagefold_rebuild_counts"

    def encode(self, obj: RunCounts) -> dict[str, int]:
        """By name."""
        return obj.as_dict()

    def decode(self, data: dict[str, int]) -> RunCounts:
        """The inverse."""
        return RunCounts.of(data)


class RunApplication(Application[str]):
    """The application. Its methods block; call them in other threads than the portal's event loop."""

    name = "rebuilds"

    def __init__(self, store: Store, portal: BlockingPortal) -> None:
        self._datastore = Datastore(store, portal, uuids=False)
        super().__init__()
        register = cast("Any", REGISTER)  # the library says UUID, and takes any identifier
        self.register: EventSourcedLog[Registered] = EventSourcedLog(self.events, register, Registered)

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Ignores the process's environment, which is meant for the user's own applications."""
        return Environment(name, {InfrastructureFactory.IS_SNAPSHOTTING_ENABLED: "yes", **(env or {})})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Recorders over the store that is open."""
        return PagefoldFactory(env, self._datastore)

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        """The library's, and that of counts."""
        super().register_transcodings(transcoder)
        transcoder.register(CountsAsObject())

    def begin(self, spec: RunSpec) -> RebuildRun:
        """Records a new run and its entry in the register, or neither."""
        for attempt in range(MAX_START_ATTEMPTS):
            run = RebuildRun.start(spec)
            entry = self.register.trigger_event(run=run.id, source=spec.source)
            try:
                self.events.put([*run.pending_events, entry])
            except IntegrityError:
                if attempt == MAX_START_ATTEMPTS - 1:
                    raise
                continue
            run.collect_events()
            break
        return run

    def record(self, run: RebuildRun) -> None:
        """Records new events of a run once. Events recorded before, unknown to the caller, are not repeated."""
        pending = [self.mapper.to_stored_event(event) for event in run.pending_events]
        if not pending:
            return
        versions = [event.originator_version for event in pending]
        while pending:
            try:
                self.recorder.insert_events(pending)
                break
            except IntegrityError as error:
                pending = self._unrecorded(run.id, pending, error)
        run.collect_events()
        if run.state != "running" or any(version % SNAPSHOT_EVERY == 0 for version in versions):
            self._save_snapshot(run)

    def find(self, run_id: str) -> RebuildRun:
        """A run in its current state. Raises `UnknownRun`."""
        if _run_id.fullmatch(run_id) is None:
            raise UnknownRun(run_id)
        try:
            found: RebuildRun = self.repository.get(run_id)
        except AggregateNotFoundError:
            raise UnknownRun(run_id) from None
        return found

    def newest(self, limit: int, source: str | None) -> list[RebuildRun]:
        """The newest runs, newest first."""
        found: list[RebuildRun] = []
        below: int | None = None
        while len(found) < limit:
            entries = list(self.register.get(desc=True, lte=below, limit=REGISTER_CHUNK))
            names = [entry.run for entry in entries if source in (None, entry.source)]
            found.extend(map(self.find, names[: limit - len(found)]))
            if len(entries) < REGISTER_CHUNK:
                break
            below = entries[-1].originator_version - 1
        return found

    def next_event(self, run_id: str, after: int, upto: int) -> RunEvent | None:
        """The event of a run behind a version, if there is one up to another."""
        return cast("RunEvent | None", next(self.events.get(run_id, gt=after, lte=upto, limit=1), None))

    def _unrecorded(self, run_id: str, pending: list[StoredEvent], error: Exception) -> list[StoredEvent]:
        """The events that are not recorded yet. Raises `RunTakenOver` if others were recorded instead."""
        first = pending[0].originator_version
        there = list(self.recorder.select_events(run_id, gt=first - 1, limit=len(pending) + 1))
        if not there or there != pending[: len(there)]:
            raise RunTakenOver(run_id) from error
        return pending[len(there) :]

    def _save_snapshot(self, run: RebuildRun) -> None:
        """Takes a snapshot of the run. It only saves work, so failing or finding one is no error."""
        if self.snapshots is not None:
            with suppress(PersistenceError):
                self.snapshots.put([RebuildRun.Snapshot.take(run)])


class RunRepository:
    """Runs as asynchronous programs see them. Made by `open_runs`.

    A run that is read, or was started, is the caller's own copy: `save` records what the caller let happen to it. Every
    method may raise `StoreUnavailable`, and can be called again then.
    """

    def __init__(self, application: RunApplication) -> None:
        self._application = application
        self._threads = anyio.CapacityLimiter(THREADS)

    async def start(self, spec: RunSpec) -> RebuildRun:
        """Records a new run. After `StoreUnavailable` there may be one that is never resumed."""
        return await self._call(self._application.begin, spec)

    async def save(self, run: RebuildRun) -> None:
        """Records what happened to the run since it was read or saved, durably: all of it or nothing.

        After `StoreUnavailable` it can be called again, also when the events were recorded all the same. Raises
        `RunTakenOver` when another process recorded something else: the copy is of no use then.
        """
        await self._call(self._application.record, run)

    async def get(self, run_id: str) -> RebuildRun:
        """A run in its current state. Raises `UnknownRun`."""
        return await self._call(self._application.find, run_id)

    async def latest(self, source: str) -> RebuildRun | None:
        """The newest run of a source."""
        return next(iter(await self.list(1, source)), None)

    async def list(self, limit: int, source: str | None = None) -> Sequence[RebuildRun]:
        """The newest runs, of a source or of any, newest first."""
        return await self._call(self._application.newest, limit, source)

    async def drifted(self, run_id: str) -> AsyncIterator[Sequence[tuple[str, Finding]]]:
        """The streams that have drifted, with their drift, in order, page by page. Orphans are not among them.

        Among them are those that are older, and should not be, and those that may have been made again. Like `orphans`,
        it shows what was found until now since the run began, or began anew. Raises `UnknownRun`.
        """
        found: list[tuple[str, Finding]] = []
        async for event in self._found(run_id):
            if isinstance(event, OlderRowsFound):
                found += event.streams
                continue
            found += [(stream, drift) for drift, streams in event.drifted.items() for stream in streams]
            if found:
                yield sorted(found)
                found = []

    async def recreated_candidates(self, run_id: str) -> AsyncIterator[Sequence[RecreatedCandidate]]:
        """The rows that may be records which were made again, in the order of their streams, some at a time."""
        async for event in self._found(run_id):
            if isinstance(event, OlderRowsFound) and event.again:
                yield event.rows

    async def orphans(self, run_id: str) -> AsyncIterator[Sequence[str]]:
        """The streams that may be withdrawn, in order, chunk by chunk. Raises `UnknownRun`."""
        async for page in self._found(run_id):
            if isinstance(page, RebuildRun.ChunkCompared) and page.orphans:
                yield page.orphans

    async def _found(self, run_id: str) -> AsyncIterator[RebuildRun.ChunkCompared | OlderRowsFound]:
        """The pages that count, one held at a time, each with its older rows in front of it."""
        run = await self.get(run_id)
        version = run.since
        while (event := await self._call(self._application.next_event, run_id, version, run.version)) is not None:
            version = event.originator_version
            if isinstance(event, RebuildRun.ChunkCompared | OlderRowsFound):
                yield event
            elif isinstance(event, RebuildRun.Compared):
                break

    async def _call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Calls a blocking function in a thread. It is never abandoned midway."""

        def call() -> Result:
            with _pagefold_errors():
                return function(*arguments)

        return await run_sync(call, limiter=self._threads)


@asynccontextmanager
async def open_runs(store: Store) -> AsyncIterator[RunRepository]:
    """The runs in an open store, for the length of an `async with`. The store stays open afterwards."""
    with unwrap_group():
        async with BlockingPortal() as portal:
            application = await run_sync(RunApplication, store, portal)
            try:
                yield RunRepository(application)
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(application.close)


@contextmanager
def _pagefold_errors() -> Iterator[None]:
    """Raises the store's error instead of the one that the recorders gave the library."""
    try:
        yield
    except PersistenceError as error:
        if error.__cause__ is None:
            raise
        raised = error.__cause__
    else:
        return
    raise raised
