"""`pagefold pages`: the pages of a channel, as a list or as documents."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.domains.values import format_timestamp, seconds_before
from pagefold.engine.command.console import count, print_message, printable, show_table, write_bytes
from pagefold.engine.command.options import (
    AsJSON,
    DomainName,
    Exit,
    Injected,
    Options,
    UsageError,
    check_has_pages,
)
from pagefold.engine.command.signals import StopSignal, stoppable
from pagefold.engine.configuration.durations import parse_duration
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.reading.page_reader import PageSummary
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.projections.streams import normalise_sku

LIST_CHUNK = 500
"""SKUs that are read at a time."""

MAX_EXPORT_BYTES = 8 * 1024 * 1024
"""Bytes of the pages that are in memory, unless one page has more."""

DEFAULT_LIMIT = 100

PrefixOption = Annotated[str, Parameter(name="--prefix", show_default=False, help="Only SKUs that begin with this.")]
DomainOption = Annotated[
    DomainName | None, Parameter(name="--domain", help="Only pages with a section of this domain.")
]
ReadyOption = Annotated[
    bool | None,
    Parameter(
        name="--ready",
        negative="--not-ready",
        help="Only pages that are ready, or that are not; with --domain, pages of which that section is, or is not.",
    ),
]
SinceOption = Annotated[
    str | None,
    Parameter(
        name="--since",
        metavar="TIME",
        help="Only pages whose newest change occurred then or later: 2026-01-31T12:00:00Z, or 15m, 12h, 2d ago.",
    ),
]

pages = App(name="pages", help="List and export the pages of a channel.", help_epilogue="")


class _Filter(NamedTuple):
    """Which pages of a channel. `since` is fixed-width UTC text."""

    channel: str
    prefix: str
    domain: str | None
    ready: bool | None
    since: str | None

    def matches(self, page: PageSummary, domains: Collection[str]) -> bool:
        """Whether a page with sections of these domains is one of them."""
        if page.status == "absent" or not page.sku.startswith(self.prefix):
            return False
        if self.domain is not None and self.domain not in domains:
            return False
        is_ready = page.ready if self.domain is None else page.readiness[self.domain]
        has_changed = self.since is None or (page.updated_at is not None and page.updated_at >= self.since)
        return has_changed and self.ready in (None, is_ready)


@pages.command(name="list")
def list_pages(  # noqa: PLR0913  # the command's options
    channel: str,
    /,
    *,
    prefix: PrefixOption = "",
    domain: DomainOption = None,
    ready: ReadyOption = None,
    since: SinceOption = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1), help="Show at most this many pages.")] = DEFAULT_LIMIT,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the pages of a channel by SKU: whether they are live and ready, what is missing, when they changed.

    Exit code 1 without any.

    Parameters
    ----------
    channel
        The storefront or marketplace.
    as_json
        Print one JSON object a line: sku, status (live or disabled), ready, readiness (by domain), updatedAt.
    """
    return run(lambda: _list(_filter(channel, prefix, domain, ready, since), limit, options, as_json=as_json))


async def _list(wanted: _Filter, limit: int, options: Options, *, as_json: bool) -> int:
    found: list[PageSummary] = []
    shown = 0
    async with _opened(wanted, options) as shop:
        async for chunk in _matching(shop, wanted):
            room = limit - shown + 1
            found += chunk[:room] if not as_json else ()
            for page in chunk[: limit - shown] if as_json else ():
                write_bytes(msgspec.json.encode(page))
            shown += min(len(chunk), room)
            if shown > limit:
                break
    if found:
        columns = ("sku", "status", "ready", "not ready", "updated")
        show_table(columns, map(_row, found[:limit]), wrapped=("sku", "not ready"))
    if shown > limit:
        print_message("… and more; --limit shows them")
    elif not shown:
        print_message(f"no pages in {wanted.channel}{_condition(wanted)}")
    return Exit.DONE if shown else Exit.REFUSED


def _row(page: PageSummary) -> tuple[str, ...]:
    missing = ", ".join(domain for domain, is_ready in page.readiness.items() if not is_ready)
    updated = (page.updated_at or "")[:19].replace("T", " ")
    return printable(page.sku), page.status, "ready" if page.ready else "-", missing, updated


