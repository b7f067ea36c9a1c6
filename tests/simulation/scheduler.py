"""A simulated event loop: time is a number, tasks run in random order, and processes die at any await."""

import asyncio
import gc
import heapq
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, Literal, TypeAlias

import anyio
import apsw

from tests.simulation.trace import Trace

Style: TypeAlias = Literal["in order", "any", "by priority"]
STYLES: tuple[Style, ...] = ("in order", "any", "any", "by priority")

STEP_SECONDS = 0.00002
"""The duration of a step, so that a task that polls cannot stop the clock."""

MAX_STEPS = 400_000
"""Steps after which a run counts as endless."""


class Stuck(AssertionError):
    """No task can run, or the same ones run forever."""

    def __init__(self, steps: int) -> None:
        super().__init__(
            f"still not at the end after {steps:,} steps" if steps else "everybody waits for somebody else"
        )


PROCESS: "ContextVar[Process | None]" = ContextVar("PROCESS", default=None)


class Process:
    """A process of the machine: tasks, connections and locks that end with it.

    `doomed` is set if it dies in the middle of a step: nothing that it does afterwards reaches the disk.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.alive = True
        self.doomed = False
        self.stopped = False
        self.tasks: list[SimulatedTask] = []
        self.connections: list[apsw.Connection] = []
        self.read_only_indexes: set[str] = set()
        """Files whose index its first connection has opened read-only: SQLite has one for the whole process."""
        self.lock_files: dict[int, object] = {}
        self.held: list[asyncio.Handle] = []
        self.context = Context()
        """Code inside it belongs to the process, and does not run once the process is dead."""
        self.context.run(PROCESS.set, self)
        self.scope = anyio.CancelScope()
        """The program's cancel scope."""
        self.steps = 0
        self.changes = 0
        """The number of its changes of files."""
        self.dies_at_change: int | None = None

    def terminate(self) -> None:
        """Cancels the program. anyio repeats a cancellation in every step until the program has ended."""
        self.context.run(self.scope.cancel)


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number, which orders tasks, and a priority."""

    number = 0
    priority = 0.0


class Scheduler(asyncio.BaseEventLoop):
    """Runs one step at a time. Work for threads is done in a step."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, luck: random.Random, trace: Trace) -> None:
        super().__init__()
        self._luck = luck
        self._trace = trace
        self._style = luck.choice(STYLES)
        self._now = 0.0
        self._tasks = 0
        self.steps = 0
        self.on_step: Callable[[], None] = lambda: None
        self.on_death: Callable[[Process], None] = lambda _: None
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def start(self, process: Process, program: Coroutine[Any, Any, None]) -> None:
        """Runs a program as a process, which ends with it."""
        main = self.create_task(program, context=process.context)
        main.add_done_callback(lambda _: self.kill(process), context=Context())

    def kill(self, process: Process) -> None:
        """Ends the process between two steps: none of its tasks runs again, and its files are closed."""
        if not process.alive:
            return
        self._trace.note(f"{process.name} dies")
        process.alive = False
        token = PROCESS.set(process)  # the disk ignores it from now on
        for connection in process.connections:
            with suppress(apsw.Error):
                connection.close(force=True)
        PROCESS.reset(token)
        for descriptor in process.lock_files:
            os.close(descriptor)
        process.lock_files.clear()  # its tasks may close them again when they are discarded
        self.on_death(process)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,  # noqa: ANN401  # asyncio's signature
        *,
        context: Context | None = None,
        **_: Any,  # noqa: ANN401  # asyncio's signature
    ) -> SimulatedTask:
        task = SimulatedTask(coroutine, loop=loop, context=context)
        task.number = self._tasks = self._tasks + 1
        task.priority = self._luck.random()
        process = (context.get(PROCESS) if context is not None else None) or PROCESS.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Stuck(MAX_STEPS)
        self._now += STEP_SECONDS
        self.on_step()
        self._move_due()
        if not self._ready:
            if not self._scheduled:
                if self._stopping:
                    return
                raise Stuck(0)
            self._now = max(self._now, self._scheduled[0].when())
            self._move_due()
        self._step(self._choose())

    def _move_due(self) -> None:
        while self._scheduled and (self._scheduled[0].cancelled() or self._scheduled[0].when() <= self._now):
            handle: Any = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle.cancelled():
                self._ready.append(handle)

    def _choose(self) -> asyncio.Handle | None:
        """The next step of a runnable task, or one that belongs to no task, in order."""
        candidates: list[tuple[int, float, asyncio.Handle]] = []
        others = False
        for handle in tuple(self._ready):
            if handle.cancelled() or self._set_aside(handle):
                self._ready.remove(handle)
                continue
            task = task_of(handle)
            if task is not None:
                candidates.append((task.number, task.priority, handle))
            elif not others:
                others = True
                candidates.append((0, self._luck.random(), handle))
        if not candidates:
            return None
        chosen = self._pick(candidates)
        self._ready.remove(chosen[2])
        self._trace.step(self._now, chosen[0])
        return chosen[2]

    def _pick(self, candidates: list[tuple[int, float, asyncio.Handle]]) -> tuple[int, float, asyncio.Handle]:
        if len(candidates) == 1 or self._style == "in order":
            return candidates[0]
        candidates.sort(key=lambda candidate: candidate[0])
        if self._style == "any" or self._luck.random() < 0.05:
            return self._luck.choice(candidates)
        return max(candidates, key=lambda candidate: candidate[1])

    def _set_aside(self, handle: asyncio.Handle) -> bool:
        """Callbacks of a dead process are dropped, and those of a stopped one wait."""
        process = process_of(handle)
        if process is None or (process.alive and not process.stopped):
            return False
        if process.alive:
            process.held.append(handle)
        return True

    def resume(self, process: Process) -> None:
        """Resumes a stopped process."""
        process.stopped = False
        self._ready.extend(process.held)
        process.held.clear()

    def _step(self, handle: asyncio.Handle | None) -> None:
        if handle is None:
            return
        process = process_of(handle)
        if process is not None:
            process.steps += 1
        handle._run()
        if process is not None and process.doomed:
            self.kill(process)

    def _process_events(self, _events: object) -> None:
        """A no-op: there is no input from outside the simulation."""

    def _write_to_self(self) -> None:
        """It never sleeps, and need not be woken."""


def task_of(handle: Any) -> SimulatedTask | None:  # noqa: ANN401  # asyncio does not publish what a handle has
    """The task of a handle."""
    task = getattr(handle._callback, "__self__", None)
    return task if isinstance(task, SimulatedTask) else None


def process_of(handle: Any) -> Process | None:  # noqa: ANN401  # likewise
    """The process of a handle."""
    process: Process | None = handle._context.get(PROCESS)
    return process


def discard(processes: Iterable[Process]) -> None:
    """Discards the tasks of dead processes, once their event loop is closed."""
    for process in processes:
        for task in process.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # they are pending, and that is meant
        process.tasks.clear()
        process.held.clear()
    gc.collect()  # their last output is discarded now
