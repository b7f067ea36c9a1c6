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
from pagefold.engine.snapshots.endpoint_pages import EndpointPages
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import NO_PROOF
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
        self._settings: SnapshotConfig = delta.asking_since(datetime.fromisoformat(note.since))
        self._notes = notes
        self._note = note
        self._clock = clock
        self._changed = _moment_at(delta.changed or "")
        self._newest: datetime | None = None
        self.report = SyncReport(note.source, note.since)

    async def execute(self) -> SyncReport:
        """Asks for all records, and wants the fetch of each. Raises `SourceFailed`, `SyncInProgress`."""
        source, settings = self._note.source, self._settings
        endpoint = endpoint_at(self._shop.config, f"sources.{source}.delta", settings, RequestLimiter())
        pages = EndpointPages(endpoint)
        async for page in pages.pages():
            if page.rows:
                await self._want(page.rows)
        if not pages.end.complete and pages.end.reason != NO_PROOF:
            raise SourceFailed(endpoint.name, f"the changes are incomplete: {pages.end.reason}")
        await self._complete()
        return self.report

    async def _want(self, rows: list[msgspec.Raw]) -> None:
        reader = self._shop.deliveries.reader("delta", self._note.source)
        if reader is None:
            raise self._shop.config.error(f"sources.{self._note.source}.delta", "is required")
        body = b"[%b]" % b",".join(map(bytes, rows))
        request = Request("delta", self._note.source, body, now())
        outcomes = await self._shop.deliveries.take(request, reader, compute_in_thread, self._shop.append)
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
            at = datetime.fromisoformat(at)
        if not isinstance(at, datetime):
            return
        self._newest = at if self._newest is None else max(self._newest, at)

    async def _complete(self) -> None:
        following = self._note.following
        if self._newest is not None:
            since = min(self._newest, self._clock()) - timedelta(seconds=self._delta.overlap_seconds)
            following = max(following, format_timestamp(since))
        report = self.report
        note = msgspec.structs.replace(
            self._note,
            complete=True,
            cursor=None,
            following=following,
            records=report.records,
            refused=report.refused,
            recorded_at=now(),
        )
        _, noted = await self._shop.append_noted([], self._notes.event(note))
        if not noted:
            raise SyncInProgress(report.source)


def _moment_at(path: str) -> Mapping:
    """Reads a time; one without an offset is in UTC."""
    with needs_extra("delta.changed", "contracts"):
        from pagefold.engine.plugins.transform_plugins import load_registry  # noqa: PLC0415  # only such a delta needs it
    compiler = Compiler(load_registry(), NestedScope(), conversions={ValueType.TIMESTAMP: {"zone": "UTC"}})
    return compiler.mapping(path, "changed", ValueType.TIMESTAMP)
