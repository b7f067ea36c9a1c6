"""A source's snapshot: a file, an endpoint, or a query against its database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.intake.contracts.record_join import RECORDS
from pagefold.engine.intake.contracts.source_contracts import parts_problem
from pagefold.engine.runtime.task_groups import unwrap_group
from pagefold.engine.snapshots.contract_rows import JoinedRows
from pagefold.engine.snapshots.json_rows import fixed_parts
from pagefold.engine.snapshots.read_ahead import ReadAhead
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import Snapshot


@asynccontextmanager
async def open_snapshot(
    config: Config, source: str, *, traffic: RequestLimiter | None = None
) -> AsyncIterator[Snapshot]:
    """Opens a source's snapshot for the length of an `async with`.

    Snapshots that are read concurrently share `traffic`, so that together they keep to the limits of each server.

    The tables of its contract that endpoints have are fetched before.

    Raises `ConfigurationError`, also for a secret missing in the environment, and `SourceFailed`.
    """
    traffic = traffic or RequestLimiter()
    if source in config.sources and config.sources[source].lookups:
        from pagefold.engine.snapshots.lookups import fetch_for_run  # noqa: PLC0415  # a command waits for what it needs only

        await fetch_for_run(config, source, traffic)
    with unwrap_group():
        async with anyio.create_task_group() as group:
            yield _snapshot(config, source, group, traffic)
            group.cancel_scope.cancel()


def _snapshot(config: Config, source: str, group: TaskGroup, traffic: RequestLimiter) -> Snapshot:
    key = f"sources.{source}"
    if source not in config.sources:
        raise config.error(key, f"unknown source; {suggestion(source, config.sources, 'sources')}")
    settings = config.sources[source].snapshot
    if settings is None:
        raise config.error(f"{key}.snapshot", "is required: the source has no snapshot")
    fixed_parts(config, source)
    snapshot = _opened(config, source, settings, group, traffic)
    contract = None if snapshot.records is None else snapshot.records.contract
    if (problem := parts_problem(config, source, contract)) is not None:
        raise problem
    if not isinstance(snapshot.records, JoinedRows):
        return snapshot
    from pagefold.engine.snapshots.joined_snapshot import JoinedSnapshot  # noqa: PLC0415  # few contracts join records

    parts = {RECORDS: snapshot}
    for name in settings.more:
        part = settings.part(name)
        parts[name] = _opened(config.with_snapshot(source, part), source, part, group, traffic)
    return JoinedSnapshot(group, parts, snapshot.records)


def _opened(
    config: Config, source: str, settings: SnapshotConfig, group: TaskGroup, traffic: RequestLimiter
) -> ReadAhead:
    match settings.kind:
        case "file":
            from pagefold.engine.snapshots.file_snapshot import FileSnapshot  # noqa: PLC0415  # a command waits for what it needs only

            return FileSnapshot(config, source, group)
        case "url":
            from pagefold.engine.snapshots.http_snapshot import HTTPSnapshot  # noqa: PLC0415  # likewise

            return HTTPSnapshot(config, source, group, traffic)
        case "query":
            from pagefold.engine.snapshots.sql_snapshot import SQLSnapshot  # noqa: PLC0415  # likewise

            return SQLSnapshot(config, source, group)
