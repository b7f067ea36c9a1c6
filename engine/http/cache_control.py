"""How long a page may be cached: as its channel is configured, but not beyond the start or end of a scheduled price."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.http.headers import Header

SCHEDULED = b'"scheduled"'
"""Every page with a scheduled price contains it. If it is there for another reason, the page is parsed in vain."""


FOREVER_SECONDS = 365 * 24 * 60 * 60
"""A year: caches take it for ever."""


class _Span(msgspec.Struct, rename={"from_": "from"}):
    from_: datetime | None = None
    until: datetime | None = None


class _Pricing(msgspec.Struct):
    scheduled: list[_Span] = []


class _Page(msgspec.Struct):
    pricing: _Pricing | None = None


_page = msgspec.json.Decoder(_Page)


class _Times(NamedTuple):
    fresh: int
    stale: int


class CachePolicy:
    """The `Cache-Control` of pages. `public`: reads need no token, so shared caches may keep pages."""

    def __init__(self, config: Config, *, public: bool) -> None:
        self._times = {name: _times(config, name) for name in config.channels}
        self._default = _Times(config.http.cache_seconds, config.http.stale_while_revalidate_seconds)
        self.share(public=public)

    def share(self, *, public: bool) -> None:
        """Sets whether shared caches may keep pages."""
        self._who = b"public" if public else b"private"
        self._usual = {name: self._header(times) for name, times in self._times.items()}
        self._other = self._header(self._default)  # of channels that are applied, and not in the file

    def header(self, channel: str, body: bytes) -> Header:
        """The header for a page."""
        if SCHEDULED not in body:
            return self._usual.get(channel, self._other)
        left = seconds_to_change(body, datetime.now(UTC))
        if left is None:
            return self._usual.get(channel, self._other)
        fresh, stale = self._times.get(channel, self._default)
        fresh = min(fresh, left)
        return self._header(_Times(fresh, min(stale, left - fresh)))

    def permanent(self) -> Header:
        """The header for what never changes."""
        return (b"cache-control", b"%b, max-age=%d, immutable" % (self._who, FOREVER_SECONDS))

    def _header(self, times: _Times) -> Header:
        value = b"%b, max-age=%d" % (self._who, times.fresh)
        if times.stale:
            return (b"cache-control", value + b", stale-while-revalidate=%d" % times.stale)
        return (b"cache-control", value + b", must-revalidate")


def _times(config: Config, channel: str) -> _Times:
    own, usual = config.channels[channel], config.http
    fresh, stale = own.cache_seconds, own.stale_while_revalidate_seconds
    return _Times(
        usual.cache_seconds if fresh is None else fresh,
        usual.stale_while_revalidate_seconds if stale is None else stale,
    )


def seconds_to_change(body: bytes, now: datetime) -> int | None:
    """Whole seconds until a scheduled price of the page starts or ends; None if none will."""
    try:
        pricing = _page.decode(body).pricing
    except msgspec.MsgspecError:  # another kind of domain has that name
        return None
    spans = pricing.scheduled if pricing is not None else []
    moments = [moment for span in spans for moment in (span.from_, span.until) if moment is not None and moment > now]
    return int((min(moments) - now).total_seconds()) if moments else None


def matches(condition: bytes, etag: bytes) -> bool:
    """Whether an `If-None-Match` names the tag, also as `*` or as a weak tag (RFC 9110, 13.1.2)."""
    if condition == etag:
        return True
    if condition.strip() == b"*":
        return True
    return any(each.strip().removeprefix(b"W/") == etag for each in condition.split(b","))
