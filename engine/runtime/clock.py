"""The only place that asks what time it is. No page depends on the answer."""

from datetime import UTC, datetime, timedelta

from pagefold.domains.values import format_timestamp


def now() -> str:
    """This moment, as fixed-width UTC text."""
    return format_timestamp(datetime.now(UTC))


def days_ago(days: float) -> str:
    """The moment so many days before this one, as fixed-width UTC text. Fewer than 0 are ahead."""
    return format_timestamp(datetime.now(UTC) - timedelta(days=days))


def seconds_since(moment: str) -> float:
    """How long ago a moment was, never less than 0 (clocks of several machines differ)."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
