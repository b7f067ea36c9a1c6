"""`pagefold get`: one page."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from cyclopts import Parameter
from rich import json as rich_json

import pagefold
from pagefold.engine.command.console import print_message, printable, results, write_bytes
from pagefold.engine.command.moments import AtOption, UnderOption, read_at, read_config, view_at
from pagefold.engine.command.options import Exit, Injected, Options, UsageError, check_has_pages, unknown_channel
from pagefold.engine.reading.moments import At
from pagefold.engine.reading.past_pages import View
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.projections.streams import EVERY_CHANNEL, normalise_sku, sku_error


def get(  # noqa: PLR0913  # each is an option
    sku: str,
    channel: str,
    /,
    *,
    at: AtOption = None,
    under: UnderOption = None,
    disabled: Annotated[bool, Parameter(show_default=False)] = False,
    pretty: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Print one page: the same bytes that a storefront reads, or has read at a moment in the past.

    Exit code 1 without a page, or if it is disabled.

    Parameters
    ----------
    sku
        The product.
    channel
        The storefront or marketplace.
    at
        Print it as it was at a time (RFC 3339, such as 2026-01-31T12:00:00Z) or a position of the log, under the
        channels and sources that counted then.
    under
        Print it under the channels and sources of this configuration file, or of the applied configuration with this
        number.
    disabled
        Print the page even if it is disabled, and storefronts get none.
    pretty
        Print it indented, for people.
    """
    moment = None if at is None else read_at(at)
    is_past = at is not None or under is not None

    async def read(shop: Shop) -> bytes | None:
        if is_past:
            return await _get_past(shop, sku, channel, moment, under, disabled=disabled)
        return await _get_current(shop, sku, channel, disabled=disabled)

    return run(lambda: _get(options, read, pretty=pretty))


async def _get(options: Options, read: Callable[[Shop], Awaitable[bytes | None]], *, pretty: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        page = await read(shop)
        if page is None:
            return Exit.REFUSED
    if pretty:
        _print_indented(page)
    else:
        write_bytes(page)
    return Exit.DONE


async def _get_current(shop: Shop, sku: str, channel: str, *, disabled: bool) -> bytes | None:
    """The page; None if there is none, and why was printed."""
    check_has_pages(channel, shop.applied)
    page = await shop.pages.get_json(sku, channel, disabled=disabled)
    if page is None:
        print_message(await _why_none(shop, sku, channel))
    return page


async def _get_past(  # what the command was asked for
    shop: Shop, sku: str, channel: str, at: At | None, under: str | None, *, disabled: bool
) -> bytes | None:
    """The page as it was; None if there was none, and why was printed."""
    view = await view_at(shop, at, None if under is None else await read_config(shop, under))
    if channel not in view.config.channels:
        raise UsageError("CHANNEL", unknown_channel(channel, view.config))
    page = (await shop.past.get_many_json([sku], channel, view, disabled=disabled)).get(sku)
    if page is None:
        print_message(await _why_none_then(shop, sku, channel, view))
    return page


async def _why_none_then(shop: Shop, sku: str, channel: str, view: View) -> str:
    """Why a page was not found in a view, and what to do."""
    name, position = printable(sku), view.moment.position
    if (fault := sku_error(normalise_sku(sku))) is not None:
        return f"{name!r} is not an SKU: {fault}"
    if await shop.past.get_many_json([sku], channel, view, disabled=True):
        return f"the page of {name} in {channel} was disabled at position {position}; --disabled prints it"
    first = await shop.past.first_position()
    if first is None or position < first:
        return f"the log has no event up to position {position}: its first is at {first}"
    return f"{name} had no page in {channel} at position {position}; `pagefold history {name}` shows its events"


def _print_indented(page: bytes) -> None:
    text = orjson.dumps(orjson.loads(page), option=orjson.OPT_INDENT_2)
    if results().is_terminal:
        results().print(rich_json.JSON(text.decode()), soft_wrap=True)
    else:
        write_bytes(text)


async def _why_none(shop: Shop, sku: str, channel: str) -> str:
    """Why a page was not found, and what to do."""
    name = printable(sku)
    if (fault := sku_error(normalise_sku(sku))) is not None:
        return f"{name!r} is not an SKU: {fault}"
    if await shop.pages.get_json(sku, channel, disabled=True) is not None:
        return f"the page of {name} in {channel} is disabled; --disabled prints it"
    async for entry in shop.history(sku):
        if entry.channel in (channel, EVERY_CHANNEL):
            return f"{name} has no page in {channel}; the log has events for it: `pagefold work --once` folds them"
    return f"{name} has no page in {channel}, and no source has sent events for it there"
