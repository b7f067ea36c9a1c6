"""`pagefold get`: one page."""

from typing import Annotated

import orjson
from cyclopts import Parameter
from rich import json as rich_json

import pagefold
from pagefold.engine.command.console import print_message, printable, results, write_bytes
from pagefold.engine.command.options import Exit, Injected, Options, check_has_pages
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.projections.streams import EVERY_CHANNEL, normalise_sku, sku_error


def get(
    sku: str,
    channel: str,
    /,
    *,
    disabled: Annotated[bool, Parameter(show_default=False)] = False,
    pretty: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Print one page: the same bytes that a storefront reads.

    Exit code 1 without a page, or if it is disabled.

    Parameters
    ----------
    sku
        The product.
    channel
        The storefront or marketplace.
    disabled
        Print the page even if it is disabled, and storefronts get none.
    pretty
        Print it indented, for people.
    """
    return run(lambda: _get(sku, channel, options, disabled=disabled, pretty=pretty))


async def _get(sku: str, channel: str, options: Options, *, disabled: bool, pretty: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        check_has_pages(channel, shop.applied)
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
