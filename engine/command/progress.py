"""The progress of long commands, on standard error: bars on a terminal, elsewhere a line every few seconds."""

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

LINE_SECONDS = 5.0
MIN_WIDE_COLUMNS = 100
"""On terminals with fewer columns, bars are short, to leave room for the note."""

MAX_TITLE_CHARACTERS = 20


class Meter(Protocol):
    """Shows the progress of a command."""

    def update(self, done: int, note: str, total: int | None = None) -> None:
        """Shows how much is done, with a short note. `total` replaces the total so far, if given."""


@contextmanager
def byte_meter(title: str, total: int | None) -> Iterator[Meter]:
    """A meter in bytes, with their rate and the remaining time; `total` is None if it is unknown."""
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
    """A meter in percent: one line, whatever the width, which is removed at the end."""
    bar = BarColumn(12 if messages().width < MIN_WIDE_COLUMNS else 30, table_column=_unbroken())
    columns = (bar, _Share(table_column=_unbroken()), TimeRemainingColumn(table_column=_unbroken()))
    with _meter(shortened(printable(title), MAX_TITLE_CHARACTERS), total, columns, transient=True) as meter:
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
    """Progress bars on the terminal, one line per task. Other output appears above them."""
    title = TextColumn("{task.description}", markup=False)
    console = messages()
    return Progress(title, *columns, console=console, transient=transient, redirect_stdout=sys.stdout.isatty())


def fold_bars() -> Progress:
    """Progress bars of folding, one per domain: folded events, and all."""
    return bars(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _unbroken() -> Column:
    return Column(no_wrap=True)


class _Share(ProgressColumn):
    """The share that is done, in percent; empty while the total is unknown."""

    def render(self, task: Task) -> Text:
        """The percentage, padded to a fixed width."""
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
        self._next = time.monotonic() + LINE_SECONDS

    def update(self, done: int, note: str, total: int | None = None) -> None:
        self._total = total or self._total
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LINE_SECONDS
        share = f" {done / self._total:.0%}," if self._total else ""
        print_message(f"{self._title}:{share} {note}")
