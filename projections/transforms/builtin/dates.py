"""Dates and moments: from the form of another system to RFC 3339 in UTC, to a day, or to a channel's form."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.moments import (
    UNITS,
    Ambiguous,
    OpenEnd,
    Read,
    Written,
    compile_format,
    find_zone,
    in_zone,
    read_epoch,
)
from pagefold.projections.transforms.results import remembered
from pagefold.projections.transforms.transform import Example, Site, Transform, ValueFunction
from pagefold.projections.transforms.value_types import ValueType, timestamp_text

_MIDNIGHT = time()
_OUTPUTS = re.compile(r"%(.?)")
_WRITTEN_PARTS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda moment: f"{moment.year:04}",
    "y": lambda moment: f"{moment.year % 100:02}",
    "m": lambda moment: f"{moment.month:02}",
    "d": lambda moment: f"{moment.day:02}",
    "H": lambda moment: f"{moment.hour:02}",
    "M": lambda moment: f"{moment.minute:02}",
    "S": lambda moment: f"{moment.second:02}",
    "%": lambda _moment: "%",
}


_ENDLESS_DAYS = frozenset([(9999, 12, 31), (1, 1, 1)])
"""The days of `infinity` and `-infinity`, as drivers of databases give them."""


class Date(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `date`."""

    format: Annotated[
        str | list[str],
        msgspec.Meta(
            description="how it is written: `iso`, a form such as `%d.%m.%Y %H:%M`, `epoch_seconds` (`_milliseconds`, "
            "`_microseconds`, `_nanoseconds`), or several of them, tried in this order"
        ),
    ] = "iso"
    zone: Annotated[
        str | None, msgspec.Meta(description="the zone of moments without an offset, such as `Europe/Berlin`")
    ] = None
    ambiguous: Annotated[
        Ambiguous, msgspec.Meta(description="what an hour means that exists twice, when clocks are put back")
    ] = "refuse"
    inclusive: Annotated[
        Literal["day", "second"] | None,
        msgspec.Meta(description="for an end that still counts: its `day` or its `second` is added"),
    ] = None
    result: Annotated[
        str, msgspec.Meta(description="`timestamp`, `date`, or a form such as `%d.%m.%Y`; the latter two in the zone")
    ] = "timestamp"


def _formats(parameters: Date, site: Site) -> list[Read | int]:
    """The formats in their order; of counts, their decimals."""
    written = [parameters.format] if isinstance(parameters.format, str) else parameters.format
    if not written:
        raise site.invalid("names no format", "format")
    return [UNITS[each] if each in UNITS else compile_format(each, f"{site.key}.format") for each in written]


def _read(value: object, formats: list[Read | int]) -> Written | datetime:
    """The moment by the first format that fits. Raises the error of the last one, and `OpenEnd`."""
    if isinstance(value, date) and (value.year, value.month, value.day) in _ENDLESS_DAYS:
        raise OpenEnd
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else Written(value.date(), value.time(), None)
    if isinstance(value, date):
        return Written(value, None, None)
    problem = InvalidValue("not_a_moment", value, "is not a date or a moment; `format` says how it is written")
    for each in formats:
        try:
            if isinstance(each, int):
                return read_epoch(value, each)
            if type(value) is str:
                return each(value.strip())
        except InvalidValue as error:
            problem = error if error.code != "not_a_number" or len(formats) == 1 else problem
    raise problem


def _moment(written: Written | datetime, zone: ZoneInfo | None, ambiguous: Ambiguous, value: object) -> datetime:
    """The moment, in the zone if there is one. Raises `InvalidValue` if it has no offset."""
    if isinstance(written, datetime):
        return written if zone is None else written.astimezone(zone)
    clock = written.clock or _MIDNIGHT
    if written.offset is not None:
        moment = datetime.combine(written.day, clock, written.offset)
        return moment if zone is None else moment.astimezone(zone)
    if zone is None:
        raise InvalidValue("no_offset", value, "has no offset from UTC; `zone` says where its clock is")
    return in_zone(written.day, clock, zone, ambiguous, value)


def _with_end(moment: datetime, inclusive: str | None, zone: ZoneInfo | None, parameters: Date) -> datetime:
    """The end of what still counts: after its day, or after its second."""
    if inclusive == "second":
        return (moment.astimezone(UTC) + timedelta(seconds=1)).astimezone(moment.tzinfo)
    if inclusive == "day" and zone is not None:
        return in_zone(moment.date() + timedelta(days=1), _MIDNIGHT, zone, parameters.ambiguous, moment)
    return moment


