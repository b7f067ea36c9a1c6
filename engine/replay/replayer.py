"""Every page again, from the log: after a change of the configuration or the code, or to see whether any has drifted.

Nothing stands still for it. It reads the newest events of some thousand SKUs, folds them, and looks whether just that
stands there; for this it takes no lock. Where it does not, it reads and folds again in the domain's transaction, for as
long as a consumer's batch takes, and sees what has drifted: the consumer may only have been faster. Readers see whole
sections, and never an older one.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import SystemRandom
from typing import Literal, TypeAlias

import anyio
import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.folder import FoldedSections
from pagefold.engine.replay.section_verifier import (
    EMPTY_RANGE,
    MAX_STEP_BYTES,
    STEP_STREAMS,
    ScanStep,
    SectionVerifier,
    StreamRange,
    VerifiedRange,
    Verify,
    prefix_range,
)
from pagefold.engine.replay.verifier_pool import VerifierPool
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from pagefold.engine.stores.store import FoldTransaction, Log, Store, StoredEvent
from pagefold.projections import Section
from pagefold.projections.field_changes import FieldChange, changes_between, flatten
from pagefold.projections.streams import decode_part, encode_part

MAX_TRANSACTION_SECONDS = 0.15
"""A transaction ends after the step in which it grew so old: consumers wait no longer."""

SAMPLED_SKUS = 500
"""So many SKUs of a sample are compared in a step."""

_random = SystemRandom()

SectionDriftKind: TypeAlias = Literal["differs", "lost", "surplus"]


class SectionDrift(msgspec.Struct, frozen=True):
    """A section that is not what the log says: it differs, has no row, or has one that nothing in the log accounts for.

    `changes` are from what stood there to what must be.
    """

    sku: str
    channel: str
    domain: str
    kind: SectionDriftKind
    changes: list[FieldChange]


_SectionsByKey: TypeAlias = Mapping[tuple[str, str], Section]
OnDrift: TypeAlias = Callable[[SectionDrift], None]
OnProgress: TypeAlias = Callable[[int], None]
Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[FoldTransaction]]


class ReplayResult(msgspec.Struct, frozen=True):
    """What was found: `sections` in all; `changed` had drifted; `behind` wait for their consumer, as they should."""

    sections: int = 0
    changed: int = 0
    behind: int = 0

    def __add__(self, other: "ReplayResult") -> "ReplayResult":
        """Both together."""
        return ReplayResult(self.sections + other.sections, self.changed + other.changed, self.behind + other.behind)

    @property
    def drift(self) -> float:
        """The share of the sections that had drifted, in percent."""
        return 100 * self.changed / self.sections if self.sections else 100.0 * bool(self.changed)


class _Part:
    """Some of a domain's streams: which are left, and what was found, and how many rows stand there, of the others."""

    def __init__(self, span: StreamRange) -> None:
        self.rest = span
        self.found = ReplayResult()
        self.rows = 0


def ignore(_: object) -> None:
    """Hears, and does nothing."""


