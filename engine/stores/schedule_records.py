"""The contract of a store for scheduled runs. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

RunState: TypeAlias = Literal["running", "done", "attention", "failed", "stopped"]
"""A run is going on, or its process is gone; done; done, but something needs a person; failed; or stopped early."""

KEPT_RUNS = 100
"""Runs of a task that are kept, the newest."""


APPROVED = "approved rebuilds"
"""The name under which rebuilds that were held, and are resumed, are recorded. No task can have it."""


def sync_task(source: str) -> str:
    """The name under which the syncs of a source are recorded. No task of the configuration can have it."""
    return f"sync {source}"


class ScheduledRun(NamedTuple):
    """A run of a task. Times are fixed-width UTC text; `due` is the time by which it was to begin."""

    number: int
    task: str
    due: str
    started_at: str
    ended_at: str | None
    state: RunState
    detail: str


class Schedule(ABC):
    """When the tasks of a shop were run, and how that went."""

    @abstractmethod
    async def known(self, task: str, at: str) -> str:
        """The due time of the task's newest run; before the first one, when it was first asked for: now, at `at`."""

    @abstractmethod
    async def begin(self, task: str, due: str, at: str) -> int:
        """Records that a run begins, durably, before anything is done. Returns its number."""

    @abstractmethod
    async def end(self, number: int, state: RunState, detail: str, at: str) -> None:
        """Records how a run ended, and removes all but the newest `KEPT_RUNS` of its task."""

    @abstractmethod
    async def newest(self, limit: int, task: str | None = None) -> Sequence[ScheduledRun]:
        """The newest runs, of one task or all, newest first."""
