"""`pagefold changes`: the pages that changed after a cursor, as lines of JSON, once or for as long as it runs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.console import print_message, write_bytes
from pagefold.engine.command.options import DomainName, Exit, Injected, Options, UsageError
from pagefold.engine.command.signals import StopSignal, stoppable
from pagefold.engine.errors import ConfigurationError, FeedReset, UnknownCursor
from pagefold.engine.feed.changes import Changes
from pagefold.engine.feed.page_change import FeedStep
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.task_groups import run_beside

START = "0"


def changes(  # noqa: PLR0913  # the command's options
    *,
    after: str | None = None,
    cursor_file: Path | None = None,
    follow: Annotated[bool, Parameter(show_default=False)] = False,
    channel: Annotated[list[str] | None, Parameter(negative=())] = None,
    prefix: str = "",
    domain: Annotated[list[DomainName] | None, Parameter(negative=())] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    include_page: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Print the pages that changed after a cursor, each in its newest state: one JSON object a line.

    Each has sku, channel, status, ready, tag (null: nothing is shown, remove it), position, domains and updatedAt. A
    page may be named that did not change. After the changes that were read together, the cursor follows on a line of
    its own: {"cursor": …}. Exit code 1 if the cursor cannot be continued: start again from 0.

    Parameters
    ----------
    after
        The cursor to go on from; 0 for every page, which is the default, or now for what changes from now on.
    cursor_file
        Go on from the cursor in this file, if it has one, and store each next one there, after its changes were
        written. Then no lines with cursors are printed.
    follow
        Go on with what changes, until Ctrl-C.
    channel
        Only this channel; may be repeated.
    prefix
        Only SKUs that begin with this.
    domain
        Only pages of which this domain has changed; may be repeated.
    limit
        Stop after about this many changes.
    include_page
        Print the page with each change.
    """
    stored = None if cursor_file is None else _stored(cursor_file)
    if after is not None and stored is not None:
        raise UsageError("--after", f"{cursor_file} has a cursor to go on from; remove the file to start elsewhere")
    output = _Output(cursor_file, limit)

    async def work() -> int:
        async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
            try:
                found = shop.changes(
                    after or stored or START,
                    channels=channel,
                    prefix=prefix,
                    domains=domain,
                    pages=include_page,
                    follow=follow,
                )
            except ConfigurationError as error:  # domains were checked before
                raise UsageError("--channel", error.problem) from None
            async with run_beside(shop.follow):
                return await _print(found, output, stop)

    return run(work)


async def _print(found: Changes, output: "_Output", stop: StopSignal) -> int:
    try:
        with stop.scope:
            async for step in found.steps():
                output.write(step)
                if output.is_full:
                    return Exit.DONE
    except UnknownCursor:
        raise UsageError("--after", "is not a cursor; give 0, now, or one that was printed") from None
    except FeedReset as error:
        print_message(f"{error}, and remove what is not named until the replay is over")
        return Exit.REFUSED
    return stop.exit_code if stop else Exit.DONE


class _Output:
    """Where changes and cursors go. A cursor counts only once its changes were written."""

    def __init__(self, cursor_file: Path | None, limit: int | None) -> None:
        self._file = cursor_file
        self._limit = limit
        self._written = 0

    @property
    def is_full(self) -> bool:
        """Whether as many changes were written as are wanted."""
        return self._limit is not None and self._written >= self._limit

    def write(self, step: FeedStep) -> None:
        """Writes the changes of a step, then its cursor."""
        for change in step.changes:
            write_bytes(msgspec.json.encode(change))
        self._written += len(step.changes)
        if self._file is None and (step.changes or step.up_to_date):
            write_bytes(msgspec.json.encode({"cursor": str(step.cursor), "upToDate": step.up_to_date}))
        sys.stdout.flush()
        if self._file is not None:
            _store(self._file, str(step.cursor))


def _stored(file: Path) -> str | None:
    """The cursor in a file; None if there is none."""
    try:
        return file.read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("--cursor-file", f"{file} cannot be read: {error}") from None


def _store(file: Path, cursor: str) -> None:
    """Replaces the cursor in a file: it has the old one or the new one, whatever crashes."""
    new = file.with_name(f"{file.name}.new")
    with new.open("w", encoding="utf-8") as opened:
        opened.write(cursor + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
