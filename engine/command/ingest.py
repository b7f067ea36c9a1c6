"""`pagefold ingest`: events from files into the log."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import count, pace, print_message, show_table, write_json
from pagefold.engine.command.ingest_job import MAX_SHOWN, IngestJob, Refusals
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.command.progress import byte_meter
from pagefold.engine.command.signals import StopSignal, stoppable
from pagefold.engine.errors import PagefoldError
from pagefold.engine.events import OUTCOMES
from pagefold.engine.intake.input_files import STANDARD_INPUT, file_size
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop


def ingest(
    *files: Annotated[str, Parameter(metavar="FILE", allow_leading_hyphen=True)],
    rejects: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Append the events in NDJSON files to the log.

    One event a line; gzip and zstd are decompressed, blank lines skipped. Creates the store if there is none. Every
    line is appended, a duplicate, a conflict (the log has its version with another content), or rejected because it
    breaks a rule; prints the number of each.

    Safe to run again: what is in the log is a duplicate. Ctrl-C and SIGTERM finish the current batch and print the
    counts so far (exit code 130 or 143); what was counted as appended is in the log.

    Parameters
    ----------
    files
        NDJSON files, compressed with gzip or zstd or not; - is standard input.
    rejects
        Write every refused line to this file, as NDJSON: file, line, path, reason, outcome, and the line itself as text
        (base64 when it is not UTF-8, neither when it is above 1 MiB).
    as_json
        Print the counts as one JSON document.
    """
    if not files:
        raise UsageError("FILE", "is missing; name at least one, - is standard input")
    if rejects is not None:
        _check_rejects(rejects, files)
    return run(lambda: _ingest(files, rejects, options, as_json=as_json))


def _check_rejects(rejects: Path, files: Sequence[str]) -> None:
    """Refused lines must not overwrite a file that is read."""
    for name in files:
        if name != STANDARD_INPUT and rejects.exists() and Path(name).exists() and rejects.samefile(name):
            raise UsageError("--rejects", f"{rejects} is a file to be read; name another")


async def _ingest(files: Sequence[str], rejects: Path | None, options: Options, *, as_json: bool) -> int:
    config = options.load()
    sizes = [file_size(name) for name in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    title = files[0] if len(files) == 1 else f"{len(files)} files"
    started = time.monotonic()
    async with pagefold.open(config) as shop, stoppable() as stop:
        with _opened(rejects) as file, byte_meter(title, total) as meter:
            refusals = Refusals(shop, file)
            intake = IngestJob(shop, refusals, meter, stop)
            await _run(shop, intake, files, stop)
    complete = intake.error is None and not stop
    _report(intake, time.monotonic() - started, complete=complete, as_json=as_json)
    if intake.error is not None:
        raise intake.error
    if stop:
        return stop.exit_code
    if refusals.count > MAX_SHOWN and rejects is None:
        print_message(f"… and {count(refusals.count - MAX_SHOWN, 'more refusal')}; --rejects FILE keeps them all")
    return Exit.REFUSED if refusals.count else Exit.DONE


async def _run(shop: Shop, intake: IngestJob, files: Sequence[str], stop: StopSignal) -> None:
    """Appends everything. The audit has how many lines had which outcome, also if it ends early."""
    try:
        async with shop.audit.action("ingest", ", ".join(files)) as action:
            await intake.run(files)
            action.details["lines"] = intake.lines
            for outcome, number in intake.counts.items():
                action.count(outcome, number)
            if stop:
                action.details["complete"] = False
            if intake.error is not None:
                raise intake.error
    except PagefoldError as error:
        intake.error = error


@contextmanager
def _opened(rejects: Path | None) -> Iterator[BinaryIO | None]:
    if rejects is None:
        yield None
        return
    try:
        file = rejects.open("wb")
    except OSError as error:
        raise UsageError("--rejects", f"cannot write {rejects}: {error.strerror}") from error
    with file:
        yield file


def _report(intake: IngestJob, seconds: float, *, complete: bool, as_json: bool) -> None:
    counts = {outcome: intake.counts[outcome] for outcome in OUTCOMES}
    if as_json:
        error = None if intake.error is None else str(intake.error)
        write_json({"lines": intake.lines} | counts | {"seconds": seconds, "complete": complete, "error": error})
        return
    if not counts["echo"]:  # most shops have no source that is a target
        del counts["echo"]
    print_message(pace(intake.lines, "line", seconds, complete=complete))
    show_table(("outcome", "lines"), [(name, f"{number:,}") for name, number in counts.items()], numbers=("lines",))
