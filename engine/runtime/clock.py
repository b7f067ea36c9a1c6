"""The only module that reads the time. No page depends on it."""

from datetime import UTC, datetime, timedelta

from pagefold.domains.values import format_timestamp


def moment() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def now() -> str:
    """The current time, as fixed-width UTC text."""
    return format_timestamp(moment())


def today() -> str:
    """The current day in UTC, such as `2027-01-31`."""
    return moment().date().isoformat()


def minute_of(at: datetime) -> int:
    """The minute of a time, counted since the epoch."""
    return int(at.timestamp()) // 60


def days_ago(days: float) -> str:
    """The time `days` ago, as fixed-width UTC text. Negative days are in the future."""
    return format_timestamp(datetime.now(UTC) - timedelta(days=days))


def seconds_ago(seconds: float) -> str:
    """The time `seconds` ago, as fixed-width UTC text."""
    return format_timestamp(datetime.now(UTC) - timedelta(seconds=seconds))


def seconds_since(timestamp: str) -> float:
    """How long ago a time was, at least 0 (clocks of different machines differ)."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