@pages.command
def export(  # noqa: PLR0913  # the command's options
    channel: str,
    /,
    *,
    prefix: PrefixOption = "",
    domain: DomainOption = None,
    ready: ReadyOption = None,
    since: SinceOption = None,
    disabled: Annotated[bool, Parameter(show_default=False, help="Print disabled pages too.")] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Print the documents of a channel as NDJSON, by SKU: the same bytes that a storefront reads, one page a line.

    Changes that come meanwhile are in pages that are not printed yet. Ctrl-C and SIGTERM end it after a page (exit code
    130 or 143). Exit code 1 without any page.

    Parameters
    ----------
    channel
        The storefront or marketplace.
    """
    wanted = _filter(channel, prefix, domain, ready, since)
    return run(lambda: _export(wanted, options, disabled=disabled))


async def _export(wanted: _Filter, options: Options, *, disabled: bool) -> int:
    number = 0
    async with _opened(wanted, options) as shop, stoppable() as stop:
        async for chunk in _matching(shop, wanted):
            skus = [page.sku for page in chunk if disabled or page.status == "live"]
            number += await _write_documents(shop, skus, wanted.channel, stop, disabled=disabled)
            if stop:
                break
    print_message(f"{count(number, 'page')} of {wanted.channel}{_condition(wanted)}")
    if stop:
        return stop.exit_code
    return Exit.DONE if number else Exit.REFUSED


async def _write_documents(shop: Shop, skus: Sequence[str], channel: str, stop: StopSignal, *, disabled: bool) -> int:
    """Prints the pages, in parts where they are large together. Returns how many there are."""
    if not skus or stop:
        return 0
    try:
        found = await shop.pages.get_many_json(skus, channel, disabled=disabled, max_bytes=_max_bytes(skus))
    except ReadTooLarge as error:
        size = max(1, len(skus) // error.parts)
        parts = [skus[at : at + size] for at in range(0, len(skus), size)]
        return sum([await _write_documents(shop, part, channel, stop, disabled=disabled) for part in parts])
    for sku in skus:
        if sku in found:
            write_bytes(found[sku])
    return len(found)


def _max_bytes(skus: Sequence[str]) -> int | None:
    return MAX_EXPORT_BYTES if len(skus) > 1 else None


@asynccontextmanager
async def _opened(wanted: _Filter, options: Options) -> AsyncIterator[Shop]:
    async with pagefold.open(options.load(), create=False) as shop:
        check_has_pages(wanted.channel, shop.applied)
        yield shop


async def _matching(shop: Shop, wanted: _Filter) -> AsyncIterator[list[PageSummary]]:
    """The pages that match, by SKU, some at a time."""
    after = just_before(wanted.prefix)
    while chunk := await shop.pages.listing_with_domains(wanted.channel, after, LIST_CHUNK):
        after = chunk[-1][0].sku
        yield [page for page, domains in chunk if wanted.matches(page, domains)]
        if after > wanted.prefix and not after.startswith(wanted.prefix):
            return


def just_before(prefix: str) -> str:
    """A text that sorts before everything that begins with the prefix, and after almost everything before it."""
    if not prefix:
        return ""
    code = ord(prefix[-1]) - 1
    last = chr(0xD7FF) if 0xD800 <= code <= 0xDFFF else chr(code)  # noqa: PLR2004  # surrogates are no characters
    return prefix[:-1] + last + chr(0x10FFFF)


def _filter(channel: str, prefix: str, domain: str | None, ready: bool | None, since: str | None) -> _Filter:  # noqa: FBT001  # as it was given
    return _Filter(channel, normalise_sku(prefix), domain, ready, None if since is None else moment_of(since))


def moment_of(text: str) -> str:
    """A moment, given as such or by how long ago it was, as fixed-width UTC text. Raises `UsageError`."""
    try:
        return seconds_before(clock.now(), parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is neither a time such as 2026-01-31T12:00:00Z nor a length of time such as 15m, 12h or 2d"
        raise UsageError("--since", problem) from None
    return format_timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def _condition(wanted: _Filter) -> str:
    return "" if wanted == _Filter(wanted.channel, "", None, None, None) else " that match"
