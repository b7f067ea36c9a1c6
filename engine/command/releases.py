"""`pagefold releases`: statements that are prepared, seen before, and count all at once."""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import App, Parameter

import pagefold
from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.command.console import (
    count,
    print_error,
    print_message,
    printable,
    show_table,
    write_bytes,
    write_json,
)
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import (
    AsJSON,
    Exit,
    Injected,
    Options,
    Processes,
    Reason,
    UsageError,
    check_has_pages,
)
from pagefold.engine.command.page_differences import comparison_meter, show_counts, show_samples
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import section_count
from pagefold.engine.intake.operators import check_reason
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.reading.moments import parse_time
from pagefold.engine.releases.release_log import Release
from pagefold.engine.releases.release_service import ReleaseContent, ReleaseStatus
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop

COLUMNS = ("name", "state", "rank", "publish at", "roll back at", "by", "purpose")

Name = Annotated[str, Parameter(name="NAME")]
Task: TypeAlias = Callable[[Shop, str], Awaitable[int]]

releases = App(
    name="releases",
    help="""\
Prepare what pages will say, and let it count all at once.

The statements of a release are events of the source `release/NAME`, appended as any others: texts, prices and pictures,
not stock. They count nowhere until the release is published, and then above those of every source. `show` and `diff`
show its pages before that. A release that is rolled back leaves no trace: pages are as they would be without it.
""",
    help_epilogue="""\
**Examples**

```text
pagefold releases create summer --reason "the summer sale"
pagefold ingest summer.ndjson           # events of the source release/summer
pagefold releases diff summer           # what would change
pagefold releases show summer TSHIRT-M web-de
pagefold releases publish summer --reason "approved by Ada"
pagefold releases schedule summer 2027-06-01T00:00+02:00 \\
    --until 2027-07-01T00:00+02:00 --reason "the summer sale"
pagefold releases rollback summer --reason "wrong prices"
```
""",
)