class Replayer:
    """Folds the pages of the domain of a looker again. Writes what had drifted, unless it is only asked to look.

    `begin` begins its transactions: those of a repair, unless others are given.
    """

    def __init__(
        self,
        store: Store,
        verifier: SectionVerifier,
        *,
        begin: Begin | None = None,
        on_drift: OnDrift = ignore,
        on_progress: OnProgress = ignore,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._domain = verifier.domain
        self._begin = begin or partial(store.coordination.fold_transaction, verifier.domain)
        self._on_drift = on_drift
        self._on_progress = on_progress
        self._lock = anyio.Lock()

    async def run(self, *, prefix: str = "", write: bool = True, pool: VerifierPool | None = None) -> ReplayResult:
        """Every section of the domain, or those of the SKUs that begin with a prefix. A pool looks at parts of all."""
        verify: Verify = self._verifier.verify
        ranges: Sequence[StreamRange] = [prefix_range(prefix)]
        if pool is not None and not prefix:
            verify = partial(pool.verify, self._domain, fallback=verify)
            ranges = pool.ranges
        parts = [_Part(rest) for rest in ranges]
        since = await self._store.log.end()
        await run_together(*(partial(self._replay_range, part, verify, write=write) for part in parts))
        found = sum((part.found for part in parts), ReplayResult())
        if not prefix and sum(part.rows for part in parts) == await self._store.pages.count(self._domain):
            return found
        return found + await self._surplus(prefix, since, write=write)

    async def _replay_range(self, part: _Part, verify: Verify, *, write: bool) -> None:
        """Every section of a part: looks, and settles what is not as it must be, and looks on from there."""
        dead_letters = await self._dead_letters()
        read_only = not dead_letters
        while not part.rest.ended:
            if read_only:
                await verify(part.rest, partial(self._record, part))
            if not part.rest.ended:
                async with self._lock:
                    repaired = await self._transaction(part, write=write)
                dead_letters = dead_letters and await self._dead_letters()
                read_only = not dead_letters and repaired == ReplayResult(repaired.sections)

    async def sample(self, skus: Sequence[str]) -> ReplayResult:
        """The sections of some SKUs, as they are written in the log, without writing."""
        found = ReplayResult()
        for start in range(0, len(skus), SAMPLED_SKUS):
            async with self._begin() as folding:
                async for step in self._verifier.steps_of(skus[start : start + SAMPLED_SKUS]):
                    found += (await self._repair_step(folding, step, write=False))[0]
        return found

    async def _dead_letters(self) -> int:
        """How many events are in dead letters. Those that can be folded now will be resolved, in a transaction."""
        return await self._store.dead_letters.count(DeadLetterFilter("projection", self._domain))

    def _record(self, part: _Part, verified: VerifiedRange) -> None:
        part.rest = verified.rest
        part.found += ReplayResult(verified.sections)
        part.rows += verified.sections
        self._on_progress(verified.sections)

    async def _transaction(self, part: _Part, *, write: bool) -> ReplayResult:
        """The first steps of a part: what they found.

        While one is settled, the streams of the next are read.
        """
        found = ReplayResult()
        rest = part.rest
        async with self._begin() as folding:
            began = time.monotonic()
            coming = [await self._verifier.next_step(rest)]
            while coming:
                step = coming.pop()
                rest = step.rest
                async with anyio.create_task_group() as group:
                    if not rest.ended and time.monotonic() - began < MAX_TRANSACTION_SECONDS:
                        group.start_soon(self._read_ahead, rest, coming)
                    repaired, stored = await self._repair_step(folding, step, write=write)
                found += repaired
                part.rows += stored
        part.rest = rest
        part.found += found
        return found

    async def _read_ahead(self, rest: StreamRange, coming: list[ScanStep]) -> None:
        coming.append(await self._verifier.next_step(rest))

    async def _repair_step(self, folding: FoldTransaction, step: ScanStep, *, write: bool) -> tuple[ReplayResult, int]:
        """Compares what stands with what must be, and makes it so. Gives how many rows stand then, too.

        A step of which too much stands there is halved, down to one SKU.
        """
        try:
            rows, folded = await self._stored_and_folded(folding, step)
        except ReadTooLarge:
            first, second = [await self._repair_step(folding, half, write=write) for half in _halves(step)]
            return first[0] + second[0], first[1] + second[1]
        surplus: dict[tuple[str, str], Section] = {}
        wrong: list[Section] = []
        stored = surplus
        if rows != folded.sections:  # both by SKU and channel
            stored = {(row[0], row[1]): row for row in rows}
            surplus = dict(stored)
            wrong = [section for section in folded.sections if surplus.pop((section[0], section[1]), None) != section]
        if write:
            await self._write(folding, step, folded, wrong, surplus)
        behind = self._report(wrong, surplus, stored, _skus_ahead(folding, step.heads) if wrong else ())
        self._on_progress(len(folded.sections))
        total = len(folded.sections) + len(surplus)
        stored_rows = len(folded.sections) if write else len(rows)
        return ReplayResult(total, len(wrong) + len(surplus) - behind, behind), stored_rows

    async def _stored_and_folded(
        self, folding: FoldTransaction, step: ScanStep
    ) -> tuple[list[Section], FoldedSections]:
        """The sections as they stand, and as they must be: read and folded at the same time."""
        stored: list[Section] = []
        folded: list[FoldedSections] = []

        async def read() -> None:
            skus = [decode_part(sku) for sku in step.skus]
            stored.extend(await folding.sections(skus, max_bytes=MAX_STEP_BYTES if len(skus) > 1 else None))

        async def fold() -> None:
            folded.append(await self._verifier.fold(step))

        await run_together(read, fold)
        return stored, folded[0]

    async def _write(
        self,
        folding: FoldTransaction,
        step: ScanStep,
        folded: FoldedSections,
        wrong: Sequence[Section],
        surplus: _SectionsByKey,
    ) -> None:
        if wrong:
            await folding.write(wrong)
        if surplus:
            await folding.remove(list(surplus))
        if folded.dead_letters:
            await folding.add_dead_letters(folded.dead_letters)
        await self._verifier.folder.resolve(folding, step.heads, folded.bad)

    def _report(
        self,
        wrong: Sequence[Section],
        surplus: _SectionsByKey,
        stored: _SectionsByKey,
        ahead: Collection[str],
    ) -> int:
        """Tells of every section that has drifted. Gives how many have not: their consumer has not come so far yet."""
        drifted = [section for section in wrong if section.sku not in ahead]
        if self._on_drift is not ignore:
            for section in drifted:
                before = stored.get((section.sku, section.channel))
                self._on_drift(_drift(section, "differs" if before else "lost", before, section))
            for section in surplus.values():
                self._on_drift(_drift(section, "surplus", section, None))
        return len(wrong) - len(drifted)

    async def _surplus(self, prefix: str, since: int, *, write: bool) -> ReplayResult:
        """The rows of SKUs of which the log knows nothing in this domain, or knew nothing up to the position `since`.

        The latter were not come by on the way, and their consumer folds only the channels of which something was said.
        """
        found = ReplayResult()
        skus = [prefix]  # what follows is behind it
        while mine := [encode_part(sku) for sku in skus if sku.startswith(prefix)]:
            async with self._begin() as folding:
                known: set[str] = set()
                async for step in self._verifier.steps_of(mine):
                    known.update(map(_sku_of, step.heads))
                    if late := _added_since(step, since):
                        found += (await self._repair_step(folding, late, write=write))[0]
                unknown = [sku for sku in mine if sku not in known]
                if unknown:
                    found += (await self._repair_step(folding, ScanStep(unknown, [], EMPTY_RANGE), write=write))[0]
            skus = await self._store.pages.skus(self._domain, skus[-1], SAMPLED_SKUS)
        return found


async def sample_skus(log: Log, number: int) -> list[str]:
    """So many SKUs of the log, at random, as they are written there; all of them when there are no more."""
    chosen: list[str] = []
    count = 0
    after = ""
    while skus := await log.skus(after, STEP_STREAMS):
        after = skus[-1]
        for sku in skus:
            count += 1
            if len(chosen) < number:
                chosen.append(sku)
            elif (place := _random.randrange(count)) < number:
                chosen[place] = sku
    return sorted(chosen)


def _sku_of(head: StoredEvent) -> str:
    """As it is written in the log."""
    return head.originator_id.partition("/")[0]


def _added_since(step: ScanStep, since: int) -> ScanStep | None:
    """Of a step, the SKUs of which every head was said after a position; None where there are none."""
    early = {_sku_of(head) for head in step.heads if head.notification_id <= since}
    heads = [head for head in step.heads if _sku_of(head) not in early]
    return ScanStep(sorted(set(map(_sku_of, heads))), heads, EMPTY_RANGE) if heads else None


def _halves(step: ScanStep) -> tuple[ScanStep, ScanStep]:
    middle = len(step.skus) // 2
    first, second = step.skus[:middle], step.skus[middle:]
    mine = set(first)
    own = [head for head in step.heads if head.originator_id.partition("/")[0] in mine]
    others = [head for head in step.heads if head.originator_id.partition("/")[0] not in mine]
    return ScanStep(first, own, step.rest), ScanStep(second, others, step.rest)


def _skus_ahead(folding: FoldTransaction, heads: Sequence[StoredEvent]) -> set[str]:
    """The SKUs of which the log has news that the consumer has not seen."""
    position = folding.checkpoint.position
    return {decode_part(head[1].partition("/")[0]) for head in heads if head[0] > position}


def _drift(of: Section, kind: SectionDriftKind, before: Section | None, after: Section | None) -> SectionDrift:
    changes = changes_between(_fields(before), _fields(after))
    return SectionDrift(of.sku, of.channel, of.domain, kind, changes)


def _fields(section: Section | None) -> dict[str, JSON]:
    """What a section says, by path. What is no JSON is shown as text."""
    if section is None:
        return {}
    return flatten(
        {
            "enabled": section.enabled,
            "ready": section.ready,
            "sourceVersions": _decode(section.versions),
            "body": None if section.body is None else _decode(section.body),
            "occurredAt": section.occurred_at,
            "recordedAt": section.recorded_at,
        }
    )


def _decode(text: bytes) -> JSON:
    try:
        decoded: JSON = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return text.decode(errors="backslashreplace")
    return decoded
