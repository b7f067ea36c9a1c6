"""What a target says about its limits in the headers of a response.

`Retry-After` in both forms (RFC 9110, 10.2.3); `RateLimit` and `RateLimit-Policy` of the IETF's draft as structured
fields (`"default";r=50;t=30`) and as they were before it (`limit=100, remaining=50, reset=30`, and three headers); and
`X-RateLimit-*`, whose reset is a number of seconds with some services, and a moment with others.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from pagefold.engine.delivery.target_kind import Limits

MAX_SECONDS = 24 * 60 * 60.0
"""No header keeps a target from being tried for longer."""

MOMENT_SECONDS = 1_000_000_000
"""A reset of as many seconds, 31 years, is a moment in seconds since 1970."""

_number = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:[;,].*)?", re.ASCII)
_parameter = re.compile(r"(?:^|[;,\s])(r|t|remaining|reset)\s*=\s*\"?(\d{1,15}(?:\.\d{1,9})?)", re.ASCII)
_names = {"r": "remaining", "t": "reset"}


def limits_of(status: int, headers: Mapping[str, str], now: datetime) -> Limits:
    """What a response says about limits. `headers` finds them whatever their case.

    Where several windows are named, the strictest counts: the fewest requests left, then the latest reset.
    """
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    retry_after = retry_after_of(headers.get("retry-after"), now)
    windows = [
        *_windows_of(headers.get("ratelimit"), now),
        *_window(headers.get("ratelimit-remaining"), headers.get("ratelimit-reset"), now),
        *_window(headers.get("x-ratelimit-remaining"), headers.get("x-ratelimit-reset"), now),
        *_window(headers.get("x-rate-limit-remaining"), headers.get("x-rate-limit-reset"), now),
    ]
    if not windows:
        return Limits(retry_after=retry_after, throttled=throttled)
    remaining, reset = min(windows, key=lambda window: (window[0], -window[1]))
    return Limits(remaining, reset, retry_after, throttled)


def retry_after_of(value: str | None, now: datetime) -> float | None:
    """The seconds of a `Retry-After`, a number or a date; None if it is neither."""
    if value is None:
        return None
    if (found := _number.fullmatch(value)) is not None:
        return min(float(found[1]), MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # -0000 is UTC, too
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_SECONDS)


def _windows_of(value: str | None, now: datetime) -> list[tuple[int, float]]:
    """The windows of a `RateLimit`: each list item of the newest draft is one; the older form is one with commas."""
    if value is None:
        return []
    parts = value.split(",") if re.search(r";\s*[rt]\s*=", value) else [value]
    found = []
    for part in parts:
        named = {_names.get(name, name): number for name, number in _parameter.findall(part)}
        found += _window(named.get("remaining"), named.get("reset"), now)
    return found


def _window(remaining: str | None, reset: str | None, now: datetime) -> list[tuple[int, float]]:
    """The requests that are left in a window, and the seconds until it ends; none if that is not said."""
    left = None if remaining is None else _number.fullmatch(remaining)
    if left is None:
        return []
    return [(math.floor(float(left[1])), _seconds(reset, now))]


def _seconds(reset: str | None, now: datetime) -> float:
    """The seconds until a reset. A service that does not say when is asked again after a second."""
    if reset is None:
        return 1.0
    if (found := _number.fullmatch(reset)) is None:
        return retry_after_of(reset, now) or 1.0  # some write a date
    number = float(found[1])
    if number >= MOMENT_SECONDS * 1_000:
        number /= 1_000  # milliseconds
    seconds = number - now.timestamp() if number >= MOMENT_SECONDS else number
    return min(max(seconds, 0.0), MAX_SECONDS)
