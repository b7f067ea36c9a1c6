"""The faults of a run and their times: by the number of the step, so that sooner or later they occur at every await."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.disk import Disk, Faults
from tests.simulation.environment import Environment
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.trace import Trace

FIRST_STEP, LAST_STEP = 20, 6_000
FAULTS = (
    Faults(read=0.05),
    Faults(write=0.3),
    Faults(sync=0.3),
    Faults(full=1.0),
    Faults(read=0.02, write=0.05, sync=0.05, full=0.05),
)


class Fault(NamedTuple):
    """A fault before a step."""

    step: int
    what: Callable[[], None]


class Nemesis:
    """All faults of one run. `processes` are the live ones."""

    def __init__(
        self, luck: random.Random, trace: Trace, scheduler: Scheduler, disk: Disk, environment: Environment
    ) -> None:
        self._luck = luck
        self._trace = trace
        self._scheduler = scheduler
        self._disk = disk
        self._environment = environment
        self.processes: dict[str, Process] = {}
        self.lose_power: Callable[[], None] = lambda: None
        self.back_up: Callable[[], None] = lambda: None
        self.put_back: Callable[[], None] = lambda: None
        kinds = [self._kill, self._kill, self._kill_at_change, self._power, self._stop, self._break_disk]
        kinds += [self._set_clock, self._slow_down, self._terminate, self._stop_worker, self._stop_worker]
        faults = [Fault(self._some_step(), luck.choice(kinds)) for _ in range(luck.choice([0, 1, 2, 3, 5, 8]))]
        if luck.random() < 0.2:
            steps = sorted((self._some_step(), self._some_step()))
            faults += [Fault(steps[0], self._back_up), Fault(steps[1], self._put_back)]
        self._faults = sorted(faults, key=lambda fault: fault.step)

    def tick(self) -> None:
        """Called before each step."""
        while self._faults and self._faults[0].step <= self._scheduler.steps:
            self._faults.pop(0).what()

    def has_let_go(self) -> bool:
        """Whether every live process runs."""
        return not any(process.stopped and process.alive for process in self.processes.values())

    def rest(self) -> None:
        """Ends all faults."""
        self._faults.clear()
        self._disk.faults = Faults()
        self._environment.slowness.share = 0.0
        for process in self.processes.values():
            process.dies_at_change = None

    def _some_step(self) -> int:
        return int(math.exp(self._luck.uniform(math.log(FIRST_STEP), math.log(LAST_STEP))))

    def _victim(self) -> Process | None:
        living = [process for process in self.processes.values() if process.alive and not process.doomed]
        return self._luck.choice(living) if living else None

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._scheduler.call_later(self._luck.expovariate(1 / seconds), what)

    def _kill(self) -> None:
        if (victim := self._victim()) is not None:
            self._scheduler.kill(victim)

    def _kill_at_change(self) -> None:
        if (victim := self._victim()) is not None:
            victim.dies_at_change = victim.changes + self._luck.randint(1, 30)

    def _back_up(self) -> None:
        self.back_up()

    def _put_back(self) -> None:
        self.put_back()

    def _power(self) -> None:
        self.lose_power()

    def _terminate(self) -> None:
        victim = self._victim()
        if victim is not None and not victim.stopped:
            self._trace.note(f"{victim.name} is asked to end")
            victim.terminate()

    def _stop_worker(self) -> None:
        """Stops a worker for longer than its lease."""
        workers = [process for name, process in self.processes.items() if name.startswith("worker") and process.alive]
        self._stop_one(self._luck.choice(workers) if workers else None, [2.0, 5.0])

    def _stop(self) -> None:
        self._stop_one(self._victim(), [0.3, 2.0])

    def _stop_one(self, victim: Process | None, seconds: list[float]) -> None:
        if victim is not None and not victim.stopped:
            self._trace.note(f"{victim.name} is stopped")
            victim.stopped = True
            self._later(self._luck.choice(seconds), lambda: self._resume(victim))

    def _resume(self, process: Process) -> None:
        if process.stopped and process.alive:
            self._trace.note(f"{process.name} resumes")
            self._scheduler.resume(process)

    def _break_disk(self) -> None:
        self._disk.faults = self._luck.choice(FAULTS)
        self._trace.note(f"the disk fails: {self._disk.faults}")
        self._later(1.0, self._repair_disk)

    def _repair_disk(self) -> None:
        self._trace.note("the disk is well")
        self._disk.faults = Faults()

    def _set_clock(self) -> None:
        seconds = self._luck.choice([-86_400, -3_600, -5, 5, 3_600, 86_400])
        self._trace.note(f"the clock is set by {seconds} s")
        self._environment.clock.ahead += seconds

    def _slow_down(self) -> None:
        slowness = self._environment.slowness
        slowness.share, slowness.seconds = self._luck.choice([(0.5, 0.01), (0.05, 1.0), (1.0, 0.001)])
        self._trace.note(f"work takes time: {slowness.share} of it {slowness.seconds} s")
