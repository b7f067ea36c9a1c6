"""Folds pages under two configurations from the same events, and compares them. Writes nothing, and takes no locks."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import chain
from typing import TypeAlias

import msgspec

from pagefold.domains import DOMAINS, AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.parent_reader import Spellings
from pagefold.engine.plans.logged_spellings import LoggedSpellings
from pagefold.engine.plans.page_changes import ComparedPages, PageChange, PageComparer
from pagefold.engine.plans.plan import Plan
from pagefold.engine.replay.section_verifier import MAX_STEP_BYTES, STEP_STREAMS, ScanStep, StreamRange, next_step
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.task_groups import prefetch
from pagefold.engine.stores.log_records import ScannedHeads, StoredEvent
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


class Planner:
    """Plans the change of one store's pages from one configuration to another.

    With `every_change`, it gives every changed page, not only samples.
    """

    def __init__(self, store: Store, before: Config, after: Config, *, every_change: bool = False) -> None:
        self._store = store
        self._folds = [_DomainPlan(store, domain, before, after) for domain in DOMAINS]
        self._suffixes = list(chain.from_iterable(fold.suffixes for fold in self._folds))
        # the heads are in memory in several forms, with the sections of both configurations
        self._max_bytes = MAX_STEP_BYTES // (4 + len(before.channels) + len(after.channels))
        self._comparer = PageComparer(before.resolved_channels, after.resolved_channels)
        self._every_change = every_change

    async def plan(self, streams: StreamRange, on_planned: OnPlanned) -> None:
        """Plans a range of streams, some thousand at a time. While they are folded, the next are read."""
        async with prefetch(self._steps(streams)) as steps:
            async for step in steps:
                on_planned(await self._planned(step))

    async def _steps(self, rest: StreamRange) -> AsyncGenerator[ScanStep, None]:
        while not rest.ended:
            step = await next_step(rest, self._scan)
            rest = step.rest
            yield step

    async def _scan(self, after: str, below: str, limit: int) -> ScannedHeads:
        """If there are more streams than usual, they are all of one SKU, and more bytes are allowed, too."""
        max_bytes = self._max_bytes * max(limit // STEP_STREAMS, 1)
        return await self._store.log.scan(self._suffixes, after=after, below=below, limit=limit, max_bytes=max_bytes)

    async def _planned(self, step: ScanStep) -> PlannedRange:
        before: _Sections = {}
        after: _Sections = {}
        for fold in self._folds:
            old, new = await fold.sections(step.heads)
            for sections, found in ((before, old), (after, new)):
                for each in found:
                    if each.contents:
                        sections.setdefault(each.sku, {})[each.domain] = each
        skus = list(map(decode_part, step.skus))
        compared = await compute_in_thread(lambda: self._compared(skus, before, after))
        count = sum(len(each.channels) for own in before.values() for each in own.values())
        changes = [change for each in compared for change in each.changes] if self._every_change else []
        return PlannedRange(Plan.of(compared), count, step.rest, changes)

    def _compared(self, skus: Sequence[str], before: _Sections, after: _Sections) -> list[ComparedPages]:
        return [self._comparer.compare(sku, before.get(sku, {}), after.get(sku, {})) for sku in skus]


class _DomainPlan:
    """One domain under two configurations: folded once if they give it the same sections."""

    def __init__(self, store: Store, domain: AnyDomain, before: Config, after: Config) -> None:
        sources = dict.fromkeys([*before.counting_sources(domain.name), *after.counting_sources(domain.name)])
        self.suffixes = tuple(f"/{domain.name}/{encode_part(source)}" for source in sources)
        self._domain = domain.name
        self._before = Folder(domain, before.resolved_channels, store.log)
        differs = before.fingerprint(domain) != after.fingerprint(domain)
        self._after = Folder(domain, after.resolved_channels, store.log) if differs else None
        self._known: Spellings = store.references  # as the configuration before keeps them
        self._spellings: Spellings = store.references
        if self._after is not None and set(self._after.ignoring_case).difference(self._before.ignoring_case):
            self._spellings = LoggedSpellings(store.log)

    async def sections(self, heads: Sequence[StoredEvent]) -> tuple[list[SharedSections], list[SharedSections]]:
        """The sections before and after. Events that cannot be folded count as they do for a consumer."""
        own = [head for head in heads if head[4] == self._domain and head[1].endswith(self.suffixes)]
        before = (await self._before.sections(own, self._known)).sections
        return before, before if self._after is None else (await self._after.sections(own, self._spellings)).sections
