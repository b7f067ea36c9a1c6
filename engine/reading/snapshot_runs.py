"""Which snapshots were read to their end, and when: the newest runs of rebuilds and polls, as the log has them.

It reads what `pagefold.engine.rebuild.run_repository` stored, without the library that stores it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.engine.snapshots.snapshot import UNPROVEN
from pagefold.engine.stores.recorder_records import Records
from pagefold.engine.stores.schedule_records import rebuild_claim

REGISTER = "pagefold-rebuilds"
"""The stream that lists the runs, as `pagefold.engine.rebuild.run_repository` has it."""

MAX_RUNS = 500
"""Runs that are looked at, the newest."""

_NEWEST = 2**53 - 1

Claim: TypeAlias = Callable[[str], AbstractAsyncContextManager[bool]]


class SnapshotRun(NamedTuple):
    """A run that read a snapshot to its end. `withdraws`: it also withdrew what the snapshot lacked."""

    source: str
    domains: frozenset[str]
    prefix: str
    began_at: datetime
    withdraws: bool

    def covers(self, domain: str, prefix: str) -> bool:
        """Whether it read all rows of a domain whose SKU begins with a prefix."""
        return domain in self.domains and prefix.startswith(self.prefix)


class _Registered(msgspec.Struct):
    run: str
    source: str


class _Time(msgspec.Struct):
    text: str = msgspec.field(name="_data_")


class _State(msgspec.Struct):
    began_at: _Time = msgspec.field(name="_created_on")
    source: str
    domains: list[str]
    prefix: str
    state: str
    complete_snapshot: bool
    incomplete_because: str
    keeps_absent: bool
    held_orphans: int = 0


class _Snapshot(msgspec.Struct):
    state: _State


class HeldRun(NamedTuple):
    """A run that would remove `removed` streams, and waits for a person's yes."""

    run: str
    source: str
    removed: int


class InterruptedRun(NamedTuple):
    """A run that has not ended, and on which no process works."""

    run: str
    source: str


class SnapshotRuns:
    """The runs of one store. What is known of a run that is over is kept."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._over: dict[str, _State] = {}

    async def newest(self) -> list[SnapshotRun]:
        """Those of the newest runs that are complete, newest first."""
        found = [_complete(state) for _, state in await self._states() if state.state == "completed"]
        return [run for run in found if run is not None]

    async def held(self) -> list[HeldRun]:
        """The newest runs that are held, newest first; not those after which the same was begun again."""
        found: list[HeldRun] = []
        begun: set[tuple[object, ...]] = set()
        for name, state in await self._states():
            part = (state.source, frozenset(state.domains), state.prefix, state.keeps_absent)
            if state.state == "held" and part not in begun:
                found.append(HeldRun(name, state.source, state.held_orphans))
            begun.add(part)
        return found

    async def interrupted(self, claim: Claim) -> list[InterruptedRun]:
        """The newest runs of their sources that are interrupted. `claim` is that of the store.

        Only the process that works on a run of a source has the claim; while it is ours, no run can end.
        """
        found: list[InterruptedRun] = []
        for run in await self._unfinished():
            async with claim(rebuild_claim(run.source)) as nobody_works:
                if nobody_works and run in await self._unfinished():
                    found.append(run)
        return found

    async def _unfinished(self) -> list[InterruptedRun]:
        """The newest run of each source, if it is recorded as running."""
        newest: dict[str, str] = {}
        for entry in await self._registered():
            newest.setdefault(entry.source, entry.run)
        states = [(InterruptedRun(run, source), await self._state(run)) for source, run in newest.items()]
        return [run for run, state in states if state is None or state.state == "running"]

    async def _registered(self) -> list[_Registered]:
        entries = await self._records.select(
            "stored_events", REGISTER, after=-1, upto=_NEWEST, descending=True, limit=MAX_RUNS
        )
        return [msgspec.json.decode(entry.state, type=_Registered) for entry in entries]

    async def _states(self) -> list[tuple[str, _State]]:
        """The newest runs of which more than their beginning is known, newest first."""
        names = [entry.run for entry in await self._registered()]
        self._over = {name: self._over[name] for name in names if name in self._over}
        found = [(name, await self._state(name)) for name in names]
        return [(name, state) for name, state in found if state is not None]

    async def _state(self, name: str) -> _State | None:
        """What a run said when it stopped, or at every tenth event: it is stored once more, in one piece."""
        if name in self._over:
            return self._over[name]
        stored = await self._records.select("stored_snapshots", name, after=-1, upto=_NEWEST, descending=True, limit=1)
        if not stored:
            return None
        state = msgspec.json.decode(stored[0].state, type=_Snapshot).state
        if state.state == "completed":
            self._over[name] = state
        return state


def _complete(state: _State) -> SnapshotRun | None:
    """A completed run. One whose snapshot nothing proves complete, nor incomplete, withdrew nothing."""
    if not state.complete_snapshot and state.incomplete_because not in UNPROVEN:
        return None
    began_at = datetime.fromisoformat(state.began_at.text)
    withdraws = state.complete_snapshot and not state.keeps_absent
    return SnapshotRun(state.source, frozenset(state.domains), state.prefix, began_at, withdraws)
