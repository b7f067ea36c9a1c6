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
    NOTHING,
    STEP_BYTES,
    STREAMS,
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

HOLD_SECONDS = 0.15
"""A transaction ends after the step in which it grew so old: consumers wait no longer."""

SAMPLED_SKUS = 500
"""So many SKUs of a sample are compared in a step."""

_dice = SystemRandom()

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


_Stood: TypeAlias = Mapping[tuple[str, str], Section]
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
        self.span = span
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
        looker: SectionVerifier,
        *,
        begin: Begin | None = None,
        tell: OnDrift = ignore,
        advance: OnProgress = ignore,
    ) -> None:
        self._store = store
        self._looker = looker
        self._domain = looker.domain
        self._begin = begin or partial(store.consumption.folding, looker.domain)
        self._tell = tell
        self._advance = advance
        self._turn = anyio.Lock()

    async def run(self, *, prefix: str = "", write: bool = True, pool: VerifierPool | None = None) -> ReplayResult:
        """Every section of the domain, or those of the SKUs that begin with a prefix. A pool looks at parts of all."""
        look: Verify = self._looker.look
        spans: Sequence[StreamRange] = [prefix_range(prefix)]
        if pool is not None and not prefix:
            look = partial(pool.look, self._domain, instead=look)
            spans = pool.parts
        parts = [_Part(span) for span in spans]
        since = await self._store.log.end()
        await run_together(*(partial(self._go_over, part, look, write=write) for part in parts))
        found = sum((part.found for part in parts), ReplayResult())
        if not prefix and sum(part.rows for part in parts) == await self._store.pages.count(self._domain):
            return found
        return found + await self._surplus(prefix, since, write=write)

    async def _go_over(self, part: _Part, look: Verify, *, write: bool) -> None:
        """Every section of a part: looks, and settles what is not as it must be, and looks on from there."""
        letters = await self._letters()
        calm = not letters
        while not part.span.ended:
            if calm:
                await look(part.span, partial(self._hear, part))
            if not part.span.ended:
                async with self._turn:
                    settled = await self._transaction(part, write=write)
                letters = letters and await self._letters()
                calm = not letters and settled == ReplayResult(settled.sections)

    async def sample(self, skus: Sequence[str]) -> ReplayResult:
        """The sections of some SKUs, as they are written in the log, without writing."""
        found = ReplayResult()
        for start in range(0, len(skus), SAMPLED_SKUS):
            async with self._begin() as folding:
                async for step in self._looker.steps_of(skus[start : start + SAMPLED_SKUS]):
                    found += (await self._settle(folding, step, write=False))[0]
        return found

    async def _letters(self) -> int:
        """How many events are in dead letters. Those that can be folded now will be resolved, in a transaction."""
        return await self._store.dead_letters.count(DeadLetterFilter("projection", self._domain))

    def _hear(self, part: _Part, seen: VerifiedRange) -> None:
        part.span = seen.rest
        part.found += ReplayResult(seen.sections)
        part.rows += seen.sections
        self._advance(seen.sections)

    async def _transaction(self, part: _Part, *, write: bool) -> ReplayResult:
        """The first steps of a part: what they found.

        While one is settled, the streams of the next are read.
        """
        found = ReplayResult()
        span = part.span
        async with self._begin() as folding:
            began = time.monotonic()
            coming = [await self._looker.next(span)]
            while coming:
                step = coming.pop()
                span = step.rest
                async with anyio.create_task_group() as group:
                    if not span.ended and time.monotonic() - began < HOLD_SECONDS:
                        group.start_soon(self._look_ahead, span, coming)
                    settled, standing = await self._settle(folding, step, write=write)
                found += settled
                part.rows += standing
        part.span = span
        part.found += found
        return found

    async def _look_ahead(self, span: StreamRange, coming: list[ScanStep]) -> None:
        coming.append(await self._looker.next(span))

    async def _settle(self, folding: FoldTransaction, step: ScanStep, *, write: bool) -> tuple[ReplayResult, int]:
        """Compares what stands with what must be, and makes it so. Gives how many rows stand then, too.

        A step of which too much stands there is halved, down to one SKU.
        """
        try:
            rows, folded = await self._both(folding, step)
        except ReadTooLarge:
            first, second = [await self._settle(folding, half, write=write) for half in _halves(step)]
            return first[0] + second[0], first[1] + second[1]
        surplus: dict[tuple[str, str], Section] = {}
        wrong: list[Section] = []
        stood = surplus
        if rows != folded.sections:  # both by SKU and channel
            stood = {(row[0], row[1]): row for row in rows}
            surplus = dict(stood)
            wrong = [section for section in folded.sections if surplus.pop((section[0], section[1]), None) != section]
        if write:
            await self._write(folding, step, folded, wrong, surplus)
        behind = self._told(wrong, surplus, stood, _ahead_of(folding, step.heads) if wrong else ())
        self._advance(len(folded.sections))
        total = len(folded.sections) + len(surplus)
        standing = len(folded.sections) if write else len(rows)
        return ReplayResult(total, len(wrong) + len(surplus) - behind, behind), standing

    async def _both(self, folding: FoldTransaction, step: ScanStep) -> tuple[list[Section], FoldedSections]:
        """The sections as they stand, and as they must be: read and folded at the same time."""
        stood: list[Section] = []
        folded: list[FoldedSections] = []

        async def read() -> None:
            skus = [decode_part(sku) for sku in step.skus]
            stood.extend(await folding.sections(skus, max_bytes=STEP_BYTES if len(skus) > 1 else None))

        async def fold() -> None:
            folded.append(await self._looker.fold(step))

        await run_together(read, fold)
        return stood, folded[0]

    async def _write(
        self,
        folding: FoldTransaction,
        step: ScanStep,
        folded: FoldedSections,
        wrong: Sequence[Section],
        surplus: _Stood,
    ) -> None:
        if wrong:
            await folding.write(wrong)
        if surplus:
            await folding.remove(list(surplus))
        if folded.letters:
            await folding.bury(folded.letters)
        await self._looker.folder.resolve(folding, step.heads, folded.bad)

    def _told(
        self,
        wrong: Sequence[Section],
        surplus: _Stood,
        stood: _Stood,
        ahead: Collection[str],
    ) -> int:
        """Tells of every section that has drifted. Gives how many have not: their consumer has not come so far yet."""
        drifted = [section for section in wrong if section.sku not in ahead]
        if self._tell is not ignore:
            for section in drifted:
                before = stood.get((section.sku, section.channel))
                self._tell(_drift(section, "differs" if before else "lost", before, section))
            for section in surplus.values():
                self._tell(_drift(section, "surplus", section, None))
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
                async for step in self._looker.steps_of(mine):
                    known.update(map(_sku_of, step.heads))
                    if late := _late_in(step, since):
                        found += (await self._settle(folding, late, write=write))[0]
                unknown = [sku for sku in mine if sku not in known]
                if unknown:
                    found += (await self._settle(folding, ScanStep(unknown, [], NOTHING), write=write))[0]
            skus = await self._store.pages.skus(self._domain, skus[-1], SAMPLED_SKUS)
        return found


