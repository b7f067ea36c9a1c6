"""`pagefold get` and `pagefold history`: one page, and who said what about it."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import msgspec
import orjson
from cyclopts import Parameter
from rich import json as rich_json
from rich.text import Text

import pagefold
from pagefold.domains.domain import JSON
from pagefold.engine.command.console import print_message, printable, results, shortened, write_bytes
from pagefold.engine.command.options import AsJSON, DomainName, Exit, Injected, Options, UsageError
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.event_state import DriftKind
from pagefold.projections.field_changes import FieldChange
from pagefold.projections.streams import EVERY_CHANNEL, normalise_sku, sku_error

WIDEST_VALUE = 60
"""Characters of a value that a terminal or a log should show."""


_WHY: dict[DriftKind, str] = {
    "missing": "the log did not have it",
    "newer": "the log had an older version",
    "changed": "the source's snapshot has another content at this version",
    "orphan": "the source's snapshot does not have it any more",
    "recreated": "withdrawn before, it is in the source's snapshot again: made again, in an epoch of its own",
}


def get(
    sku: str,
    channel: str,
    /,
    *,
    disabled: Annotated[bool, Parameter(show_default=False)] = False,
    pretty: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Print one page: the very bytes that a storefront reads.

    Exit code 1 when there is none, or none to show.

    Parameters
    ----------
    sku
        The product.
    channel
        The storefront or marketplace.
    disabled
        Print a disabled page too, which storefronts do not see.
    pretty
        Print it indented, for people.
    """
    return run(lambda: _get(sku, channel, options, disabled=disabled, pretty=pretty))


async def _get(sku: str, channel: str, options: Options, *, disabled: bool, pretty: bool) -> int:
    config = options.load()
    if channel not in config.channels:
        raise UsageError("CHANNEL", f"{channel!r} is none; there are {', '.join(config.channels)}")
    async with pagefold.open(config, create=False) as shop:
        page = await shop.pages.get_json(sku, channel, disabled=disabled)
        if page is None:
            print_message(await _why_none(shop, sku, channel))
            return Exit.REFUSED
    if pretty:
        _print_indented(page)
    else:
        write_bytes(page)
    return Exit.DONE


def _print_indented(page: bytes) -> None:
    text = orjson.dumps(orjson.loads(page), option=orjson.OPT_INDENT_2)
    if results().is_terminal:
        results().print(rich_json.JSON(text.decode()), soft_wrap=True)
    else:
        write_bytes(text)


async def _why_none(shop: Shop, sku: str, channel: str) -> str:
    """Why there is no page, and what to do."""
    name = printable(sku)
    if (fault := sku_error(normalise_sku(sku))) is not None:
        return f"{name!r} is no SKU: {fault}"
    if await shop.pages.get_json(sku, channel, disabled=True) is not None:
        return f"the page of {name} in {channel} is disabled; --disabled prints it all the same"
    async for entry in shop.history(sku):
        if entry.channel in (channel, EVERY_CHANNEL):
            return f"{name} has no page in {channel}; the log has events for it: `pagefold work --once` folds them"
    return f"{name} has no page in {channel}, and no source has said anything about it there"


def history(
    sku: str,
    /,
    *,
    channel: str | None = None,
    domain: DomainName | None = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what each source said about a product, when, and what it changed.

    By stream (domain, channel, source), the oldest version first. Exit code 1 when there is nothing.

    Parameters
    ----------
    sku
        The product.
    channel
        Only what was said for this channel; '*' is what was said for every channel.
    domain
        Only this domain.
    as_json
        Print one JSON object a line: position, domain, channel, source, version, revision, id, occurredAt, recordedAt,
        withdrawn, head, changes (path, before, after; a side that had no such field is null), and, of an event that a
        rebuild made, runId and drift (missing, newer, changed or orphan); of one by which an operator corrected a dead
        letter, operator and corrects.
    """
    return run(lambda: _history(sku, channel, domain, options, as_json=as_json))


async def _history(sku: str, channel: str | None, domain: str | None, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        entries = shop.history(sku, channel=channel, domain=domain)
        found = await (_write_lines(entries) if as_json else _show_streams(entries))
    if not found:
        limits = "".join(f" in {limit}" for limit in (channel, domain) if limit is not None)
        print_message(f"no source has said anything about {printable(sku)}{limits}")
        return Exit.REFUSED
    return Exit.DONE


async def _write_lines(entries: AsyncIterator[HistoryEntry]) -> int:
    number = 0
    async for entry in entries:
        write_bytes(msgspec.json.encode(entry))
        number += 1
    return number


async def _show_streams(entries: AsyncIterator[HistoryEntry]) -> int:
    number = 0
    stream: tuple[str, str, str] | None = None
    async for entry in entries:
        if stream != (entry.domain, entry.channel, entry.source):
            if stream is not None:
                results().print()
            stream = (entry.domain, entry.channel, entry.source)
            results().print(_title(entry), soft_wrap=True)
        for line in _entry(entry):
            results().print(line, soft_wrap=True)
        number += 1
    return number


def _title(entry: HistoryEntry) -> Text:
    channel = "every channel" if entry.channel == EVERY_CHANNEL else entry.channel
    return Text.assemble((entry.domain, "bold cyan"), "  ", (channel, "bold"), "  said by ", (entry.source, "bold"))


def _entry(entry: HistoryEntry) -> Iterator[Text]:
    version = f"{entry.version}" + (f" of epoch {entry.epoch}" if entry.epoch else "")
    version += f" (revision {entry.revision})" if entry.revision else ""
    when = entry.occurred_at.replace("T", " ").replace(".000000", "")
    yield Text.assemble(
        "  version ",
        (version, "bold"),
        f"  {when}  ",
        (f"position {entry.position}", "dim"),
        ("  head" if entry.head else "", "green"),
        ("  withdrawn" if entry.withdrawn else "", "red"),
    )
    if entry.drift is not None:
        yield Text(f"    by rebuild {entry.run_id}: {_WHY[entry.drift]}", style="magenta")
    if entry.corrects is not None:
        yield Text(f"    by {printable(entry.operator or '')}: corrects dead letter {entry.corrects}", style="magenta")
    if not entry.withdrawn:
        yield from map(change_line, entry.changes)
        if not entry.changes:
            yield Text("    nothing changed", style="dim")


def change_line(change: FieldChange) -> Text:
    """A field that has come, gone, or become another."""
    before, after = value(change.before), value(change.after)
    path = printable(change.path)
    if change.before is None:
        return Text.assemble(("    + ", "green"), f"{path}: ", (after, "green"))
    if change.after is None:
        return Text.assemble(("    - ", "red"), f"{path}: ", (before, "red"))
    return Text.assemble(("    ~ ", "yellow"), f"{path}: ", (before, "red"), " → ", (after, "green"))


def value(of: JSON) -> str:
    """A value as people read it: JSON, not too long."""
    return shortened(printable(orjson.dumps(of).decode()), WIDEST_VALUE)
