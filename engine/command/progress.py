"""How far a long command is: a bar on a terminal, now and then a line elsewhere. Always on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from engine.command.output import messages, say

SECONDS_BETWEEN_LINES = 5.0


class Meter(Protocol):
    """What a command tells how far it is."""

    def update(self, done: int, note: str) -> None:
        """So much of the total is done. `note` is what else is worth knowing, in a few words."""


@contextmanager
def byte_meter(title: str, total: int | None) -> Iterator[Meter]:
    """A meter in bytes, with their rate and the time that remains; `total` is None when nobody knows it."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _meter(title, total, columns) as meter:
        yield meter


@contextmanager
def item_meter(title: str, total: int) -> Iterator[Meter]:
    """A meter in items."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _meter(title, total, columns) as meter:
        yield meter


@contextmanager
def _meter(title: str, total: int | None, columns: tuple[ProgressColumn, ...]) -> Iterator[Meter]:
    if not messages().is_terminal:
        yield _Lines(title, total)
        return
    with bars(*columns, TextColumn("{task.fields[note]}", style="dim", markup=False)) as progress:
        yield _Bar(progress, progress.add_task(title, total=total, note=""))


def bars(*columns: ProgressColumn) -> Progress:
    """Bars on the terminal, a line a task. What is written there meanwhile appears above them."""
    title = TextColumn("{task.description}", markup=False)
    return Progress(title, *columns, console=messages(), redirect_stdout=sys.stdout.isatty())


def fold_bars() -> Progress:
    """Bars of folding, a domain each: events that are done, of how many."""
    return bars(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, note: str) -> None:
        self._progress.update(self._task, completed=done, note=note)


class _Lines:
    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def update(self, done: int, note: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        share = f" {done / self._total:.0%}," if self._total else ""
        say(f"{self._title}:{share} {note}")
