"""Stores the runs of rebuilds in the shop's own log, by an application of the `eventsourcing` library.

A run's events are a stream named by the run's id; a register, also a stream, lists every run. An aggregate snapshot is
taken at every tenth event of a run and whenever it stops, so that a long run need not be read from its beginning.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from anyio.from_thread import BlockingPortal
from eventsourcing.application import AggregateNotFoundError, EventSourcedLog
from eventsourcing.persistence import IntegrityError, JSONTranscoder, PersistenceError, Transcoding
from eventsourcing.utils import register_topic

from pagefold.engine.errors import RunTakenOver, UnknownRun
from pagefold.engine.rebuild.older_rows import OlderRowsFound, RecreatedCandidate
from pagefold.engine.rebuild.run_aggregate import RebuildRun, RunEvent
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.rebuild.run_records import RunCounts, RunSpec
from pagefold.engine.recorders.log_application import BlockingCalls, LogApplication, open_application
from pagefold.engine.stores.store import Store

REGISTER = "pagefold-rebuilds"
"""The stream that lists the runs. Unlike domain streams, it and the runs have no slash in their names."""

SNAPSHOT_EVERY = 10
"""Events between aggregate snapshots of a run: the maximum that is read to know its state."""

MAX_START_ATTEMPTS = 100
"""Maximum attempts to start a run while others are registered at the same time."""

REGISTER_CHUNK = 100
"""Entries of the register per read."""

_run_id = re.compile(r"[A-Za-z0-9._-]{1,64}-[0-9]{8}T[0-9]{6}-[0-9a-f]{4}", re.ASCII)


class Registered(RunEvent):
    """A run was started."""

    TOPIC = "engine.rebuild.runs:Registered"
    run: str
    source: str


register_topic(Registered.TOPIC, Registered)  # the topic names no module


class CountsAsObject(Transcoding):
    """Encodes a run's counts in an aggregate snapshot."""

    type = RunCounts
    name = "pagefold_rebuild_counts"

    def encode(self, obj: RunCounts) -> dict[str, int]:
        """The counts by name."""
        return obj.as_dict()

    def decode(self, data: dict[str, int]) -> RunCounts:
        """The inverse."""
        return RunCounts.of(data)


class RunApplication(LogApplication):
    """The application."""

    name = "rebuilds"

    def __init__(self, store: Store, portal: BlockingPortal) -> None:
        super().__init__(store, portal)
        register = cast("Any", REGISTER)  # the library's type is UUID, but it takes any identifier
        self.register: EventSourcedLog[Registered] = EventSourcedLog(self.events, register, Registered)

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        """Adds the transcoding of counts to the library's."""
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
        """Records new events of a run exactly once, even if an earlier attempt recorded some of them unnoticed."""
        pending = [self.mapper.to_stored_event(event) for event in run.pending_events]
        if not pending:
            return
        versions = [event.originator_version for event in pending]
        if not self.insert_once(pending):
            raise RunTakenOver(run.id)
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
        """The first event of a run after a version, up to and including another."""
        return cast("RunEvent | None", next(self.events.get(run_id, gt=after, lte=upto, limit=1), None))

    def _save_snapshot(self, run: RebuildRun) -> None:
        """Takes an aggregate snapshot of the run. It only saves work, so failing to store it is not an error."""
        if self.snapshots is not None:
            with suppress(PersistenceError):
                self.snapshots.put([RebuildRun.Snapshot.take(run)])


class RunRepository:
    """Stores and reads runs, asynchronously. Opened by `open_runs`.

    Each returned run is a copy of the caller's own: `save` records the events that the caller triggered on it. Every
    method may raise `StoreUnavailable`, and can then be called again.
    """

    def __init__(self, application: RunApplication) -> None:
        self._application = application
        self._call = BlockingCalls().call

    async def start(self, spec: RunSpec) -> RebuildRun:
        """Records a new run. After `StoreUnavailable`, a run that is never resumed may be in the log."""
        return await self._call(self._application.begin, spec)

    async def save(self, run: RebuildRun) -> None:
        """Records the run's events since it was read or saved, durably: all of them or none.

        After `StoreUnavailable` it can be called again, even if the events were recorded. Raises `RunTakenOver` if
        another process recorded other events: this copy is then useless.
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
        """The streams with findings, in order, chunk by chunk; without orphans.

        They include streams that are older although they should not be, and candidates for recreated records. Like
        `orphans`, it covers what was found since the run began or last started over. Raises `UnknownRun`.
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
        """The rows that may be recreated records, in the order of their streams, chunk by chunk."""
        async for event in self._found(run_id):
            if isinstance(event, OlderRowsFound) and event.again:
                yield event.candidates

    async def orphans(self, run_id: str) -> AsyncIterator[Sequence[str]]:
        """The streams that may be withdrawn, in order, chunk by chunk. Raises `UnknownRun`."""
        async for event in self._found(run_id):
            if isinstance(event, RebuildRun.ChunkCompared) and event.orphans:
                yield event.orphans

    async def _found(self, run_id: str) -> AsyncIterator[RebuildRun.ChunkCompared | OlderRowsFound]:
        """The events with the current findings, in order; older rows come before their chunk."""
        run = await self.get(run_id)
        version = run.since
        while (event := await self._call(self._application.next_event, run_id, version, run.version)) is not None:
            version = event.originator_version
            if isinstance(event, RebuildRun.ChunkCompared | OlderRowsFound):
                yield event
            elif isinstance(event, RebuildRun.Compared):
                break


@asynccontextmanager
async def open_runs(store: Store) -> AsyncIterator[RunRepository]:
    """Opens the runs of an open store for the length of an `async with`. The store stays open afterwards."""
    async with open_application(RunApplication, store) as application:
        yield RunRepository(application)
