"""Folds the pages of two views from the same scan of the log, and compares them. Writes nothing, and takes no locks."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS, AnyDomain
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.folding.logged_spellings import spellings_for
from pagefold.engine.plans.page_changes import ComparedPages, PageChange, PageComparer
from pagefold.engine.plans.page_view import PageView
from pagefold.engine.plans.paired_folder import PairedFolder
from pagefold.engine.plans.plan import Plan
from pagefold.engine.replay.section_verifier import (
    EMPTY_RANGE,
    MAX_STEP_BYTES,
    STEP_STREAMS,
    ScanStep,
    StreamRange,
    next_step,
)
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.task_groups import prefetch
from pagefold.engine.stores.log_records import ScannedHeads, StoredEvent
from pagefold.engine.stores.past_log import HeadReader, PastLog, heads_as_of
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import Store
from pagefold.projections import SharedSections
from pagefold.projections.streams import decode_part, encode_part

_Sections: TypeAlias = dict[str, dict[str, SharedSections]]
"""Sections by SKU and domain."""


class PlannedRange(msgspec.Struct, frozen=True, array_like=True):
    """The plan of some SKUs, the number of their sections before, and the range that is left.

    `changes` are all of the pages that change, if they were asked for.
    """

    plan: Plan
    sections: int
    rest: StreamRange
    changes: list[PageChange] = []


OnPlanned: TypeAlias = Callable[[PlannedRange], None]

PlanRange: TypeAlias = Callable[[StreamRange, OnPlanned], Awaitable[None]]
"""A function that plans a range, as `Planner.plan` does."""


class _ViewedStep(NamedTuple):
    """Some SKUs, encoded as in the log, the heads that decide their pages in both views, and the range after them."""

    skus: Sequence[str]
    before: Sequence[StoredEvent]
    after: Sequence[StoredEvent]
    rest: StreamRange


class Planner:
    """Plans the change of one store's pages from one view to another.

    With `every_change`, it gives every changed page, not only samples.
    """

    def __init__(self, store: Store, before: PageView, after: PageView, *, every_change: bool = False) -> None:
        self._store = store
        self._before, self._after = before, after
        self._folds = [_DomainPlan(store, domain, before, after) for domain in DOMAINS]
        self._suffixes = list(chain.from_iterable(fold.suffixes for fold in self._folds))
        # the heads are in memory in several forms, with the sections of both views
        self._max_bytes = MAX_STEP_BYTES // (4 + len(before.config.channels) + len(after.config.channels))
        self._comparer = PageComparer(before.channels, after.channels)
        self._every_change = every_change

    async def plan(self, streams: StreamRange, on_planned: OnPlanned) -> None:
        """Plans a range of streams, some thousand at a time. While they are folded, the next are read."""
        async with prefetch(self._steps(streams)) as steps:
            async for step in steps:
                on_planned(await self._planned(step))

    async def plan_skus(self, skus: Sequence[str], on_planned: OnPlanned) -> None:
        """Plans some SKUs, encoded as in the log."""
        streams = [each for each in await self._store.log.streams_of(skus) if each.endswith(tuple(self._suffixes))]
        heads = await self._store.log.heads(streams)
        async for step in self._viewed(ScanStep(list(skus), heads, EMPTY_RANGE)):
            on_planned(await self._planned(step))

    async def _steps(self, rest: StreamRange) -> AsyncGenerator[_ViewedStep, None]:
        while not rest.ended:
            step = await next_step(rest, self._scan)
            rest = step.rest
            async for part in self._viewed(step):
                yield part

    async def _viewed(self, step: ScanStep) -> AsyncGenerator[_ViewedStep, None]:
        """A step with the heads in both views, in parts if those that were are larger than those that are."""
        chunks_left: list[Sequence[str]] = [step.skus]
        while chunks_left:
            skus = chunks_left.pop()
            heads = step.heads if len(skus) == len(step.skus) else _heads_of(skus, step.heads)
            try:
                before, after = await self._heads(heads, self._max_bytes if len(skus) > 1 else None)
            except ReadTooLarge as error:
                chunks_left += split_equal(skus, error.parts)[::-1]
                continue
            rest = StreamRange(f"{chunks_left[-1][0]}/", step.rest.below) if chunks_left else step.rest
            yield _ViewedStep(skus, before, after, rest)

    async def _heads(
        self, heads: Sequence[StoredEvent], max_bytes: int | None
    ) -> tuple[Sequence[StoredEvent], Sequence[StoredEvent]]:
        """The heads in both views. Those of the earlier position are found from those of the later one."""
        log, before, after = self._store.log, self._before.end, self._after.end
        later = await heads_as_of(log, heads, max(before, after), max_bytes)
        earlier = await heads_as_of(log, later, min(before, after), max_bytes)
        return (later, earlier) if before > after else (earlier, later)

    async def _scan(self, after: str, below: str, limit: int) -> ScannedHeads:
        """If there are more streams than usual, they are all of one SKU, and more bytes are allowed, too."""
        max_bytes = self._max_bytes * max(limit // STEP_STREAMS, 1)
        return await self._store.log.scan(self._suffixes, after=after, below=below, limit=limit, max_bytes=max_bytes)

    async def _planned(self, step: _ViewedStep) -> PlannedRange:
        before: _Sections = {}
        after: _Sections = {}
        for fold in self._folds:
            old, new = await fold.sections(step.before, step.after)
            for sections, view, found in ((before, self._before, old), (after, self._after, new)):
                for each in view.shown(found):
                    sections.setdefault(each.sku, {})[each.domain] = each
        skus = list(map(decode_part, step.skus))
        compared, plan = await compute_in_thread(lambda: self._compared(skus, before, after))
        count = sum(len(each.channels) for own in before.values() for each in own.values())
        changes = [change for each in compared for change in each.changes] if self._every_change else []
        return PlannedRange(plan, count, step.rest, changes)

    def _compared(self, skus: Sequence[str], before: _Sections, after: _Sections) -> tuple[list[ComparedPages], Plan]:
        compared = [self._comparer.compare(sku, before.get(sku, {}), after.get(sku, {})) for sku in skus]
        return compared, Plan.of(compared)


class _DomainPlan:
    """One domain in two views: folded once where they give it the same sections, and at once where they share heads."""

    def __init__(self, store: Store, domain: AnyDomain, before: PageView, after: PageView) -> None:
        sources = dict.fromkeys(
            [*before.config.counting_sources(domain.name), *after.config.counting_sources(domain.name)]
        )
        self.suffixes = tuple(f"/{domain.name}/{encode_part(source)}" for source in sources)
        self._domain = domain.name
        self._before = HeadFolder(domain, before.config.resolved_channels, _log_of(store, before))
        self._is_one_moment = before.end == after.end
        self._folds_alike = before.config.fingerprint(domain) == after.config.fingerprint(domain)
        self._after = (
            self._before.reading(_log_of(store, after))
            if self._folds_alike
            else HeadFolder(domain, after.config.resolved_channels, _log_of(store, after))
        )
        self._paired: PairedFolder | None = None
        if self._is_one_moment and not (self._folds_alike or self._before.reads_others or self._after.reads_others):
            channels = before.config.resolved_channels, after.config.resolved_channels
            self._paired = PairedFolder(domain, *channels, _log_of(store, before))
        self._spellings = [
            spellings_for(store, folder.ignoring_case, view.spelled)
            for folder, view in ((self._before, before), (self._after, after))
        ]

    async def sections(
        self, before: Sequence[StoredEvent], after: Sequence[StoredEvent]
    ) -> tuple[list[SharedSections], list[SharedSections]]:
        """The sections before and after. Events that cannot be folded count as they do for a consumer."""
        old = self._own(before)
        new = old if after is before else self._own(after)
        if self._paired is not None and new is old:
            paired = await self._paired.sections(old)
            left = _heads_of(paired.left, old) if paired.left else []
            sections, others = await self._folded(left, left)
            return paired.before + sections, paired.after + others
        return await self._folded(old, new)

    async def _folded(
        self, old: list[StoredEvent], new: list[StoredEvent]
    ) -> tuple[list[SharedSections], list[SharedSections]]:
        folded = await self._before.sections(old, self._spellings[0])
        # the same heads give the same, unless other SKUs or older versions may have come between two moments
        may_differ = not self._is_one_moment and (self._before.reads_others or bool(folded.older))
        if self._folds_alike and new == old and not may_differ:
            return folded.sections, folded.sections
        return folded.sections, (await self._after.sections(new, self._spellings[1])).sections

    def _own(self, heads: Sequence[StoredEvent]) -> list[StoredEvent]:
        return [head for head in heads if head[4] == self._domain and head[1].endswith(self.suffixes)]


def _heads_of(skus: Collection[str], heads: Sequence[StoredEvent]) -> list[StoredEvent]:
    wanted = set(skus)
    return [head for head in heads if head.originator_id.partition("/")[0] in wanted]


def _log_of(store: Store, view: PageView) -> HeadReader:
    return store.log if view.as_of is None else PastLog(store.log, view.as_of)
