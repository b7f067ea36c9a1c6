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
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from pagefold.engine.command.console import messages, print_message, printable, shortened

SECONDS_BETWEEN_LINES = 5.0
NARROW = 100
"""Columns of a terminal on which bars are short, so that what stands beside them has room."""

WIDEST_TITLE = 20


class Meter(Protocol):
    """What a command tells how far it is."""

    def update(self, done: int, note: str, total: int | None = None) -> None:
        """So much is done, of the total of before, or of another one that is known now.

        `note` is what else is worth knowing, in a few words.
        """


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
def share_meter(title: str, total: int | None = None) -> Iterator[Meter]:
    """A meter of which only the share counts that is done; one line that is gone in the end, whatever the width."""
    bar = BarColumn(12 if messages().width < NARROW else 30, table_column=_unbroken())
    columns = (bar, _Share(table_column=_unbroken()), TimeRemainingColumn(table_column=_unbroken()))
    with _meter(shortened(printable(title), WIDEST_TITLE), total, columns, transient=True) as meter:
        yield meter


@contextmanager
def _meter(
    title: str, total: int | None, columns: tuple[ProgressColumn, ...], *, transient: bool = False
) -> Iterator[Meter]:
    if not messages().is_terminal:
        yield _Lines(title, total)
        return
    note = TextColumn("{task.fields[note]}", style="dim", markup=False)
    with bars(*columns, note, transient=transient) as progress:
        yield _Bar(progress, progress.add_task(title, total=total, note=""))


def bars(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """Bars on the terminal, a line a task. What is written there meanwhile appears above them."""
    title = TextColumn("{task.description}", markup=False)
    console = messages()
    return Progress(title, *columns, console=console, transient=transient, redirect_stdout=sys.stdout.isatty())


def fold_bars() -> Progress:
    """Bars of folding, a domain each: events that are done, of how many."""
    return bars(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _unbroken() -> Column:
    return Column(no_wrap=True)


class _Share(ProgressColumn):
    """How much is done, in percent; nothing while the total is unknown."""

    def render(self, task: Task) -> Text:
        """Always of the same width."""
        return Text("    " if task.total is None else f"{task.percentage:>3.0f}%", style="progress.percentage")


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, note: str, total: int | None = None) -> None:
        self._progress.update(self._task, completed=done, note=note, total=total)


class _Lines:
    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def update(self, done: int, note: str, total: int | None = None) -> None:
        self._total = total or self._total
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        share = f" {done / self._total:.0%}," if self._total else ""
        print_message(f"{self._title}:{share} {note}")
