"""`pagefold completeness`: what the pages of a channel lack."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import count, print_message, printable, show_table, write_bytes
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, check_has_pages
from pagefold.engine.configuration.config import Config
from pagefold.engine.reading.completeness import CompletenessReport, FamilyCompleteness, LackingAttribute, is_measured
from pagefold.engine.reading.page_selection import PageSelection
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop

MAX_SHOWN = 50
"""Rows of each table."""


FAMILY_COLUMNS = ("family", "pages", "complete", "blocked", "filled")
ATTRIBUTE_COLUMNS = ("attribute", "missing", "invalid", "unmapped", "blocks", "unblocks", "completes")


class LackingPage(msgspec.Struct, frozen=True):
    """A page that lacks an attribute."""

    sku: str
    family: str | None
    percent: int


def completeness(  # noqa: PLR0913  # the command's options
    channel: str,
    /,
    *,
    lacking: Annotated[str | None, Parameter(metavar="ATTRIBUTE")] = None,
    family: str | None = None,
    category: str | None = None,
    attribute: Annotated[str | None, Parameter(metavar="NAME[=VALUE]")] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Count what the pages of a channel lack, by family and attribute, and what to fill first.

    That is what its requirements ask for, and values that its contract cannot map.

    Pages that are hidden because something is missing are counted, those that a source disables are not. Exit code 1 if
    any page lacks something that blocks.

    Parameters
    ----------
    channel
        The storefront or marketplace.
    lacking
        Print the SKUs that lack this attribute, one a line, instead.
    family
        Only pages of this family, or of a family below it.
    category
        Only pages of this category, or of one below it: 'Clothing' has 'Clothing > Shirts'.
    attribute
        Only pages that show a value of this attribute, or this value, such as 'season=summer'.
    as_json
        Print one JSON object: channel, contract, requirements, pages, complete, blocked, unmeasured, percent, families,
        attributes, selection. With --lacking, one per SKU and line: sku, family, percent.
    """
    selection = PageSelection(family, category, attribute)
    if (problem := selection.problem) is not None:
        raise UsageError(f"--{problem[0]}", problem[1])
    if lacking is not None:
        return run(lambda: _list(options, channel, lacking, selection, as_json=as_json))
    return run(lambda: _count(options, channel, selection, as_json=as_json))


@asynccontextmanager
async def _opened(options: Options, channel: str) -> AsyncIterator[Shop]:
    async with pagefold.open(options.load(), create=False) as shop:
        check_has_pages(channel, shop.applied)
        if not is_measured(shop.applied.config, channel):
            raise UsageError("CHANNEL", _why_not_measured(shop.config, channel))
        yield shop


def _why_not_measured(file: Config, channel: str) -> str:
    if is_measured(file, channel):
        return f"the requirements of channels.{channel} are not applied yet; `pagefold plan` shows what would change"
    return f"channels.{channel} has neither requirements nor a contract; see docs/channels.md"


async def _count(options: Options, channel: str, selection: PageSelection, *, as_json: bool) -> int:
    async with _opened(options, channel) as shop:
        report = await shop.completeness.report(channel, selection)
    if as_json:
        write_bytes(msgspec.json.encode(report))
    else:
        _show(report)
    return Exit.REFUSED if report.blocked else Exit.DONE


async def _list(options: Options, channel: str, attribute: str, selection: PageSelection, *, as_json: bool) -> int:
    found = 0
    async with _opened(options, channel) as shop:
        async for page in shop.completeness.lacking(channel, attribute, selection):
            found += 1
            percent = 0 if page.completeness is None else page.completeness.percent
            if as_json:
                write_bytes(msgspec.json.encode(LackingPage(page.sku, page.family, percent)))
            else:
                write_bytes(printable(page.sku).encode())
    if not found:
        print_message(f"no page in {channel}{_selected(selection)} lacks {printable(attribute)}")
    return Exit.REFUSED if found else Exit.DONE


def _show(report: CompletenessReport) -> None:
    if report.families:
        show_table(FAMILY_COLUMNS, map(_family_row, report.families[:MAX_SHOWN]), numbers=FAMILY_COLUMNS[1:])
    if report.attributes:
        print()
        show_table(ATTRIBUTE_COLUMNS, map(_attribute_row, report.attributes[:MAX_SHOWN]), numbers=ATTRIBUTE_COLUMNS[1:])
    if max(len(report.families), len(report.attributes)) > MAX_SHOWN:
        print_message("… and more; --json shows them")
    complete = f"{report.complete:,} of {count(report.pages, 'page')} complete"
    documents = [*filter(None, [report.contract]), *report.requirements]
    selected = _selected(report.selection)
    print_message(f"{', '.join(documents)}{selected}: {complete}, {report.blocked:,} blocked")
    if report.attributes and report.attributes[0].completes:
        first = report.attributes[0]
        name, skus, pages = printable(first.attribute), count(first.pages, "SKU"), count(first.completes, "page")
        print_message(f"to fill first: {name} on {skus} completes {pages}")
    if report.unmeasured:
        print_message(f"{count(report.unmeasured, 'page')} not folded under these documents yet: `pagefold work`")


def _selected(selection: PageSelection) -> str:
    """Which pages were counted, after a comma; empty if all were."""
    given = msgspec.structs.asdict(selection)
    return "".join(f", {name} {printable(value)}" for name, value in given.items() if value is not None)


def _family_row(each: FamilyCompleteness) -> tuple[str, ...]:
    numbers = (each.pages, each.complete, each.blocked)
    return printable(each.family) or "-", *(f"{number:,}" for number in numbers), f"{each.percent} %"


def _attribute_row(each: LackingAttribute) -> tuple[str, ...]:
    numbers = (each.missing, each.invalid, each.unmapped, each.blocks, each.unblocks, each.completes)
    return printable(each.attribute), *(f"{number:,}" for number in numbers)
