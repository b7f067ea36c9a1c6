"""`pagefold fetches`: the records that are to be fetched because a notification has only their id."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import (
    duration,
    print_error,
    print_message,
    printable,
    show_table,
    write_json,
)
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, unknown_source
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.work import fetch_worker
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.fetch_records import WantedFetch

fetches = App(
    name="fetches",
    help="""\
Show and make the fetches that notifications have asked for: `[[sources.X.webhook.fetch]]`.

One of the processes of `pagefold work` and `pagefold serve --work` makes them. One that fails is tried again; after
seven tries its notification is a dead letter, which `pagefold dead-letters retry` fetches again.
""",
    help_epilogue="",
)


@fetches.default
@fetches.command(name="list")
def list_fetches(
    *,
    source: str | None = None,
    limit: int = 100,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List what is to be fetched, the oldest first: since when, how often it was tried, and why it failed.

    Exit code 1 if something failed.

    Parameters
    ----------
    source
        Only fetches of this source.
    limit
        List at most this many.
    as_json
        Print one JSON object a line: source, rule, address, since, due, asked, tries, error.
    """
    return run(lambda: _list(source, limit, options, as_json=as_json))


async def _list(source: str | None, limit: int, options: Options, *, as_json: bool) -> int:
    config = options.load()
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    if source is not None and source not in config.sources:
        raise UsageError("--source", unknown_source(source, config))
    async with pagefold.open(config, create=False) as shop:
        found = await shop.store.fetches.oldest(limit, source)
        total = sum(each.wanted for each in await shop.store.fetches.counts() if source in (None, each.source))
    if as_json:
        for each in found:
            write_json({name: getattr(each, name) for name in _SHOWN})
    elif found:
        show_table(("source", "address", "since", "tries", "error"), map(_row, found), wrapped={"address", "error"})
        if total > len(found):
            print_message(f"{total - len(found):,} more; --limit shows them")
    else:
        print_message("nothing is to be fetched")
    return Exit.REFUSED if any(each.error is not None for each in found) else Exit.DONE


_SHOWN = ("source", "rule", "address", "since", "due", "asked", "tries", "error")


def _row(fetch: WantedFetch) -> list[str | Text]:
    since = f"{duration(seconds_since(fetch.since))} ago"
    error = Text(printable(fetch.error or ""), style="red")
    return [fetch.source, printable(fetch.address), since, str(fetch.tries), error]


@fetches.command(name="run")
def run_fetches(
    *,
    as_json: Annotated[bool, Parameter(name="--json", show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Fetch everything that is due now, each once. Exit code 1 if something failed.

    Parameters
    ----------
    as_json
        Print one JSON object: fetched, missing, failed, dead.
    """
    return run(lambda: _run(options, as_json=as_json))


async def _run(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            try:
                async with shop.audit.action("fetches run") as action:
                    report = await fetch_worker(shop).run_due()
                    if report is None:
                        action.refuse("another process makes the fetches")
                    else:
                        action.details |= msgspec.to_builtins(report)
            except StoreError as error:
                print_error(str(error))
                return Exit.FAILED
            if report is None:
                print_error("another process makes the fetches")
                return Exit.REFUSED
            numbers = msgspec.to_builtins(report)
            if as_json:
                write_json(numbers)
            else:
                print_message(", ".join(f"{number:,} {name}" for name, number in numbers.items()))
            return Exit.REFUSED if report.failed or report.dead else Exit.DONE
    return stop.exit_code
