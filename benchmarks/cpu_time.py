"""The CPU time of this process and everything that it has started: the client, its threads, and the database server."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measurement import Claim, Spread

PROC = Path("/proc")


class ProcessTimes(NamedTuple):
    """A process's parent, and the seconds of CPU of itself and of its ended children."""

    parent: int
    seconds: float


class CpuCosts:
    """Measures the CPU time of each side, in µs per event. Sides must not run at the same time."""

    def __init__(self, unit: str = "event") -> None:
        self._unit = unit
        self._costs: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def measuring(self, side: str, events: int) -> Iterator[None]:
        """Measures one round of a side."""
        before = cpu_seconds()
        yield
        self.add(side, cpu_seconds() - before, events)

    def add(self, side: str, seconds: float, events: int) -> None:
        """Counts the CPU time of one round of a side."""
        self._costs[side].append(seconds * 1e6 / events)

    def ratio(self, side: str, other: str, *, at_least: float | None = None) -> Claim:
        """How many times as much one side does in a second of CPU as another, from the ratios of the rounds."""
        ratios = [two / one for one, two in zip(self._costs[side], self._costs[other], strict=True)]
        return Claim(f"× {other}, by CPU time", Spread.of(ratios), at_least=at_least)

    def claims(self) -> list[Claim]:
        """One for each side."""
        return [Claim(f"µs of CPU per {self._unit}, {side}", Spread.of(costs)) for side, costs in self._costs.items()]


def cpu_seconds() -> float:
    """The seconds of CPU that this process and its descendants have used. Without `/proc`, only its own."""
    found = os.times()
    return time.process_time() + found.children_user + found.children_system + running_seconds()


def running_seconds() -> float:
    """The seconds of CPU that the descendants of this process have used that have not ended; 0 without `/proc`."""
    processes = _processes()
    return sum(processes[pid].seconds for pid in _descendants(processes))


def _descendants(processes: Mapping[int, ProcessTimes]) -> set[int]:
    family = {os.getpid()}
    while children := {pid for pid, times in processes.items() if times.parent in family} - family:
        family |= children
    return family - {os.getpid()}


def thread_seconds() -> float:
    """The CPU time of all threads of the descendants of this process, to the nanosecond; 0 without `/proc`."""
    found = [file for pid in _descendants(_processes()) for file in PROC.glob(f"{pid}/task/*/schedstat")]
    return sum(map(_nanoseconds, found)) / 1e9


def _nanoseconds(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii").split()[0])
    except OSError:  # the thread has ended
        return 0


def _processes() -> dict[int, ProcessTimes]:
    found = {int(file.parent.name): _parse(file) for file in PROC.glob("[0-9]*/stat")}
    return {pid: times for pid, times in found.items() if times is not None}


def _parse(file: Path) -> ProcessTimes | None:
    """The times in a `stat` file, whose second field is a name in parentheses; None if the process has ended."""
    try:
        fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessTimes(int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"))
