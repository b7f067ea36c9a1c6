"""Moments and dates as other systems write them, read without a clock and without the process's locale."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pagefold.projections.transforms.decimals import CALCULATION, read_decimal, truncated
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue

Ambiguous = Literal["refuse", "earlier", "later"]
"""What an hour that exists twice means, where clocks are put back."""


class OpenEnd(Exception):  # it is no error
    """The moment stands for no end, or for no beginning: infinity, the last day of year 9999, the first of year 1."""


class Written(NamedTuple):
    """A moment as written: its day, its time if it has one, its offset if it has one."""

    day: date
    clock: time | None
    offset: tzinfo | None


Read = Callable[[str], Written]

_iso = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)? ?(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d(?::\d\d)?)?)?)?",
    re.ASCII,
)
_endless = re.compile(
    r"[+-]?inf(?:inity)?|9999-?12-?31.*|0000-?00-?00.*|0001-?01-?01.*|[12]\d{4,5}-\d\d-\d\d.*", re.IGNORECASE | re.ASCII
)

_DIRECTIVES = {
    "%Y": r"(?P<year>\d{4})",
    "%y": r"(?P<short_year>\d\d)",
    "%m": r"(?P<month>\d{1,2})",
    "%d": r"(?P<day>\d{1,2})",
    "%H": r"(?P<hour>\d{1,2})",
    "%I": r"(?P<half_hour>\d{1,2})",
    "%p": r"(?P<half>[AaPp]\.?[Mm]\.?)",
    "%M": r"(?P<minute>\d\d)",
    "%S": r"(?P<second>\d\d)",
    "%f": r"(?P<fraction>\d{1,9})",
    "%z": r"(?P<offset>Z|z|[+-]\d\d(?::?\d\d)?)",
    "%%": "%",
}
_directive = re.compile("%.?")

UNITS = {"epoch_seconds": 0, "epoch_milliseconds": 3, "epoch_microseconds": 6, "epoch_nanoseconds": 9}
"""Formats that count from 1970, with the decimals of a second that they have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_214_400
"""The last day of year 9999: what is counted beyond its beginning is an open end."""


def read_iso(text: str) -> Written:
    """Reads ISO 8601 and RFC 3339: a space for the T, no seconds, `+00`, and nine decimals are all understood.

    Raises `InvalidValue`, and `OpenEnd`.
    """
    found = _iso.fullmatch(text)
    if found is None or _endless.fullmatch(text):
        _refuse_endless(text)
        raise InvalidValue("not_a_moment", text, "is not a date or a moment; `format` says how it is written")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    clock = None if hour is None else (int(hour), int(minute), int(second or 0), fraction)
    return _made(text, (int(year), int(month), int(day)), clock, offset)


def _refuse_endless(text: str) -> None:
    if _endless.fullmatch(text):
        raise OpenEnd


def _made(
    text: str, day: tuple[int, int, int], clock: tuple[int, int, int, str | None] | None, offset: str | None
) -> Written:
    try:
        parts = None if clock is None else time(clock[0], clock[1], clock[2], int((clock[3] or "0")[:6].ljust(6, "0")))
        return Written(date(*day), parts, None if offset is None else _offset(offset))
    except ValueError as error:
        raise InvalidValue("not_a_moment", text, f"is not a date or a moment: {error}") from None


