"""`pagefold targets` and `pagefold receipts`: systems that pages are delivered to, and what they hold."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import App, Parameter

import pagefold
from pagefold.domains.values import format_timestamp
from pagefold.engine.command.console import (
    count,
    duration,
    percent,
    print_message,
    printable,
    show_table,
    write_bytes,
)
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason, UsageError
from pagefold.engine.delivery.receipts import Receipt
from pagefold.engine.delivery.target_service import ChannelHoldings, TargetStatus
from pagefold.engine.delivery.target_verifier import TargetVerification
from pagefold.engine.reading.moments import parse_time
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop

COLUMNS = ("target", "kind", "state", "waiting", "oldest", "dead", "drift", "last success")
NUMBERS = ("waiting", "dead", "drift")
HOLDINGS = ("channel", "current", "behind", "not held", "held too much", "drift")
RECEIPTS = ("target", "channel", "state", "acknowledged", "tag", "tries", "answer")

DEFAULT_SAMPLE = 200

Name = Annotated[str, Parameter(name="NAME")]
Task: TypeAlias = Callable[[Shop, str], Awaitable[int]]

targets = App(
    name="targets",
    help="""\
Systems that pages are delivered to: how each is doing, and what it holds.

`pagefold work` and `pagefold serve --work` deliver. A target holds one state of each page: ten changes during an outage
are one delivery, and catching up is all that is needed after one. A target that does not answer is probed; nothing is
given up for that. A page that it refuses is a dead letter after some tries.
""",
    help_epilogue="""\
**Examples**

```text
pagefold targets list
pagefold targets show search
pagefold targets pause search --reason "their maintenance"
pagefold targets resume search --reason "they are done"
pagefold targets verify search              # receipts against pages, and a sample read back
pagefold targets deliver search --all --reason "it was emptied"
pagefold targets deliver search --sku TSHIRT-M --reason "a picture was lost"
pagefold receipts TSHIRT-M                  # what each target has acknowledged
```
""",
)


@targets.command(name="list", help_epilogue="")
def list_targets(*, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """List all targets: how they are doing, what waits, and what they do not hold as it is. Exit code 1 if one is down.

    Parameters
    ----------
    as_json
        Print one JSON object a line: name, kind, state, reason, since, by, pages, waiting, waitsSeconds, dead,
        resetting, probeSeconds, pace, heldOffSeconds, lastSuccessAt, failingSince, channels (channel, current, behind,
        missing, surplus), totals.
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            found = await shop.targets.list()
        if as_json:
            for each in found:
                write_bytes(msgspec.json.encode(each))
        elif found:
            show_table(COLUMNS, map(_row, found), numbers=NUMBERS)
        else:
            print_message("there are no targets; a table [targets.NAME] in the configuration makes one")
        return Exit.REFUSED if any(each.is_out_of_order for each in found) else Exit.DONE

    return run(do)


def _row(status: TargetStatus) -> list[str]:
    oldest = "-" if status.waits_seconds is None else duration(status.waits_seconds)
    success = "-" if status.last_success_at is None else _second(status.last_success_at)
    drift = percent(status.drift) if status.channels else "-"
    figures = f"{status.waiting:,}", oldest, f"{status.dead:,}", drift
    return [printable(status.name), status.kind or "-", status.state, *figures, success]


def _second(moment: str) -> str:
    return f"{moment[:19].replace('T', ' ')} UTC"