@releases.command(name="list", help_epilogue="")
def list_releases(*, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """List all releases: whether they are drafts, scheduled or published, by whom, and what for.

    Parameters
    ----------
    as_json
        Print one JSON object a line: state, rank (of published ones; 1 is on top), release (name, createdAt, createdBy,
        purpose, publishAt, rollBackAt, scheduledBy, scheduledFor).
    """
    return run(lambda: _list(options, as_json=as_json))


async def _list(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.releases.all()
    if as_json:
        for each in found:
            write_bytes(msgspec.json.encode(each))
    elif found:
        show_table(COLUMNS, map(_row, found))
    else:
        print_message("there are no releases; `pagefold releases create` makes one")
    return Exit.DONE


def _row(status: ReleaseStatus) -> list[str]:
    release = status.release
    times = [_minute(each) for each in (release.publish_at, release.roll_back_at)]
    rank = "-" if status.rank is None else str(status.rank)
    people = printable(release.created_by), printable(release.purpose)
    return [printable(release.name), status.state, rank, *times, *people]


def _minute(moment: str | None) -> str:
    return "-" if moment is None else f"{moment[:16].replace('T', ' ')} UTC"


@releases.command(help_epilogue="")
def create(
    name: Name,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Create a release. Running servers accept its events within a second or two.

    Parameters
    ----------
    name
        Its name: letters, digits, `.`, `_` and `-`. Its events have the source `release/NAME`.
    as_json
        Print one JSON object: name, createdAt, createdBy, purpose.
    """

    async def do(shop: Shop, by: str) -> int:
        release = await shop.releases.create(name, by=by, reason=reason)
        if as_json:
            write_bytes(msgspec.json.encode(release))
        else:
            print_message(f"events of the source release/{name} are accepted, and count when it is published")
        return Exit.DONE

    return _run(options, operator, do)


@releases.command(help_epilogue="")
def show(
    name: Name,
    sku: Annotated[str | None, Parameter(name="SKU")] = None,
    channel: Annotated[str | None, Parameter(name="CHANNEL")] = None,
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a release and what it states; with SKU and CHANNEL, the page as it is with the release.

    Parameters
    ----------
    sku
        The product of the page to show.
    channel
        The channel of the page to show.
    as_json
        Print one JSON object: state, rank (1 is on top), release, skus, statements by domain. A page is always JSON.
    """
    if (sku is None) != (channel is None):
        raise UsageError("CHANNEL", "a page needs SKU and CHANNEL")
    if sku is not None and channel is not None:
        return run(lambda: _show_page(options, name, sku, channel))
    return run(lambda: _show(options, name, as_json=as_json))


async def _show(options: Options, name: str, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        status = await shop.releases.get(name)
        content = await shop.releases.content(name)
    if as_json:
        write_json(msgspec.to_builtins(status) | msgspec.to_builtins(content))
    else:
        show_table(COLUMNS, [_row(status)])
        print_message(_content_text(content))
    return Exit.DONE


def _content_text(content: ReleaseContent) -> str:
    domains = ", ".join(f"{number:,} {domain}" for domain, number in content.statements.items())
    return f"statements about {count(content.skus, 'SKU')}: {domains}" if domains else "it states nothing yet"


async def _show_page(options: Options, name: str, sku: str, channel: str) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        check_has_pages(channel, shop.applied)
        config = await shop.releases.config_with(name)
        end = await shop.store.log.end()
        page = await shop.past.get_json(sku, channel, end, under=config)
        is_there = page is not None or await shop.past.get_json(sku, channel, end, under=config, disabled=True)
    if page is None:
        name = f"{printable(sku)} in {printable(channel)}"
        print_message(f"with the release, {f'the page of {name} is disabled' if is_there else f'{name} has no page'}")
        return Exit.REFUSED
    write_bytes(page)
    return Exit.DONE


@releases.command(help_epilogue="")
def diff(
    name: Name,
    /,
    *,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what would change if a release were published; if it is, what would if it were rolled back.

    Folds every page from the log with the release and without, as `pagefold plan` does.

    Parameters
    ----------
    processes
        How many processes fold, as for `pagefold plan`.
    as_json
        Print one JSON document, as `pagefold plan --json` does.
    """
    return run(lambda: _diff(options, name, processes, as_json=as_json))


async def _diff(options: Options, name: str, processes: int | None, *, as_json: bool) -> int:
    started = time.monotonic()
    found: SavedPlan | None = None
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            found = await _planned(shop, name, processes)
    if found is None:
        return stop.exit_code
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(found) | {"excess": found.plan.excess, "seconds": seconds})
    else:
        _show_plan(found, seconds)
    return Exit.DONE


async def _planned(shop: Shop, name: str, processes: int | None) -> SavedPlan:
    with comparison_meter("comparing", await section_count(shop, None), "differ") as advance:
        return await shop.releases.plan(name, on_planned=advance, processes=processes)


def _show_plan(found: SavedPlan, seconds: float) -> None:
    show_counts(found.plan, seconds, "change", "nothing changes")
    show_samples(found.plan)


@releases.command(help_epilogue="")
def publish(  # noqa: PLR0913  # each is an option
    name: Name,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Let a release count from now on, above every source and every release that was published before.

    Looks before at what would change. If more live pages lose something than a start would apply by itself, it changes
    nothing and exits 1, unless --yes is given.

    Parameters
    ----------
    yes
        Publish it, whatever it takes away, and without looking.
    processes
        How many processes fold, as for `pagefold plan`.
    as_json
        Print one JSON object: number, position, by, reason, recordedAt.
    """
    check_reason(reason)

    async def do(shop: Shop, by: str) -> int:
        started = time.monotonic()
        is_new = (await shop.releases.get(name)).state != "published"
        if is_new and not yes and (found := await _planned(shop, name, processes)).plan.excess:
            _show_plan(found, time.monotonic() - started)
            print_error("too many live pages lose something: nothing was changed; --yes publishes it all the same")
            return Exit.REFUSED
        applied = await shop.releases.publish(name, by=by, reason=reason)
        return _report(applied, f"{name} counts from now on", as_json=as_json)

    return _run(options, operator, do)


@releases.command(help_epilogue="")
def rollback(
    name: Name,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Let a published release count no longer. Pages are as if it had never been published; its schedule ends.

    Parameters
    ----------
    as_json
        Print one JSON object: number, position, by, reason, recordedAt.
    """

    async def do(shop: Shop, by: str) -> int:
        applied = await shop.releases.roll_back(name, by=by, reason=reason)
        return _report(applied, f"{name} counts no longer", as_json=as_json)

    return _run(options, operator, do)


@releases.command(help_epilogue="")
def schedule(  # noqa: PLR0913  # each is an option
    name: Name,
    at: Annotated[str | None, Parameter(name="TIME")] = None,
    /,
    *,
    until: Annotated[str | None, Parameter(name="--until", metavar="TIME")] = None,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Publish a release at a time, and roll it back at another. A worker does it within a second or two.

    The schedule replaces an earlier one; without any time, the release has none from now on.

    Parameters
    ----------
    at
        When it is published, with its offset: `2027-06-01T00:00+02:00`, or `2027-05-31T22:00Z`.
    until
        When it is rolled back.
    as_json
        Print one JSON object: the release, as `list` does.
    """
    times = [None if each is None else _moment(option, each) for option, each in (("TIME", at), ("--until", until))]

    async def do(shop: Shop, by: str) -> int:
        release = await shop.releases.schedule(name, times[0], times[1], by=by, reason=reason)
        if as_json:
            write_bytes(msgspec.json.encode(release))
        else:
            print_message(_schedule_text(release))
        return Exit.DONE

    return _run(options, operator, do)


def _schedule_text(release: Release) -> str:
    """When a release is to be published and rolled back."""
    steps = (("published", release.publish_at), ("rolled back", release.roll_back_at))
    planned = [f"{step} at {moment[:19].replace('T', ' ')} UTC" for step, moment in steps if moment is not None]
    return f"{release.name} is {', and '.join(planned)}" if planned else f"{release.name} has no schedule"


def _moment(option: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(option, f"{text!r:.60} is no time with its offset, such as 2027-06-01T00:00+02:00") from None


def _run(options: Options, operator: str | None, do: Task) -> int:
    """Does something in the shop, in the name of a person."""
    name = operator or login_name()

    async def run_in_shop() -> int:
        async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
            with stop.scope:
                return await do(shop, name)
        return stop.exit_code

    return run(run_in_shop)


def _report(applied: Applied, what: str, *, as_json: bool) -> int:
    if as_json:
        write_json(applied.summary)
    else:
        print_message(f"{what}, with configuration {applied.number}; pages follow as soon as workers have folded them")
    return Exit.DONE
