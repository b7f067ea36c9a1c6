"""`pagefold rebuilds`: lists and shows the recorded runs."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import (
    JSONList,
    count,
    duration,
    print_error,
    print_message,
    printable,
    show_table,
    write_json,
    write_pieces,
)
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason, UsageError
from pagefold.engine.command.run_report import (
    MAX_SHOWN_ORPHANS,
    STATE_STYLES,
    UNLIMITED,
    list_drift,
    next_step,
    run_document,
    run_facts,
    run_lines,
    run_pieces,
    timestamp_text,
)
from pagefold.engine.command.verify import print_lines
from pagefold.engine.errors import UnknownRun
from pagefold.engine.runtime.event_loop import run

if TYPE_CHECKING:
    from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.rebuild.run_orphans import first_orphans

rebuilds = App(
    name="rebuilds",
    help="""\
List and show the runs of `pagefold rebuild`, and decide about those that are held.

A run is *running*; *interrupted*, if its process is gone; *held*, if what it would withdraw or remove needs a
decision; *approved*, until a worker resumes it; *refused*; *completed*; or *failed*. Any other than a completed or
refused one can be resumed: `pagefold rebuild --resume RUN`.
""",
    help_epilogue="",
)


@rebuilds.command(name="list")
def list_runs(
    *,
    source: Annotated[str | None, Parameter(metavar="SOURCE")] = None,
    limit: int = 20,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the runs, newest first.

    Drifted: streams whose head differed from the snapshot. Orphans: streams that the snapshot does not have. Withdrawn:
    orphans that the run has withdrawn.

    Parameters
    ----------
    source
        Only runs of this source.
    limit
        List at most this many, the newest.
    as_json
        Print one JSON object a line: a run, as `pagefold rebuild --json` has it, without the list of drifted streams.
    """
    return run(lambda: _list(source, limit, options, as_json=as_json))


async def _list(source: str | None, limit: int, options: Options, *, as_json: bool) -> int:
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    async with pagefold.open(options.load(), create=False) as shop, shop.rebuilds() as service:
        found = await service.newest(limit + 1, source)
    shown = found[:limit]
    if as_json:
        for report in shown:
            write_json(run_document(report))
        return Exit.DONE
    numbers = ("rows", "drifted", "withdrawn", "orphans")
    if shown:
        show_table(("run", "state", "started", "lasted", *numbers), map(_row, shown), numbers=("lasted", *numbers))
    if len(found) > limit:
        print_message("… and older runs; --limit shows more")
    elif not found:
        print_message("no rebuilds yet" + ("" if source is None else f" of {printable(source)}"))
    return Exit.DONE


def _row(report: "RunReport") -> list[str | Text]:
    counts = report.counts
    numbers = (counts.rows, report.drifted, counts.withdrawn, counts.orphans)
    state = Text(report.state, style=STATE_STYLES[report.state])
    began, lasted = timestamp_text(report.started_at), duration(report.lasted)
    return [report.run or "", state, began, lasted, *(f"{number:,}" for number in numbers)]


@rebuilds.command
def show(
    identifier: Annotated[str, Parameter(name="RUN")],
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a run: its state, its counts, and samples of drifted streams, field by field.

    The first value of a field is the log's, the second the snapshot's. Exit code 1 if the run is unknown.

    Parameters
    ----------
    identifier
        Such as `erp-20261123T020000-7f3a`; `pagefold rebuilds list` shows them.
    as_json
        Print one JSON document: a run, as `pagefold rebuild --json` has it, with every drifted stream.
    """
    return run(lambda: _show(identifier, options, as_json=as_json))


async def _show(identifier: str, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop, shop.rebuilds() as service:
        try:
            report = await service.report(identifier)
        except UnknownRun as error:
            print_error(str(error))
            return Exit.REFUSED
        if as_json:
            with JSONList() as drift:
                await list_drift(service, report, drift)
                write_pieces(run_pieces(report, drift))
            return Exit.DONE
        orphans = await first_orphans(service, report, MAX_SHOWN_ORPHANS)
    print_lines(*run_lines(report, count(report.counts.rows, "row"), orphans, shown=UNLIMITED), *run_facts(report))
    if (hint := next_step(report)) is not None:
        print_message(hint)
    return Exit.DONE


RunId = Annotated[str, Parameter(name="RUN")]


@rebuilds.command
def approve(
    identifier: RunId,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    expect: Annotated[int | None, Parameter(metavar="N")] = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Approve what a held run would withdraw or remove. A worker resumes it within ten seconds.

    Without a worker, `pagefold rebuild --resume RUN` does. Exit code 1 if the run is unknown or not held, or if it
    would remove another number than --expect.

    Parameters
    ----------
    expect
        How many streams it would withdraw, or take values from. Any number unless given.
    """
    return run(lambda: _approve(identifier, operator or login_name(), reason, expect, options))


async def _approve(run_id: str, by: str, reason: str, expect: int | None, options: Options) -> int:
    async with pagefold.open(options.load(), create=False) as shop, shop.rebuilds() as service:
        report = await service.approve(run_id, by=by, reason=reason, expected=expect)
    print_message(f"{run_id} is approved: a worker resumes it, and {_removals(report)}")
    return Exit.DONE


@rebuilds.command
def refuse(
    identifier: RunId,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Refuse what a held run would withdraw or remove. It ends; the next run reads the snapshot again.

    What it has repaired stays. Exit code 1 if the run is unknown or not held.
    """
    return run(lambda: _refuse(identifier, operator or login_name(), reason, options))


async def _refuse(run_id: str, by: str, reason: str, options: Options) -> int:
    async with pagefold.open(options.load(), create=False) as shop, shop.rebuilds() as service:
        await service.refuse(run_id, by=by, reason=reason)
    print_message(f"{run_id} is refused: nothing is withdrawn or removed")
    return Exit.DONE


def _removals(report: "RunReport") -> str:
    return f"{count(report.removals, 'stream')} of {printable(report.source)} will be withdrawn or lose values"
