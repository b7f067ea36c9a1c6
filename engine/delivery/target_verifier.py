"""Compares what a target is to hold with its pages, and a sample of what it does hold with its receipts.

What the marker has missed is marked, and what the target has lost or changed is delivered again: catching up is the
only repair there is.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import NOTHING, WITHDRAWAL_TAG, document_maker
from pagefold.engine.delivery.target_group import TargetGroup
from pagefold.engine.delivery.target_kind import PageKey, TargetKind
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.clock import minute_of, moment
from pagefold.engine.stores.delivery_records import (
    FIRST_KEY,
    UNKNOWN,
    DeliveryKey,
    StoredDelivery,
    Wanted,
    group_target,
)
from pagefold.engine.stores.kpi_records import DELIVERIES_COMPARED, DELIVERIES_DIFFERING, KpiPoint
from pagefold.engine.stores.store import Store

STEP_PAGES = 500
MAX_SAMPLES = 20

OnProgress = Callable[[int], None]


class TargetDifference(msgspec.Struct, frozen=True, rename="camel"):
    """A page that a target holds otherwise than its receipt says: `missing`, `differs`, or `surplus`."""

    sku: str
    channel: str
    what: str


class TargetVerification(msgspec.Struct, frozen=True, rename="camel"):
    """What was compared, and what differed.

    Of `pages`, the target holds `current` ones as they are, by its receipts; the others wait, or are dead. `unmarked`
    ones were not known to wait: they are marked now. Of `read` pages that were read back, `differing` were not what the
    receipts say: they are delivered again; `samples` has some. `read` is None if the target cannot be read.
    """

    pages: int
    current: int
    unmarked: int
    read: int | None
    differing: int
    samples: Sequence[TargetDifference]

    @property
    def drift(self) -> float:
        """The share of pages that the target does not hold as they are, by receipts, in percent."""
        return 100 * (self.pages - self.current) / self.pages if self.pages else 0.0

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers, as the audit has them."""
        names = ("pages", "current", "unmarked", "read", "differing")
        return {name: number for name in names if (number := getattr(self, name)) is not None}

    @property
    def worst(self) -> "ComparedPages":
        """What was not known to differ: of all pages, or of those that were read back, the larger share."""
        found = [ComparedPages(self.pages, self.unmarked), ComparedPages(self.read or 0, self.differing)]
        return max(found, key=lambda each: each.differing / each.compared if each.compared else 0.0)


class ComparedPages(NamedTuple):
    """How many pages were compared, and how many of them differed."""

    compared: int
    differing: int


