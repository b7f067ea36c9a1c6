"""Output: results on standard output, everything else on standard error.

A terminal gets colours and tables, anything else plain lines with aligned columns. Data is never read as markup.
"""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

import orjson
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

GAP = "  "
MINUTE, HOUR, DAY = 60, 3_600, 86_400
MAX_PIPED_BYTES = 4_096
"""Up to this size, POSIX writes to a pipe are atomic."""

_error_pipe: list[int] = []

MAX_MEMORY_BYTES = 4 * 1024 * 1024
MIN_PERCENT = 0.01
"""In percent; smaller shares are shown as less than this."""


class _Results(Console):
    def on_broken_pipe(self) -> None:
        """Ends the command: nobody reads the results."""
        raise BrokenPipeError


class _Messages(Console):
    def on_broken_pipe(self) -> None:
        """Continues the command without messages: nobody reads them."""
        self.quiet = True


@cache
def results() -> Console:
    """The console of standard output, for results."""
    return _Results(highlight=False, markup=False, emoji=False)


@cache
def messages() -> Console:
    """The one console of standard error, for everything else; lines appear above its progress bars."""
    return _Messages(stderr=True, highlight=False, markup=False, emoji=False)


def print_message(message: str | Text) -> None:
    """A line on standard error."""
    messages().print(message, soft_wrap=True)


def send_errors(descriptor: int) -> None:
    """Makes `print_error` write lines to a pipe, from which another process prints them."""
    _error_pipe.append(descriptor)


def print_error(message: str) -> None:
    """An error: one line on standard error, whatever it holds."""
    if _error_pipe:
        os.write(_error_pipe[-1], " ".join(message.split()).encode(errors="replace")[: MAX_PIPED_BYTES - 1] + b"\n")
        return
    text = Text.assemble(("pagefold: ", "bold red"), " ".join(message.split()))
    messages().print(text, soft_wrap=True)


def write_json(document: object) -> None:
    """A line of JSON on standard output."""
    write_bytes(orjson.dumps(document))


def write_bytes(line: bytes) -> None:
    """The bytes as they are, and the end of a line, on standard output."""
    if sys.stdout.isatty():
        print(line.decode())  # by way of a progress display, should there be one
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(line + b"\n")


def write_pieces(pieces: Iterable[bytes]) -> None:
    """The pieces, concatenated, as one line on standard output. Not during a progress display."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


class JSONList:
    """The items of a JSON array; beyond `MAX_MEMORY_BYTES` they are in a temporary file."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(MAX_MEMORY_BYTES)  # noqa: SIM115  # it is closed with the list
        self._empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, item: bytes) -> None:
        """Adds an item, which is JSON already."""
        self._file.write(item if self._empty else b"," + item)
        self._empty = False

    def clear(self) -> None:
        """Removes all items."""
        self._file.seek(0)
        self._file.truncate()
        self._empty = True

    def pieces(self) -> Iterator[bytes]:
        """The JSON array, in pieces."""
        self._file.seek(0)
        yield b"["
        while piece := self._file.read(MAX_MEMORY_BYTES):
            yield piece
        yield b"]"


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    numbers: Collection[str] = (),
    wrapped: Collection[str] = (),
) -> None:
    """A table on standard output. Columns in `numbers` are aligned to the right, those in `wrapped` may break."""
    console = results()
    if console.is_terminal:
        table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in columns:
            justify: JustifyMethod = "right" if column in numbers else "left"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=column not in wrapped)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for line in _aligned([columns, *([str(cell) for cell in row] for row in rows)], columns, numbers):
            print(line)


def _aligned(rows: Sequence[Sequence[str]], columns: Sequence[str], numbers: Collection[str]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines


def count(number: int, noun: str) -> str:
    """`1 line`, `1,234 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def pace(number: int, noun: str, seconds: float, *, complete: bool) -> str:
    """`8 lines in 20 ms`; from a second on with the rate: `9,000 lines in 1.5 s (6,000 lines/s)`."""
    rate = f" ({number / seconds:,.0f} {noun}s/s)" if seconds >= 1 else ""
    return f"{count(number, noun)} in {duration(seconds)}{rate}" + ("" if complete else ", not to the end")


def percent(number: float) -> str:
    """`0 %`, `0.25 %`, `12 %`; a small share is never shown as 0."""
    if 0 < number < MIN_PERCENT:
        return f"less than {MIN_PERCENT} %"
    return f"{number:.2f}".rstrip("0").rstrip(".") + " %"


def duration(seconds: float) -> str:
    """A duration for people: `20 ms`, `1.5 s`, `4 min`, `3 h`, `2 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    for unit, name, following in ((MINUTE, "min", HOUR), (HOUR, "h", DAY)):
        if seconds < following:
            return f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit else f"{seconds / unit:.1f} {name}"
    return f"{seconds / DAY:.1f} d"


def printable(text: str) -> str:
    """The text with control characters escaped, so that data cannot control the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shortened(text: str, width: int) -> str:
    """At most `width` characters, with an ellipsis if some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"
