"""Moments in the past, as options of commands."""

from typing import Annotated

from cyclopts import Parameter

from pagefold.engine.command.console import print_message
from pagefold.engine.command.options import UsageError
from pagefold.engine.configuration.config import Config
from pagefold.engine.reading.moments import At, parse_at
from pagefold.engine.reading.past_pages import View
from pagefold.engine.shop import Shop

AtOption = Annotated[str | None, Parameter(name="--at", metavar="TIME|POSITION")]
UnderOption = Annotated[str | None, Parameter(name="--under", metavar="FILE|NUMBER")]


def read_at(text: str, option: str = "--at") -> At:
    """A position or time. Raises `UsageError`."""
    try:
        return parse_at(text)
    except ValueError as error:
        raise UsageError(option, str(error)) from None


async def read_config(shop: Shop, text: str, option: str = "--under") -> Config:
    """The configuration of a file, or the one that was applied with a number. Raises `UsageError`.

    Of a file, that is what would count if it were applied now. Raises `ConfigurationError`.
    """
    if not (text.isascii() and text.isdigit()):
        return shop.config.under(shop.applied.wanted(Config.load(text)))
    found = await shop.past.config(int(text))
    if found is None:
        raise UsageError(option, f"no configuration was applied with the number {text}")
    return found


async def view_at(shop: Shop, at: At | None, under: Config | None = None) -> View:
    """The view at a moment, or at the end of the log. Says so if the log does not reach it."""
    view = await shop.past.view(at, under)
    if isinstance(at, int) and at > view.moment.position:
        print_message(f"the log ends at position {view.moment.position}: {at} is not there yet, or was lost")
    return view
