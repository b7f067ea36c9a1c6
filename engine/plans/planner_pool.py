"""Plans all pages of a store, in this process or in several. If one of those is lost, this process does its rest."""

from collections.abc import Sequence

import anyio
import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.plans.page_view import PageView, SentView
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.plan_task import PlanTask
from pagefold.engine.plans.planner import OnPlanned, PlannedRange, Planner
from pagefold.engine.replay.line_process import LineProcess, ProcessLost
from pagefold.engine.replay.section_verifier import StreamRange, split_ranges
from pagefold.engine.replay.verifier_pool import RANGES_PER_PROCESS, process_count
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.store import Store

MAX_REPLY_BYTES = 256 * 1024 * 1024
"""The maximum length of a reply line. One with every change has all of some thousand products."""

MODULE = "pagefold.engine.plans.planner_process"

ALL = StreamRange("", "")

log = Logger(__name__)

_replies: msgspec.json.Decoder[PlannedRange | None] = msgspec.json.Decoder(PlannedRange | None)


def ignore(_: PlannedRange) -> None:
    """Does nothing."""


async def plan_pages(  # noqa: PLR0913  # what is compared, and how
    store: Store,
    before: PageView,
    after: PageView,
    *,
    on_planned: OnPlanned = ignore,
    every_change: bool = False,
    processes: int | None = 1,
    streams: StreamRange = ALL,
) -> Plan:
    """What is different in the pages of one view from those of another, of all SKUs or those of a range of streams.

    `on_planned` is called with each range of SKUs, and with `every_change` those have all of their changed pages. With
    `processes` above 1, that many processes fold; None starts one per processor if the log is large enough. Raises
    `LogReplaced`.
    """
    await store.proof.prove()
    processes = await process_count(store, processes)
    plan = Plan()

    def add(planned: PlannedRange) -> None:
        plan.merge(planned.plan)
        on_planned(planned)

    planner = Planner(store, before, after, every_change=every_change)
    if processes == 1 or streams != ALL:
        await planner.plan(streams, add)
        return plan
    ranges = await split_ranges(store, DOMAINS, RANGES_PER_PROCESS * processes)
    workers = _Workers(planner, PlanTask(SentView.of(before), SentView.of(after), every_change), ranges, add)
    await run_together(*[workers.run] * processes)
    return plan


class _Workers:
    """Takes ranges until none is left, each worker with a process of its own."""

    def __init__(self, planner: Planner, task: PlanTask, ranges: Sequence[StreamRange], add: OnPlanned) -> None:
        self._planner = planner
        self._task = task
        self._left = list(ranges)
        self._add = add

    async def run(self) -> None:
        """One worker."""
        if not self._left:
            return
        process = await LineProcess.start(MODULE, self._task, MAX_REPLY_BYTES)
        try:
            while self._left:
                await self._plan(process, self._left.pop())
        except ProcessLost as error:
            log.warning("a process that plans pages was lost", error=str(error))
        finally:
            with anyio.CancelScope(shield=True):
                await process.kill()
        while self._left:
            await self._planner.plan(self._left.pop(), self._add)

    async def _plan(self, process: LineProcess, streams: StreamRange) -> None:
        """Plans a range. If the process is lost, the rest is put back."""
        rest = streams
        try:
            await process.request(streams)
            while (planned := await self._receive(process)) is not None:
                rest = planned.rest
                self._add(planned)
        except ProcessLost:
            if not rest.ended:
                self._left.append(rest)
            raise

    @staticmethod
    async def _receive(process: LineProcess) -> PlannedRange | None:
        try:
            return _replies.decode(await process.reply())
        except msgspec.MsgspecError as error:
            raise ProcessLost(type(error).__name__) from error