def date_function(parameters: Date, site: Site) -> ValueFunction:
    """What makes a moment, or a day, of a value."""
    formats = _formats(parameters, site)
    zone = None if parameters.zone is None else find_zone(parameters.zone, f"{site.key}.zone")
    if parameters.inclusive == "day" and zone is None:
        raise site.invalid("a day has an end only in a zone: give `zone`", "inclusive")
    write = _writer(parameters.result, site)
    day_alone = parameters.result != "timestamp" and zone is None and parameters.inclusive is None

    def convert(value: object) -> object:
        try:
            written = _read(value, formats)
            if day_alone and isinstance(written, Written) and written.offset is None:
                return write(datetime.combine(written.day, written.clock or _MIDNIGHT))
            moment = _moment(written, zone, parameters.ambiguous, value)
            return write(_with_end(moment, parameters.inclusive, zone, parameters))
        except OpenEnd:
            return UNSET
        except OverflowError:
            raise InvalidValue("out_of_range", value, "is outside the years 1 to 9999 in UTC") from None

    return remembered(convert)


def _writer(result: str, site: Site) -> Callable[[datetime], str]:
    if result == "timestamp":
        return timestamp_text
    if result == "date":
        return lambda moment: moment.date().isoformat()
    used = _OUTPUTS.findall(result)
    if not used or not set(used) <= _WRITTEN_PARTS.keys():
        known = " ".join(f"%{name}" for name in _WRITTEN_PARTS)
        raise InvalidMapping(
            f"{site.key}.result", f"expected `timestamp`, `date`, or a form of {known}, got {result!r:.60}"
        )
    return lambda moment: _OUTPUTS.sub(lambda found: _WRITTEN_PARTS[found[1]](moment), result)


DATE = Transform(
    name="date",
    summary=(
        "A moment in UTC, or a day. What stands for no end (`infinity`, the last day of year 9999, the first of year "
        "1, `0000-00-00`) is blank. Names of months are not understood: they depend on a language."
    ),
    inputs=(ValueType.TEXT, ValueType.NUMBER),
    output=ValueType.TEXT,
    output_of=lambda parameters: {"timestamp": ValueType.TIMESTAMP, "date": ValueType.DATE}.get(
        parameters.result, ValueType.TEXT
    ),
    parameters=Date,
    main="format",
    per_item=True,
    build=date_function,
    refusals={
        "not_a_moment": "the value is not a date or a moment in any of the formats",
        "not_a_number": "the value is not a number, as a count from 1970 is",
        "no_offset": "the moment has no offset, and no `zone` is given",
        "no_such_hour": "the hour does not exist in the zone: clocks are put forward",
        "two_such_hours": "the hour exists twice in the zone: clocks are put back",
        "out_of_range": "the moment is outside the years 1 to 9999 in UTC",
    },
    examples=(
        Example({}, "2026-01-02T10:00:00+01:00", "2026-01-02T09:00:00Z"),
        Example({}, "2026-01-02 10:00:00.250+00", "2026-01-02T10:00:00.250000Z"),
        Example({"zone": "Europe/Berlin"}, "2026-03-31 00:00:00", "2026-03-30T22:00:00Z"),
        Example({"zone": "Europe/Berlin", "inclusive": "day"}, "2026-03-31", "2026-03-31T22:00:00Z"),
        Example({"zone": "UTC", "inclusive": "second"}, "2026-03-27T22:59:59", "2026-03-27T23:00:00Z"),
        Example({"format": "%m/%d/%y, %I:%M %p", "zone": "UTC"}, "3/2/26, 10:15 AM", "2026-03-02T10:15:00Z"),
        Example("epoch_milliseconds", 1767225600000, "2026-01-01T00:00:00Z"),
        Example({"result": "date"}, "2026-03-31T08:00:00+02:00", "2026-03-31"),
        Example({"result": "%d.%m.%Y", "zone": "Europe/Berlin"}, "2026-03-30T22:00:00Z", "31.03.2026"),
        Example({}, "9999-12-31T23:59:59.9999999", UNSET),
        Example({}, "infinity", UNSET),
        Example({}, "2026-01-01 10:00", refused="no_offset"),
        Example({"zone": "Europe/Berlin"}, "2026-03-29T02:30", refused="no_such_hour"),
        Example({"zone": "Europe/Berlin"}, "2026-10-25T02:30", refused="two_such_hours"),
        Example({"zone": "Europe/Berlin", "ambiguous": "later"}, "2026-10-25T02:30", "2026-10-25T01:30:00Z"),
        Example({}, "31.3.2026", refused="not_a_moment"),
        Example("epoch_seconds", Decimal("1.5"), "1970-01-01T00:00:01.500000Z"),
    ),
)

DATES = (DATE,)
