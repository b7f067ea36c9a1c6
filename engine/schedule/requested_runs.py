"""Does what operators have asked for, in the process that runs the schedule: rebuilds, verifications and syncs."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, assert_never

import anyio
import msgspec

from pagefold.engine.errors import ConfigurationError, PagefoldError, StoreError, SyncInProgress
from pagefold.engine.rebuild.excerpts import shorten, shorten_json
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.rebuild.run_observer import Finding, RunObserver
from pagefold.engine.replay.replayer import SectionDrift
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import (
    RebuildResult,
    RebuildWork,
    Request,
    SyncWork,
    TargetVerifyWork,
    VerifyResult,
    VerifyWork,
    Work,
    command_of_work,
)
from pagefold.engine.runtime.clock import moment, now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.schedule.tasks import (
    TaskOutcome,
    outcome_of_rebuild,
    outcome_of_sync,
    outcome_of_target,
    outcome_of_verify,
)
from pagefold.engine.shop import Shop
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.removal_brake import HeldDecision
from pagefold.projections.field_changes import FieldChange

POLL_SECONDS = 2.0
"""How often it is looked up what is asked for."""

MAX_WAIT = timedelta(hours=1)
"""After which a request is not taken up any more: nobody expects it then."""

TOO_LATE = "no worker took it up within an hour"

MAX_SYNC_ATTEMPTS = 60
RETRY_SECONDS = 1.0
"""How often, and after what pause, a sync is tried while another one of its source runs."""

MAX_EXAMPLES = 20
"""Orphans and drifted sections that a result has."""

MAX_FIELDS = 8
"""Fields of a drifted section that a result has."""

log = Logger(__name__)


class _Done(NamedTuple):
    """How something that was asked for ended, and what it found."""

    outcome: TaskOutcome
    result: bytes | None = None


class _Orphans(RunObserver):
    """Keeps some of the streams that a snapshot lacks."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        if drift == "orphan":
            self.kept += streams[: MAX_EXAMPLES - len(self.kept)]

    def start_over(self) -> None:
        self.kept = []


class RequestedRuns:
    """The requests of one shop. One of each kind is done at a time."""

    def __init__(self, shop: Shop, clock: Callable[[], datetime] = moment) -> None:
        self._shop = shop
        self._clock = clock
        self._records = shop.store.schedule
        self._requests = RequestService(shop)

    async def run(self) -> None:
        """Takes up requests as they come, until it is cancelled. Raises `StoreError`."""
        await run_together(
            *(partial(self._keep, kind) for kind in (RebuildWork, VerifyWork, TargetVerifyWork, SyncWork))
        )

    async def close_abandoned(self, detail: str) -> None:
        """Notes the requests whose process has ended: no other process takes any up."""
        for each in await self._requests.open():
            if each.run.state == "running":
                await self._records.end(each.number, "failed", detail, now())

    async def _keep(self, kind: type[Work]) -> None:
        while True:
            for each in await self._requests.open():
                if each.run.state == "requested" and isinstance(each.asked.work, kind):
                    await self._take_up(each)
            await anyio.sleep(POLL_SECONDS)

    async def _take_up(self, request: Request) -> None:
        """Does what is asked for, unless that was too long ago. Raises `StoreError` only."""
        if self._clock() - datetime.fromisoformat(request.run.due) > MAX_WAIT:
            await self._records.end(request.number, "stopped", TOO_LATE, now())
            return
        if not await self._records.take_up(request.number, now()):
            return
        done = _Done(TaskOutcome("stopped", "it was stopped"))
        try:
            with acting(_origin(request)):
                done = await self._do(request)
        except StoreError as error:
            done = _Done(TaskOutcome("failed", str(error)))
            raise
        except PagefoldError as error:
            done = _Done(TaskOutcome("failed", str(error)))
        except Exception as error:  # the consumers beside it must not stop for it
            done = _Done(TaskOutcome("failed", f"unexpected {type(error).__name__}; see the log of the worker"))
            log.error("a request failed", request=request.number, exc_info=error)  # noqa: TRY400  # ours has no other
        finally:
            outcome, result = done
            with anyio.CancelScope(shield=True):
                text = None if result is None else result.decode()
                await self._records.end(request.number, outcome.state, outcome.detail, now(), text)

    async def _do(self, request: Request) -> _Done:
        match request.asked.work:
            case RebuildWork() as work:
                return await self._rebuild(work)
            case VerifyWork() as work:
                return await self._verify(work)
            case TargetVerifyWork() as work:
                return await self._verify_target(work)
            case SyncWork() as work:
                return await self._sync(work)
            case _ as never:
                assert_never(never)

    async def _rebuild(self, work: RebuildWork) -> _Done:
        orphans = _Orphans()
        async with self._shop.rebuilds() as service:
            report = await service.rebuild(work.source, RebuildRequest(dry_run=work.dry_run), orphans)
        result = RebuildResult(report, [shorten(each) for each in orphans.kept])
        return _Done(outcome_of_rebuild(work.source, report), msgspec.json.encode(result))

    async def _verify(self, work: VerifyWork) -> _Done:
        kept: list[SectionDrift] = []

        def keep(drift: SectionDrift) -> None:
            if len(kept) < MAX_EXAMPLES:
                kept.append(_excerpt(drift))

        found = await self._shop.verify(sample=work.sample, on_drift=keep)
        result = VerifyResult(found.sections, found.changed, found.behind, kept)
        return _Done(outcome_of_verify(found), msgspec.json.encode(result))

    async def _verify_target(self, work: TargetVerifyWork) -> _Done:
        found = await self._shop.targets.verify(work.target, work.sample)
        return _Done(outcome_of_target(found), msgspec.json.encode(found))

    async def _sync(self, work: SyncWork) -> _Done:
        settings = self._shop.config.sources.get(work.source)
        if settings is None or settings.delta is None:
            raise ConfigurationError(f"sources.{work.source}.delta", "is required: the source has no delta any more")
        decision = HeldDecision(leaves_out=work.decision == "leave-out", expected=work.expected)
        for _ in range(MAX_SYNC_ATTEMPTS):
            try:
                return _Done(outcome_of_sync(await DeltaSync(self._shop, self._clock).run(work.source, decision)))
            except SyncInProgress:
                await anyio.sleep(RETRY_SECONDS)
        return _Done(TaskOutcome("attention", str(SyncInProgress(work.source))))


def _origin(request: Request) -> Origin:
    asked = request.asked
    return Origin(asked.via, asked.by, " ".join(["pagefold", *command_of_work(asked.work)]), asked.reason)


def _excerpt(drift: SectionDrift) -> SectionDrift:
    changes = [
        FieldChange(shorten(each.path), shorten_json(each.before), shorten_json(each.after))
        for each in drift.changes[:MAX_FIELDS]
    ]
    return msgspec.structs.replace(drift, changes=changes)
