"""Fetches the tables that contracts need, for what comes in by a delivery."""

from pagefold.engine.configuration.config import Config
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.snapshots.request_limiter import RequestLimiter


async def fetch_tables(config: Config, limiter: RequestLimiter, source: str) -> None:
    """Fetches the tables that a source's contracts need. Raises `TableUnavailable`."""
    with needs_extra("a table from an endpoint", "rebuild"):
        from pagefold.engine.snapshots.lookups import fetch_for_delivery  # noqa: PLC0415  # few shops have any

    await fetch_for_delivery(config, source, limiter)