@lru_cache(maxsize=256)
def _offset(text: str) -> tzinfo:
    if text.upper() in {"Z", "UTC", "GMT"}:
        return UTC
    digits = text[1:].replace(":", "").ljust(6, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    if int(digits[2:4]) > 59:  # noqa: PLR2004  # minutes of an hour
        raise ValueError(f"{text} is not an offset")
    return timezone(-span if text[0] == "-" else span)


def compile_format(pattern: str, key: str) -> Read:
    """Compiles a format of `%Y`, `%m` and the like. Raises `InvalidMapping` for what it cannot have.

    There are no names of months and days: they would depend on the language of the process.
    """
    if pattern == "iso":
        return read_iso
    written, place = "", 0
    for found in _directive.finditer(pattern):
        if found[0] not in _DIRECTIVES:
            raise InvalidMapping(key, f"has {found[0]!r}; a format may have {' '.join(_DIRECTIVES)}")
        written += re.escape(pattern[place : found.start()]) + _DIRECTIVES[found[0]]
        place = found.end()
    try:
        compiled = re.compile(written + re.escape(pattern[place:]), re.ASCII)
    except re.error:
        raise InvalidMapping(key, f"{pattern!r:.60} has a part twice") from None
    names = compiled.groupindex
    if not {"month", "day"} <= names.keys() or not names.keys() & {"year", "short_year"}:
        raise InvalidMapping(key, f"{pattern!r:.60} needs a year, a month and a day: %Y, %m, %d")
    if ("half_hour" in names) != ("half" in names):
        raise InvalidMapping(key, f"{pattern!r:.60} needs %I and %p together")
    return lambda text: _by_format(compiled, pattern, text)


def _by_format(compiled: re.Pattern[str], pattern: str, text: str) -> Written:
    found = compiled.fullmatch(text)
    if found is None:
        _refuse_endless(text)
        raise InvalidValue("not_a_moment", text, f"is not of the form {pattern}")
    parts = found.groupdict()
    day = (_year(parts), int(parts["month"]), int(parts["day"]))
    if day[0] in {0, 1, 9999} and (day[1:] in {(12, 31), (1, 1), (0, 0)}):
        raise OpenEnd
    if parts.get("hour") is None and parts.get("half_hour") is None:
        return _made(text, day, None, None)
    clock = (_hour(parts, text), int(parts.get("minute") or 0), int(parts.get("second") or 0), parts.get("fraction"))
    return _made(text, day, clock, parts.get("offset"))


def _year(parts: dict[str, str | None]) -> int:
    """The year; of two digits, those below 69 are of this century, as POSIX has it."""
    if parts.get("year") is not None:
        return int(parts["year"] or 0)
    short = int(parts["short_year"] or 0)
    return short + (2000 if short < 69 else 1900)  # noqa: PLR2004  # POSIX


def _hour(parts: dict[str, str | None], text: str) -> int:
    if parts.get("half_hour") is None:
        return int(parts["hour"] or 0)
    hour, half = int(parts["half_hour"] or 0), str(parts["half"]).lower()
    if not 1 <= hour <= 12:  # noqa: PLR2004  # hours of half a day
        raise InvalidValue("not_a_moment", text, "has an hour that half a day does not have")
    return hour % 12 + (12 if half.startswith("p") else 0)


def read_epoch(value: object, decimals: int) -> datetime:
    """The moment that a count from 1970 means, to the microsecond. Raises `InvalidValue`, and `OpenEnd`."""
    seconds = CALCULATION.scaleb(read_decimal(value), -decimals)
    if seconds >= _LAST_SECOND or seconds <= -62_135_510_400:  # noqa: PLR2004  # the first day of year 1
        raise OpenEnd
    whole = truncated(seconds)
    micros = int(truncated(CALCULATION.scaleb(CALCULATION.subtract(seconds, whole), 6)))
    return _EPOCH + timedelta(seconds=int(whole), microseconds=micros)


@lru_cache(maxsize=1_000)
def find_zone(name: str, key: str) -> ZoneInfo:
    """A zone of the IANA database, such as `Europe/Berlin`. Raises `InvalidMapping`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidMapping(
            key, f"{name!r:.60} is not a time zone; write one such as 'Europe/Berlin' or 'UTC'"
        ) from None


def in_zone(day: date, clock: time, zone: ZoneInfo, ambiguous: Ambiguous, shown: object) -> datetime:
    """The moment at which the clocks of a zone show this. Raises `InvalidValue` if they never do, or twice."""
    earlier = datetime.combine(day, clock, zone)
    later = earlier.replace(fold=1)
    if earlier.utcoffset() == later.utcoffset():
        return earlier
    try:
        exists = earlier.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == earlier.replace(tzinfo=None)
    except OverflowError:
        raise OpenEnd from None
    if not exists:
        raise InvalidValue("no_such_hour", shown, f"does not exist in {zone.key}: clocks are put forward there")
    if ambiguous == "refuse":
        raise InvalidValue(
            "two_such_hours", shown, f'exists twice in {zone.key}; `ambiguous = "earlier"` or `"later"` decides'
        )
    return earlier if ambiguous == "earlier" else later


def day_of(value: object) -> date:
    """The day of a date or a moment; of a moment, its own day as written. Raises `InvalidValue`."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if type(value) is str:
        try:
            return read_iso(value.strip()).day
        except (InvalidValue, OpenEnd):
            pass
    raise InvalidValue(
        "no_day", None if not isinstance(value, str | int | Decimal) else value, "is not a day such as 2026-01-31"
    )
