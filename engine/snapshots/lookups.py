"""Fetches the tables of contracts that endpoints have."""

from collections.abc import Sequence
from time import monotonic

import msgspec
import structlog

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceFailed, TableUnavailable
from pagefold.engine.intake.contracts.fetched_tables import FetchedTable, fetched_tables
from pagefold.engine.snapshots.endpoint_client import endpoint_at
from pagefold.engine.snapshots.endpoint_pages import open_pages
from pagefold.engine.snapshots.json_paths import value_at
from pagefold.engine.snapshots.page_sequence import all_rows
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.projections.transforms import InvalidMapping, LookupTable

RETRY_SECONDS = 60.0
"""A table that could not be fetched is not asked for again before."""

log = structlog.get_logger()


async def fetch_for_run(config: Config, source: str, limiter: RequestLimiter) -> None:
    """Fetches the tables of a source that are older than configured, for a run.

    If one cannot be fetched, the last one counts as long as configured; then raises `SourceFailed`.
    """
    for table in fetched_tables(config, source).values():
        async with table.lock:
            if not _is_due(table):
                continue
            try:
                await _fetch(config, source, table, limiter)
            except SourceFailed as error:
                age = None if table.fetched_at is None else monotonic() - table.fetched_at
                if age is None or age > table.settings.stale_seconds:
                    raise
                _warn(source, table, error)


async def fetch_for_delivery(config: Config, source: str, limiter: RequestLimiter) -> None:
    """Fetches the tables of a source that were never fetched, or are older than configured, for a delivery.

    The last one counts if it cannot be fetched, and while another delivery fetches it. Raises `TableUnavailable` if
    there is none.
    """
    for table in fetched_tables(config, source).values():
        is_there = table.fetched_at is not None
        if is_there and (table.lock.locked() or not _is_due(table)):
            continue
        async with table.lock:
            if not _is_due(table):
                continue
            try:
                await _fetch(config, source, table, limiter)
            except SourceFailed as error:
                if table.fetched_at is None:
                    raise TableUnavailable(table.name, error) from error
                _warn(source, table, error)


def _is_due(table: FetchedTable) -> bool:
    """Whether a table is to be fetched: its rows are old, and no attempt has just failed."""
    if table.fetched_at is None:
        return True
    at = monotonic()
    if at - table.fetched_at < table.settings.every_seconds:
        return False
    return table.tried_at is None or at - table.tried_at >= RETRY_SECONDS


def _warn(source: str, table: FetchedTable, error: SourceFailed) -> None:
    log.warning("a table could not be fetched; the last one counts", source=source, table=table.name, error=str(error))


async def _fetch(config: Config, source: str, table: FetchedTable, limiter: RequestLimiter) -> None:
    """Replaces the rows of a table by those of its endpoint. Raises `SourceFailed`."""
    table.tried_at = monotonic()
    endpoint = endpoint_at(config, f"sources.{source}.lookups.{table.name}", table.settings, limiter)
    rows = await all_rows(open_pages(endpoint), endpoint.name, "the table")
    try:
        found = LookupTable(table.name, (_row(raw, table) for raw in rows), locales=table.locales)
    except InvalidMapping as error:
        raise SourceFailed(endpoint.name, str(error)) from error
    except DECODE_ERRORS as error:
        raise SourceFailed(endpoint.name, f"a row is not JSON: {error}") from error
    table.replace(found, monotonic())


def _row(raw: msgspec.Raw, table: FetchedTable) -> tuple[object, object]:
    """The key and the value of a row. A row without a key is left out by the table."""
    settings = table.settings
    if settings.value is not None:
        return value_at(raw, settings.key), value_at(raw, settings.value)
    return value_at(raw, settings.key), _texts(raw, tuple(settings.values.values()))


def _texts(raw: msgspec.Raw, paths: Sequence[str]) -> tuple[object, ...]:
    return tuple(value_at(raw, path) or None for path in paths)
