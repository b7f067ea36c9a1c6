"""The only place that asks what time it is. No page depends on the answer."""

from datetime import UTC, datetime

from engine.door import format_moment


def now() -> str:
    """This moment, as fixed-width UTC text."""
    return format_moment(datetime.now(UTC))


def seconds_since(moment: str) -> float:
    """How long ago a moment was, never less than 0 (clocks of several machines differ)."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
