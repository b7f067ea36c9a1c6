"""The contract of a store for scheduled runs. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

RunState: TypeAlias = Literal["requested", "running", "done", "attention", "failed", "stopped"]
"""A run waits for a worker; is going on, or its process is gone; done; done, but needs a person; failed; or stopped."""

KEPT_RUNS = 100
"""Runs of a task that are kept, the newest."""


APPROVED = "approved rebuilds"
"""The name under which rebuilds that were held, and are resumed, are recorded. No task can have it."""


def rebuild_claim(source: str) -> str:
    """The claim that a process has while it works on a rebuild of a source."""
    return f"rebuild-{source}"


def sync_task(source: str) -> str:
    """The name under which the syncs of a source are recorded. No task of the configuration can have it."""
    return f"sync {source}"


class ScheduledRun(NamedTuple):
    """A run of a task. Times are fixed-width UTC text; `due` is the time by which it was to begin.

    An operator has asked for it if it is `requested`.
    """

    number: int
    task: str
    due: str
    started_at: str
    ended_at: str | None
    state: RunState
    detail: str
    requested: bool


class RequestedRun(NamedTuple):
    """A run that an operator has asked for: its record, what was asked for, and what was found, both as JSON."""

    run: ScheduledRun
    request: str
    result: str | None


def requested_run(row: Iterable[Any]) -> RequestedRun:
    """A requested run as both stores select it."""
    *run, request, result = row
    return RequestedRun(scheduled_run([*run, True]), request, result)


def scheduled_run(row: Iterable[Any]) -> ScheduledRun:
    """A run of a task as both stores select it."""
    run = ScheduledRun(*row)
    return run._replace(requested=bool(run.requested))


class Schedule(ABC):
    """When the tasks of a shop were run, and how that went; and the runs that operators have asked for."""

    @abstractmethod
    async def known(self, task: str, at: str) -> str:
        """The due time of the task's newest run; before the first one, when it was first asked for: now, at `at`."""

    @abstractmethod
    async def begin(self, task: str, due: str, at: str) -> int:
        """Records that a run begins, durably, before anything is done. Returns its number."""

    @abstractmethod
    async def end(self, number: int, state: RunState, detail: str, at: str, result: str | None = None) -> None:
        """Records how a run ended and what it found, and removes all but the newest `KEPT_RUNS` of its task.

        A no-op for one that has ended.
        """

    @abstractmethod
    async def newest(self, limit: int, task: str | None = None) -> Sequence[ScheduledRun]:
        """The newest runs, of one task or all, newest first."""

    @abstractmethod
    async def request(self, task: str, request: str, at: str) -> int | None:
        """Records a request, durably. Returns its number; None if one of the task has not ended yet."""

    @abstractmethod
    async def take_up(self, number: int, at: str) -> bool:
        """Records that a requested run begins. Returns False if it is not waiting: it began, or has ended."""

    @abstractmethod
    async def cancel(self, number: int, detail: str, at: str) -> bool:
        """Records that a requested run is not to be done any more. Returns False if it is not waiting, likewise."""

    @abstractmethod
    async def requested(self, number: int) -> RequestedRun | None:
        """A requested run; None if there is none of the number."""

    @abstractmethod
    async def open_requests(self) -> Sequence[RequestedRun]:
        """The requested runs that have not ended, oldest first."""