async def sampled(log: Log, number: int) -> list[str]:
    """So many SKUs of the log, at random, as they are written there; all of them when there are no more."""
    chosen: list[str] = []
    seen = 0
    after = ""
    while skus := await log.skus(after, STREAMS):
        after = skus[-1]
        for sku in skus:
            seen += 1
            if len(chosen) < number:
                chosen.append(sku)
            elif (place := _dice.randrange(seen)) < number:
                chosen[place] = sku
    return sorted(chosen)


def _sku_of(head: StoredEvent) -> str:
    """As it is written in the log."""
    return head.originator_id.partition("/")[0]


def _late_in(step: ScanStep, since: int) -> ScanStep | None:
    """Of a step, the SKUs of which every head was said after a position; None where there are none."""
    early = {_sku_of(head) for head in step.heads if head.notification_id <= since}
    heads = [head for head in step.heads if _sku_of(head) not in early]
    return ScanStep(sorted(set(map(_sku_of, heads))), heads, NOTHING) if heads else None


def _halves(step: ScanStep) -> tuple[ScanStep, ScanStep]:
    middle = len(step.skus) // 2
    first, second = step.skus[:middle], step.skus[middle:]
    mine = set(first)
    own = [head for head in step.heads if head.originator_id.partition("/")[0] in mine]
    others = [head for head in step.heads if head.originator_id.partition("/")[0] not in mine]
    return ScanStep(first, own, step.rest), ScanStep(second, others, step.rest)


def _ahead_of(folding: FoldTransaction, heads: Sequence[StoredEvent]) -> set[str]:
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
            "sourceVersions": _decoded(section.versions),
            "body": None if section.body is None else _decoded(section.body),
            "occurredAt": section.occurred_at,
            "recordedAt": section.recorded_at,
        }
    )


def _decoded(text: bytes) -> JSON:
    try:
        decoded: JSON = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return text.decode(errors="backslashreplace")
    return decoded
