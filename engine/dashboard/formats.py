"""How numbers, times and values are written for people."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup

MAX_VALUE_CHARACTERS = 2_000
"""Characters of one value on a page. What is longer is cut, and says so."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400
NOTHING = "–"


def number(value: float | None, digits: int = 0) -> str:
    """A number with separators; a dash if it is unknown."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def bounded(count: int, limit: int) -> str:
    """A count that stops at a limit, such as `10,000+`."""
    return f"{limit:,}+" if count > limit else f"{count:,}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count and its noun, such as `1 page` and `2 pages`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units, such as `6 min 12 s`."""
    if seconds is None:
        return NOTHING
    if seconds < 10:  # noqa: PLR2004  # below, tenths count
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, smaller, rest in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s")):
        if whole >= unit:
            more = whole % unit // smaller
            return f"{whole // unit} {name} {more} {rest}" if more else f"{whole // unit} {name}"
    return f"{whole} s"


def clock_text(moment: datetime | str, now: datetime) -> str:
    """A time in UTC for people: without its date if that is today, without its seconds if it is not."""
    at = (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).astimezone(UTC)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    same_year = at.year == now.year
    return f"{at.day} {at:%b %H:%M}" if same_year else f"{at.day} {at:%b} {at.year}"


def iso_text(moment: datetime | str) -> str:
    """A time as machines write it, without fractions."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def value_text(value: object, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """A value of a page or a payload as text: strings as they are, all others as JSON. Cut if it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + "…"


def pretty_json(value: object) -> str:
    """A document as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=1)


def attributes(values: Mapping[str, object]) -> Markup:
    """HTML attributes, escaped, each with a leading space; those that are None are left out."""
    template = Markup(' {}="{}"')
    return Markup().join(template.format(name, value) for name, value in values.items() if value is not None)