@targets.command(help_epilogue="")
def show(name: Name, /, *, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """Show one target: why it is down, what it holds of each channel, and what was counted. Exit code 1 if it is down.

    Parameters
    ----------
    name
        Its name in the configuration.
    as_json
        Print one JSON object, as `list` does.
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            found = await shop.targets.get(name)
        if as_json:
            write_bytes(msgspec.json.encode(found))
        else:
            _show(found)
        return Exit.REFUSED if found.is_out_of_order else Exit.DONE

    return run(do)


def _show(status: TargetStatus) -> None:
    since = "" if status.since is None else f" since {_second(status.since)}"
    by = "" if status.by is None else f" by {printable(status.by)}"
    reason = f": {printable(status.reason)}" if status.reason else ""
    print(f"{printable(status.name)}  {status.kind or 'not in the configuration'}, {status.state}{since}{by}{reason}")
    oldest = "" if status.waits_seconds is None else f", the oldest for {duration(status.waits_seconds)}"
    print(f"waiting: {count(status.waiting, 'page')}{oldest}; dead: {count(status.dead, 'page')}")
    if status.channels:
        show_table(HOLDINGS, map(_holdings, status.channels), numbers=HOLDINGS[1:])
    if status.totals:
        print(", ".join(f"{number:,} {what}" for what, number in sorted(status.totals.items()) if number))


def _holdings(channel: ChannelHoldings) -> list[str]:
    figures = (channel.current, channel.behind, channel.missing, channel.surplus)
    return [printable(channel.channel), *(f"{number:,}" for number in figures), percent(channel.drift)]


@targets.command(help_epilogue="")
def pause(
    name: Name,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Send nothing to a target until it is resumed. What changes meanwhile waits.

    Parameters
    ----------
    name
        Its name in the configuration.
    """

    async def do(shop: Shop, by: str) -> int:
        await shop.targets.pause(name, by=by, reason=reason)
        print(f"{printable(name)}  is paused")
        return Exit.DONE

    return _run(options, operator, do)


@targets.command(help_epilogue="")
def resume(
    name: Name,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Deliver to a target again that is paused, disabled or down: at once, without waiting for the next probe.

    Exit code 1 if it is none of these.

    Parameters
    ----------
    name
        Its name in the configuration.
    """

    async def do(shop: Shop, by: str) -> int:
        await shop.targets.resume(name, by=by, reason=reason)
        print(f"{printable(name)}  is delivered to")
        return Exit.DONE

    return _run(options, operator, do)


@targets.command(help_epilogue="")
def deliver(  # noqa: PLR0913  # a command has that many options
    name: Name,
    /,
    *,
    reason: Reason,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    since: Annotated[str | None, Parameter(name="--since", metavar="TIME")] = None,
    sku: Annotated[Sequence[str], Parameter(name="--sku", metavar="SKU", negative="")] = (),
    expect: Annotated[int | None, Parameter(name="--expect", metavar="NUMBER")] = None,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Deliver pages again, whatever their receipts say. A worker does it; `targets show` says how far it is.

    Parameters
    ----------
    name
        Its name in the configuration.
    everything
        Every page: the target was emptied, or replaced.
    since
        Every page that was acknowledged since then, such as 2027-01-31T12:00Z: the target was set back to that time.
    sku
        The pages of this SKU; repeat it for several.
    expect
        With --all or --since: the number of pages that the target has, as `targets show --json` says; nothing is done
        if it is another one.
    """
    if sum([everything, since is not None, bool(sku)]) != 1:
        raise UsageError("--all", "give --all, --since or --sku, and only one of them")
    if sku and expect is not None:
        raise UsageError("--expect", "is for --all and --since")
    moment = None if since is None else _moment(since)

    async def do(shop: Shop, by: str) -> int:
        if sku:
            pages = (await shop.targets.deliver_skus(name, sku, by=by, reason=reason)).pages
            print(f"{printable(name)}  {count(pages or 0, 'page')} will be delivered again")
            return Exit.DONE if pages else Exit.REFUSED
        await shop.targets.deliver_all(name, by=by, reason=reason, since=moment, expected=expect)
        what = "every page" if moment is None else f"every page acknowledged since {_second(moment)}"
        print(f"{printable(name)}  {what} will be delivered again")
        return Exit.DONE

    return _run(options, operator, do)


def _moment(text: str) -> str:
    try:
        return format_timestamp(parse_time(text))
    except ValueError as error:
        raise UsageError("--since", str(error)) from None


@targets.command(help_epilogue="")
def verify(
    name: Name,
    /,
    *,
    sample: Annotated[int, Parameter(name="--sample")] = DEFAULT_SAMPLE,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Compare receipts with pages, and, where the target can be read, some pages with what it holds.

    What differs is delivered again by a worker. Exit code 1 if something did.

    Parameters
    ----------
    name
        Its name in the configuration.
    sample
        How many pages are read back, chosen at random; 0 reads none.
    as_json
        Print one JSON object: pages, current, unmarked, read, differing, samples (sku, channel, what).
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            found = await shop.targets.verify(name, sample)
        if as_json:
            write_bytes(msgspec.json.encode(found))
        else:
            _show_verification(found)
        return Exit.REFUSED if found.unmarked or found.differing else Exit.DONE

    return run(do)


def _show_verification(found: TargetVerification) -> None:
    print(f"receipts: {found.current:,} of {count(found.pages, 'page')} current, drift {percent(found.drift)}")
    if found.unmarked:
        print(f"{count(found.unmarked, 'page')} had not been noted: they will be delivered")
    if found.read is None:
        print_message("the target cannot be read: only receipts were compared")
        return
    print(f"read back: {count(found.read, 'page')}, {found.differing:,} not as acknowledged")
    for each in found.samples:
        print(f"  {printable(each.sku)} {printable(each.channel)}  {each.what}")
    if found.differing:
        print_message("what differs will be delivered again; if many pages do, deliver all: --all")


def receipts(
    sku: Annotated[str, Parameter(name="SKU")],
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what each target has acknowledged of the pages of a SKU. Exit code 1 if there is nothing.

    Parameters
    ----------
    sku
        The SKU.
    as_json
        Print one JSON object a line: target, sku, channel, state, holding, wantedTag, wantedPosition, ackedTag,
        ackedPosition, ackedAt, attempts, since, dueAt, answer, isEdited.
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            rows = await shop.targets.receipts(sku)
        if as_json:
            for row in rows:
                write_bytes(msgspec.json.encode(row))
        elif rows:
            show_table(RECEIPTS, map(_receipt, rows), wrapped=("answer",))
        else:
            print_message("no target has anything of this SKU")
        return Exit.DONE if rows else Exit.REFUSED

    return run(do)


def _receipt(row: Receipt) -> list[str]:
    at = "-" if row.acked_at is None else _second(row.acked_at)
    tag = {None: "never sent", "?": "not known", "": "withdrawn"}.get(row.acked_tag, row.acked_tag or "")
    return [row.target, printable(row.channel), row.state, at, tag, str(row.attempts), printable(row.answer)]


def _run(options: Options, operator: str | None, task: Task) -> int:
    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            return await task(shop, operator or login_name())

    return run(do)
