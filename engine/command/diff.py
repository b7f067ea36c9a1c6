"""`pagefold diff`: what is different in pages between two moments, two channels or two configurations."""

import time
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import printable, write_bytes, write_json
from pagefold.engine.command.moments import read_at, read_config, view_at
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Processes, UsageError, unknown_channel
from pagefold.engine.command.page_differences import comparison_meter, show_counts, show_page, show_samples
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import print_lines, section_count
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.reading.past_pages import View
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop

SIDES = 2

MAX_MEMORY_BYTES = 4 * 1024 * 1024
"""Bytes of changed pages that are kept in memory until the counts were printed. More are kept in a temporary file."""

MAX_PAGE_FIELDS = 1_000
"""Fields of a page that are shown where every page is."""


class Compared(msgspec.Struct, frozen=True):
    """What to compare: moments, configurations and channels of both sides, and which pages."""

    moments: tuple[str | None, str | None]
    under: list[str]
    channels: tuple[str, str] | None
    sku: str | None
    prefix: str
    processes: int | None


class ShownView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A side, for people and machines: a position, and a configuration by its number or file."""

    position: int
    configuration: int | str | None
    channel: str | None = None

    def text(self) -> str:
        """The side as text."""
        configuration = self.configuration
        name = f"configuration {configuration}" if isinstance(configuration, int) else printable(configuration or "")
        parts = [f"position {self.position}", *([f"under {name}"] if name else [])]
        return ", ".join([*parts, *([f"channel {printable(self.channel)}"] if self.channel else [])])


def diff(  # noqa: PLR0913  # each is an option
    *,
    since: Annotated[str | None, Parameter(name="--from", metavar="TIME|POSITION")] = None,
    until: Annotated[str | None, Parameter(name="--to", metavar="TIME|POSITION")] = None,
    channels: Annotated[tuple[str, str] | None, Parameter(metavar="CHANNEL CHANNEL")] = None,
    under: Annotated[list[str] | None, Parameter(metavar="FILE|NUMBER")] = None,
    sku: str | None = None,
    prefix: str = "",
    every_page: Annotated[bool, Parameter(name="--pages", show_default=False)] = False,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what is different in pages: between two moments, two channels, or two configurations.

    Folds both sides from the log, and compares them byte for byte: first counts by channel, as `pagefold plan` does,
    then the fields that differ in most pages, then pages. Changes nothing; workers may continue.

    Exit code 0 if no page differs, 1 if any does.

    Parameters
    ----------
    since
        The first side is as it was at a time (RFC 3339) or a position of the log, under the channels and sources that
        counted then.
    until
        The same for the second side; without --from, for both. By default, the end of the log.
    channels
        Compare the pages of two channels with each other.
    under
        A configuration file, or the number of an applied configuration, for both sides in place of the one that
        counted; given twice, one for each side.
    sku
        Only this product, with all fields that differ.
    prefix
        Only products that begin with this.
    every_page
        Print every page that differs with all of its fields, not only some.
    processes
        How many processes fold. By default one, or one per processor where the log has 300,000 events or more.
    as_json
        Print one JSON document: from and to (position, configuration, channel), diff (skus, channels: live, changed,
        taken, effects, domains, fields; samples), seconds. With --pages or --sku, each page follows, one JSON object a
        line: sku, channel, effects, domains, fields (path, before, after), wasLive.
    """
    compared = Compared((since, until), under or [], channels, sku, prefix, processes)
    _check(compared)
    return run(lambda: _diff(options, compared, every_page=every_page or sku is not None, as_json=as_json))


def _check(compared: Compared) -> None:
    """Raises `UsageError` for what cannot differ, or contradicts itself."""
    given = len(compared.under)
    if given > SIDES:
        raise UsageError("--under", "give one configuration, or two")
    if compared.moments[0] is None and compared.channels is None and given != SIDES:
        raise UsageError("diff", "give --from, --channels, or --under twice: the two sides are the same")
    if compared.sku is not None and compared.prefix:
        raise UsageError("--sku", "cannot be combined with --prefix")


async def _diff(options: Options, compared: Compared, *, every_page: bool, as_json: bool) -> int:
    started = time.monotonic()
    found: Plan | None = None
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope, SpooledTemporaryFile(MAX_MEMORY_BYTES) as pages:
            before, after = await _views(shop, compared)
            found = await _compare(shop, compared, before, after, pages if every_page else None)
            sides = _shown(compared, before, after)
            if as_json:
                _write_json(found, sides, time.monotonic() - started, pages)
            else:
                _show(found, sides, time.monotonic() - started, pages, every_page=every_page)
    if found is None:
        return stop.exit_code
    return Exit.REFUSED if found.changed else Exit.DONE


async def _views(shop: Shop, compared: Compared) -> tuple[View, View]:
    """The two sides. Raises `UsageError`."""
    since, until = compared.moments
    configs = [await read_config(shop, text) for text in compared.under]
    first, last = (configs[0], configs[-1]) if configs else (None, None)
    end = None if until is None else read_at(until, "--to")
    after = await view_at(shop, end, last)
    before = await view_at(shop, after.moment.position if since is None else read_at(since, "--from"), first)
    for view, channel in zip((before, after), compared.channels or (), strict=False):
        if channel not in view.config.channels:
            raise UsageError("--channels", unknown_channel(channel, view.config))
    return before, after


def _shown(compared: Compared, before: View, after: View) -> tuple[ShownView, ShownView]:
    names = [int(text) if text.isdigit() else text for text in compared.under]
    given = (names[0], names[-1]) if names else (None, None)
    channels = compared.channels or (None, None)
    one, two = (
        ShownView(view.moment.position, view.number if name is None else name, channel)
        for view, name, channel in zip((before, after), given, channels, strict=True)
    )
    return one, two


async def _compare(shop: Shop, compared: Compared, before: View, after: View, pages: IO[bytes] | None) -> Plan:
    """Compares, with a progress bar. Writes every page that differs to `pages`, one a line."""
    some = compared.sku is not None or compared.prefix
    total = 0 if some else await section_count(shop, None)
    with comparison_meter("comparing", total, "differ") as advance:

        def keep(part: PlannedRange) -> None:
            advance(part)
            if pages is not None:
                pages.writelines(msgspec.json.encode(change) + b"\n" for change in part.changes)

        return await shop.diff(
            before,
            after,
            channels=compared.channels,
            sku=compared.sku,
            prefix=compared.prefix,
            on_planned=keep,
            every_change=pages is not None,
            processes=compared.processes,
        )


def _write_json(found: Plan, sides: tuple[ShownView, ShownView], seconds: float, pages: IO[bytes]) -> None:
    one, two = map(msgspec.to_builtins, sides)
    write_json({"from": one, "to": two, "diff": msgspec.to_builtins(found), "seconds": seconds})
    for line in _lines(pages):
        write_bytes(line)


def _show(
    found: Plan, sides: tuple[ShownView, ShownView], seconds: float, pages: IO[bytes], *, every_page: bool
) -> None:
    one, two = sides
    print_lines(Text(f"from  {one.text()}"), Text(f"to    {two.text()}"))
    show_counts(found, seconds, "differ", "no page differs")
    if not every_page:
        show_samples(found)
    elif found.changed:
        print_lines(Text())
        for line in _lines(pages):
            show_page(msgspec.json.decode(line, type=PageChange), MAX_PAGE_FIELDS)


def _lines(pages: IO[bytes]) -> Iterator[bytes]:
    pages.seek(0)
    for line in pages:
        yield line.rstrip(b"\n")
