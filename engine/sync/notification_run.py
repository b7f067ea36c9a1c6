"""A run of a delta whose records are notifications: each makes a fetch, and what is fetched enters by itself."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.delta_config import DeltaConfig
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.dead_letters.webhook_retrier import Request
from pagefold.engine.errors import SourceFailed, SyncInProgress
from pagefold.engine.intake.formats.request_parts import RejectedPart, Wanted
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots.endpoint_client import endpoint_at
from pagefold.engine.snapshots.endpoint_pages import open_pages
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import UNPROVEN
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from pagefold.engine.sync.sync_report import SyncReport
from pagefold.projections.transforms import Compiler, InvalidValue, Mapping, NestedScope, ValueType


class NotificationRun:
    """One run of one source. Its note is written after the fetches of all records are kept.

    So a run that ends early is repeated, and a fetch that is wanted twice is one.
    """

    def __init__(
        self, shop: Shop, delta: DeltaConfig, notes: SyncNotes, note: SyncNote, clock: Callable[[], datetime]
    ) -> None:
        self._shop = shop
        self._delta = delta
        self._notes = notes
        self._note = note
        self._clock = clock
        self._changed = _moment_at(delta.changed or "")
        self._newest: datetime | None = None
        self.report = SyncReport(note.source, note.since)

    async def execute(self) -> SyncReport:
        """Asks for all records, period by period, and wants the fetch of each.

        Raises `SourceFailed`, `SyncInProgress`.
        """
        while True:
            since = datetime.fromisoformat(self._note.since)
            await self._read(self._delta.asking_since(since))
            until = self._delta.end_of_period(since)
            if until is None or until >= self._clock():
                break
            await self._write(msgspec.structs.replace(self._note, since=format_timestamp(until)))
        await self._write(msgspec.structs.replace(self._note, following=self._following()).completed())
        return self.report

    async def _read(self, settings: SnapshotConfig) -> None:
        limiter = RequestLimiter(self._shop.counters)
        endpoint = endpoint_at(self._shop.config, f"sources.{self._note.source}.delta", settings, limiter)
        pages = open_pages(endpoint)
        async for page in pages.pages():
            if page.rows:
                await self._want(page.rows)
        if not pages.end.complete and pages.end.reason not in UNPROVEN:
            raise SourceFailed(endpoint.name, f"the changes are incomplete: {pages.end.reason}")

    async def _want(self, rows: list[msgspec.Raw]) -> None:
        reader = self._shop.webhooks.reader("delta", self._note.source)
        if reader is None:
            raise self._shop.config.error(f"sources.{self._note.source}.delta", "is required")
        body = b"[%b]" % b",".join(map(bytes, rows))
        request = Request("delta", self._note.source, body, now())
        outcomes = await self._shop.webhooks.take(request, reader, compute_in_thread, self._shop.append)
        for number, part in enumerate(outcomes, self.report.records + 1):
            self.report.wanted += any(isinstance(each, Wanted) for each in part)
            for each in part:
                if isinstance(each, RejectedPart):
                    self.report.refuse(f"row {number}: {each.rejection}")
        self.report.records += len(rows)
        for row in rows:
            self._note_change(row)

    def _note_change(self, row: msgspec.Raw) -> None:
        try:
            at = self._changed.read(msgspec.json.decode(row))
        except (InvalidValue, msgspec.MsgspecError):
            return
        if isinstance(at, str):
            changed = datetime.fromisoformat(at)
            self._newest = changed if self._newest is None else max(self._newest, changed)

    def _following(self) -> str:
        """Since when the next run asks: as in a run that reads the records themselves."""
        if self._newest is None:
            return self._note.following
        since = min(self._newest, self._clock()) - timedelta(seconds=self._delta.overlap_seconds)
        return max(self._note.following, format_timestamp(since))

    async def _write(self, note: SyncNote) -> None:
        """Writes a note. Raises `SyncInProgress` if another process noted more."""
        counts = {"records": self.report.records, "refused": self.report.refused}
        self._note = msgspec.structs.replace(note, **counts, recorded_at=now())
        _, noted = await self._shop.append_noted([], self._notes.event(self._note))
        if not noted:
            raise SyncInProgress(self.report.source)
        self._notes.number += 1


def _moment_at(path: str) -> Mapping:
    """Reads a time; one without an offset is in UTC."""
    with needs_extra("delta.changed", "contracts"):
        from pagefold.engine.plugins.transform_plugins import load_registry  # noqa: PLC0415  # only such a delta needs it
    compiler = Compiler(load_registry(), NestedScope(), conversions={ValueType.TIMESTAMP: {"zone": "UTC"}})
    return compiler.mapping(path, "changed", ValueType.TIMESTAMP)