class TargetVerifier:
    """Verifies one target. What its `saga` has not completed is not held as the page is, and is no surprise."""

    def __init__(
        self, name: str, target: TargetConfig, store: Store, pages: PageReader, saga: str | None = None
    ) -> None:
        self._name, self._target, self._store, self._pages = name, target, store, pages
        self._group = None if saga is None else group_target(saga)
        self._make = document_maker(target)

    async def run(self, kind: TargetKind | None, sample: int, progress: OnProgress) -> TargetVerification:
        """Compares every page, then reads some back, and records what was found for the key figures.

        Raises `StoreError`, `TargetUnreadable`.
        """
        found = await self._compare(kind, sample, progress)
        minute = minute_of(moment())
        await self._store.kpis.record(
            [
                KpiPoint(DELIVERIES_COMPARED, self._name, minute, found.worst.compared),
                KpiPoint(DELIVERIES_DIFFERING, self._name, minute, found.worst.differing),
            ]
        )
        return found

    async def _compare(self, kind: TargetKind | None, sample: int, progress: OnProgress) -> TargetVerification:
        pages = current = unmarked = 0
        held = _Reservoir(sample)
        async for expected in self._expected():
            rows = {(row.sku, row.channel): row for row in await self._rows(expected)}
            missed: list[Wanted] = []
            for key, tag in expected.items():
                row = rows.get(key)
                if tag == WITHDRAWAL_TAG and (row is None or not row.acked_tag):
                    continue
                pages += 1
                acked = None if row is None else row.acked_tag
                current += acked == tag
                if (row is None or row.wanted_tag != tag) and acked != tag:
                    missed.append(Wanted(*key, tag, 0 if row is None else row.wanted_position))
                elif acked == tag and row is not None and row.state == "current":
                    held.add(row)
            unmarked += await self._mark(missed)
            progress(len(expected))
        if kind is None or not sample:
            return TargetVerification(pages, current, unmarked, None, 0, [])
        differences = await self._read_back(kind, held.rows)
        if differences is None:
            return TargetVerification(pages, current, unmarked, None, 0, [])
        await self._store.deliveries.redeliver(
            self._name, {DeliveryKey(each.sku, each.channel) for each in differences}
        )
        return TargetVerification(pages, current, unmarked, len(held.rows), len(differences), differences[:MAX_SAMPLES])

    async def _expected(self) -> AsyncIterator[Mapping[tuple[str, str], str]]:
        """The tags of all pages, and of all rows without a page, in steps."""
        chunk: list[tuple[str, str]] = []
        async for key in self._store.pages.keys():
            if not self._target.channels or key[1] in self._target.channels:
                chunk.append(key)
            if len(chunk) >= STEP_PAGES:
                yield await self._tags(chunk)
                chunk = []
        if chunk:
            yield await self._tags(chunk)
        after = FIRST_KEY
        while rows := await self._store.deliveries.rows(self._name, after, STEP_PAGES):
            after = DeliveryKey(rows[-1].sku, rows[-1].channel)
            tags = await self._tags([(row.sku, row.channel) for row in rows])
            gone = {key: tag for key, tag in tags.items() if tag == WITHDRAWAL_TAG}
            if gone:
                yield gone

    async def _tags(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        found = dict.fromkeys(keys, NOTHING.tag)
        for channel in {channel for _, channel in keys}:
            if self._target.channels and channel not in self._target.channels:
                continue
            pages = await self._pages.get_many_json([sku for sku, own in keys if own == channel], channel)
            found.update({(sku, channel): self._make(page).tag for sku, page in pages.items()})
        return found

    async def _rows(self, expected: Mapping[tuple[str, str], str]) -> Sequence[StoredDelivery]:
        return await self._store.deliveries.receipts({sku for sku, _ in expected}, self._name)

    async def _mark(self, missed: Sequence[Wanted]) -> int:
        """Marks pages, unless a marker does so at this moment: then it sees them itself, or the next run does."""
        if not missed:
            return 0
        if self._group is not None:
            return await self._demand(self._group, {DeliveryKey(each.sku, each.channel) for each in missed})
        cursor = await self._store.deliveries.cursor(self._name)
        if not cursor:
            return 0
        return await self._store.deliveries.mark(self._name, cursor, cursor, missed, unsent_withdrawals=True) or 0

    async def _demand(self, group: str, missed: set[DeliveryKey]) -> int:
        """Has the group look at pages that it takes to be completed."""
        deliveries = self._store.deliveries
        rows = await deliveries.receipts({key.sku for key in missed}, group)
        keys = missed.difference(DeliveryKey(row.sku, row.channel) for row in rows if row.state != "current")
        return len(keys) if keys and await TargetGroup(group, deliveries).demand(keys) else 0

    async def _read_back(self, kind: TargetKind, rows: Sequence[StoredDelivery]) -> list[TargetDifference] | None:
        found: list[TargetDifference] = []
        for start in range(0, len(rows) or 1, STEP_PAGES):
            some = rows[start : start + STEP_PAGES]
            held = await kind.read([PageKey(row.sku, row.channel) for row in some])
            if held is None:
                return None
            for row in some:
                tag = held.get(PageKey(row.sku, row.channel), WITHDRAWAL_TAG)
                if tag != row.acked_tag:
                    what = "missing" if not tag else "differs" if row.acked_tag else "surplus"
                    found.append(TargetDifference(row.sku, row.channel, what))
        return found


class _Reservoir:
    """A sample of rows that are added one after another, each with the same chance."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen = 0
        self._random = random.SystemRandom()
        self.rows: list[StoredDelivery] = []

    def add(self, row: StoredDelivery) -> None:
        """Adds one."""
        if row.acked_tag in (None, UNKNOWN):
            return
        self._seen += 1
        if len(self.rows) < self._size:
            self.rows.append(row)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self.rows[place] = row
