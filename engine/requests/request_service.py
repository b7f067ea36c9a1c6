"""Records what operators ask workers for, after checking that it can still be done as it was seen."""

from collections.abc import Sequence

import msgspec

from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.delivery.target_errors import UnknownTarget
from pagefold.engine.errors import CountChanged, Rejected, RequestConflict, UnknownRequest
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.requests.work_request import (
    RebuildWork,
    Request,
    SyncDecision,
    SyncWork,
    TargetVerifyWork,
    VerifyWork,
    Work,
    WorkRequest,
)
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.origin import current_origin
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import RequestedRun, sync_task
from pagefold.engine.stores.sync_notes import SyncNotes


class RequestService:
    """The requests of one shop. A worker takes each up within seconds, one of a kind and source at a time.

    Every request raises `Rejected` for a name or reason that is blank or no text, or for what cannot be asked for; and
    `RequestConflict` while one of the same kind and source has not ended. Each is in the audit, and nothing is recorded
    that is refused.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._records = shop.store.schedule

    def rebuilt_sources(self) -> list[str]:
        """The sources that have a snapshot."""
        return [name for name, source in self._shop.config.sources.items() if source.snapshot is not None]

    async def dry_run(self, source: str, *, by: str, reason: str) -> Request:
        """Asks for a dry run of a rebuild: what it would change, without writing."""
        self._check_snapshot(source)
        return await self._add("requests rebuild --dry-run", RebuildWork(source, dry_run=True), by, reason)

    async def start(self, number: int, *, by: str, reason: str, expected: int) -> Request:
        """Asks for the rebuild whose dry run was seen. It has the brake of every rebuild.

        Raises `CountChanged` if the dry run would change another number of streams than `expected`, `RequestConflict`
        if it found nothing yet, or if a rebuild of the source began after it; `UnknownRequest`.
        """
        seen = await self.get(number)
        work, result = seen.asked.work, seen.rebuilt()
        if not isinstance(work, RebuildWork) or not work.dry_run or result is None:
            raise RequestConflict(seen.run.task, f"the request {number} is no dry run that has ended well")
        if (found := changes_of(result.report)) != expected:
            raise CountChanged(expected, found)
        await self._check_newest(work.source, seen)
        self._check_snapshot(work.source)
        return await self._add("requests rebuild", RebuildWork(work.source, of=number), by, reason)

    async def verify(self, sample: int, *, by: str, reason: str) -> Request:
        """Asks for a comparison of some SKUs with the log, chosen at random."""
        return await self._add("requests verify", VerifyWork(sample), by, reason)

    async def verify_target(self, name: str, sample: int, *, by: str, reason: str) -> Request:
        """Asks for a comparison of a target with the pages, and of a sample with what it holds. `UnknownTarget`."""
        if name not in (targets := self._shop.targets.configs):
            raise UnknownTarget(name, list(targets))
        return await self._add("targets verify", TargetVerifyWork(name, sample), by, reason)

    async def decide_sync(self, source: str, decision: SyncDecision, *, by: str, reason: str, expected: int) -> Request:
        """Asks for a sync that appends what is held, or leaves it out. It is held again if it is more by then.

        Raises `RequestConflict` if nothing is held, `CountChanged` if another number of streams is.
        """
        sources = self._shop.config.sources
        if source not in sources or sources[source].delta is None:
            deltas = [name for name, each in sources.items() if each.delta is not None]
            raise Rejected("source", f"{source!r} has no delta; {suggestion(source, deltas, 'sources')}")
        note = await SyncNotes(self._shop.store, source).newest()
        if note is None or not note.held:
            raise RequestConflict(sync_task(source), "it is not held, or not any more")
        if note.removals != expected:
            raise CountChanged(expected, note.removals)
        return await self._add(f"requests sync --{decision}", SyncWork(source, decision, expected), by, reason)

    async def cancel(self, number: int, *, by: str, reason: str) -> Request:
        """Takes a request back that no worker has taken up.

        Raises `RequestConflict` if it has begun, or has ended; `UnknownRequest`; `Rejected` for a name or reason that
        is blank or no text.
        """
        check_operator(by)
        check_reason(reason)
        task = (await self.get(number)).run.task
        async with self._shop.audit.action("requests cancel", task, by=by, reason=reason) as current:
            current.details["request"] = number
            if not await self._records.cancel(number, f"cancelled by {by}: {reason}", now()):
                is_open = (await self.get(number)).is_open
                raise RequestConflict(task, f"the request {number} has {'begun' if is_open else 'ended'}")
        return await self.get(number)

    async def get(self, number: int) -> Request:
        """One request. Raises `UnknownRequest`."""
        found = await self._records.requested(number)
        if found is None:
            raise UnknownRequest(number)
        return request_of(found)

    async def open(self) -> Sequence[Request]:
        """The requests that have not ended, oldest first."""
        return [request_of(each) for each in await self._records.open_requests()]

    async def _add(self, action: str, work: Work, by: str, reason: str) -> Request:
        check_operator(by)
        check_reason(reason)
        request = WorkRequest(work, by, reason, current_origin().via)
        async with self._shop.audit.action(action, work.task, by=by, reason=reason) as current:
            number = await self._records.request(work.task, msgspec.json.encode(request).decode(), now())
            if number is None:
                raise RequestConflict(work.task, "this was asked for already, and has not ended yet")
            current.details["request"] = number
        return await self.get(number)

    async def _check_newest(self, source: str, seen: Request) -> None:
        """Raises `RequestConflict` if a rebuild of the source began after a dry run."""
        async with self._shop.rebuilds() as service:
            for newest in await service.newest(1, source):
                if newest.started_at >= seen.run.started_at:
                    why = f"the rebuild {newest.run} began after this dry run: make another one, and look again"
                    raise RequestConflict(seen.run.task, why)

    def _check_snapshot(self, source: str) -> None:
        if source not in (names := self.rebuilt_sources()):
            raise Rejected("source", f"{source!r} has no snapshot; {suggestion(source, names, 'sources')}")


def request_of(found: RequestedRun) -> Request:
    """A request, as the store has it."""
    return Request(found.run, msgspec.json.decode(found.request, type=WorkRequest), found.result)


def changes_of(report: RunReport) -> int:
    """How many streams a dry run would change: those that differ, and those that it would withdraw."""
    proves = report.complete and not report.counts.unreadable
    return report.drifted + (report.counts.orphans if proves else 0)
