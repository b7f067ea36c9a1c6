"""`?at=` of a page read: the page as it was at a position or a time."""

from typing import NamedTuple
from urllib.parse import parse_qsl

from pagefold.engine.http.headers import NO_STORE, Header
from pagefold.engine.http.problems import Problem, invalid, no_channel, no_page
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.reading.moments import At, parse_at
from pagefold.engine.reading.past_pages import View
from pagefold.engine.runtime.store_timeout import with_timeout

MAX_PARAMETERS = 100
GONE = "the product was no longer offered in this channel at that moment"
NO_CHANNEL = "unknown channel at that moment"
BEFORE = "the log begins at position {first}: it has nothing of that moment"
POSITION = b"pagefold-position"
"""The header with the last position that a page was folded from."""


class PastPage(NamedTuple):
    """A page as it was, and the headers that say for how long that holds, and of which position it is."""

    body: bytes
    headers: tuple[Header, Header]


def requested_moment(query: bytes) -> At | None:
    """The moment that a query string names; None without `at`. Other parameters are ignored. Raises `Problem`."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Problem(400, "too many parameters") from None
    found = [value for name, value in pairs if name == "at"]
    if len(found) > 1:
        raise Problem(400, "at: is given twice")
    try:
        return parse_at(found[0]) if found else None
    except ValueError as error:
        raise Problem(400, f"at: {error}") from None


async def given_view(service: ServerContext, text: str, name: str = "at") -> View:
    """The view at the moment in a parameter of another route. Raises `Problem`, as for other parameters."""
    try:
        at = parse_at(text)
    except ValueError as error:
        raise invalid(name, str(error)) from None
    return await with_timeout(service.shop.past.view(at))


async def past_page(service: ServerContext, sku: str, channel: str, at: At) -> PastPage:
    """The page at a moment. Raises `Problem` if there was none."""
    return await with_timeout(_past_page(service, sku, channel, at))


async def _past_page(service: ServerContext, sku: str, channel: str, at: At) -> PastPage:
    view = await service.shop.past.view(at)
    if channel not in view.config.channels:
        raise Problem(404, NO_CHANNEL) if channel in service.shop.applied.config.channels else no_channel()
    found = await service.shop.past.get_many_json([sku], channel, view)
    if sku not in found:
        raise await _missing(service, sku, channel, view)
    position, settled = view.moment
    cached = service.caching.permanent() if settled else NO_STORE
    return PastPage(found[sku], (cached, (POSITION, b"%d" % position)))


async def _missing(service: ServerContext, sku: str, channel: str, view: View) -> Problem:
    """The problem for a page that there was not: 410 if it was disabled and had been live, else 404."""
    past = service.shop.past
    if await past.get_many_json([sku], channel, view, disabled=True):
        return Problem(410, GONE) if await past.was_live(sku, channel, view) else no_page()
    first = await past.first_position()
    if first is None or view.moment.position < first:
        return Problem(404, BEFORE.format(first=first or 1))
    return no_page()
