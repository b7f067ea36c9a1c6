"""Folds every page again from the log: after a change of the configuration or the code, or to find drift.

It reads the heads of a few thousand SKUs, folds them, and compares the result with the stored sections, without locks.
If they differ, it reads and folds them again in the domain's transaction, for no longer than a consumer's batch, to
distinguish drift from a consumer that was faster. Readers see complete sections, never older ones.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import SystemRandom
from typing import Literal, NamedTuple, TypeAlias

import anyio
import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.fold_results import FoldedSections
from pagefold.engine.folding.mixed_pages import mark_mixed
from pagefold.engine.folding.stored_links import store_references
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
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.reference_records import (
    ReferenceChange,
    References,
    StoredReference,
    changes_of_references,
)
from pagefold.engine.stores.store import FoldTransaction, Log, Store
from pagefold.projections import Section, SharedSections, sections_of
from pagefold.projections.field_changes import FieldChange, changes_between, flatten
from pagefold.projections.streams import decode_part, encode_part, parse_stream_id

MAX_TRANSACTION_SECONDS = 0.15
"""A transaction ends after the step in which it gets this old, so that consumers wait no longer."""

SAMPLED_SKUS = 500
"""SKUs of a sample that are compared in a step."""

_random = SystemRandom()

SectionDriftKind: TypeAlias = Literal["differs", "lost", "surplus"]


class SectionDrift(msgspec.Struct, frozen=True):
    """A section that differs from the log, is missing, or has no events in the log.

    `changes` are from the stored section to the expected one.
    """

    sku: str
    channel: str
    domain: str
    kind: SectionDriftKind
    changes: list[FieldChange]


OnDrift: TypeAlias = Callable[[SectionDrift], None]
OnProgress: TypeAlias = Callable[[int], None]
Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[FoldTransaction]]


class ReplayResult(msgspec.Struct, frozen=True):
    """The result of a replay.

    Of all `sections`, `changed` had drifted, and `behind` differ only because their consumer has not reached their
    events.
    """

    sections: int = 0
    changed: int = 0
    behind: int = 0

    def __add__(self, other: "ReplayResult") -> "ReplayResult":
        """Both together."""
        return ReplayResult(self.sections + other.sections, self.changed + other.changed, self.behind + other.behind)

    @property
    def drift(self) -> float:
        """The share of drifted sections, in percent."""
        return 100 * self.changed / self.sections if self.sections else 100.0 * bool(self.changed)


class _Difference(NamedTuple):
    """A section that differs: as it is stored, and as it must be. One of these is the `section` itself.

    None where it is missing, or has no events.
    """

    section: Section
    before: Section | None
    after: Section | None

    def report(self) -> SectionDrift:
        """What differs, for people."""
        kind: SectionDriftKind = "surplus" if self.after is None else "differs" if self.before else "lost"
        changes = changes_between(_fields(self.before), _fields(self.after))
        return SectionDrift(self.section.sku, self.section.channel, self.section.domain, kind, changes)


class _Part:
    """A range of a domain's streams: the rest of it, the result so far, and the number of stored rows."""

    def __init__(self, span: StreamRange) -> None:
        self.rest = span
        self.found = ReplayResult()
        self.rows = 0


def ignore(_: object) -> None:
    """Does nothing."""


class Replayer:
    """Folds the pages of a verifier's domain again. Repairs drift, unless `write` is False.

    `begin` starts its transactions; by default, those of a repair.
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
        """Replays every section of the domain, or those of the SKUs that begin with a prefix.

        A pool verifies ranges of all.
        """
        verify: Verify = self._verifier.verify
        ranges: Sequence[StreamRange] = [prefix_range(prefix)]
        if pool is not None and not prefix:
            verify = partial(pool.verify, self._domain, fallback=verify)
            ranges = pool.ranges
        parts = [_Part(rest) for rest in ranges]
        since = await self._store.log.end()
        await run_together(*(partial(self._replay_range, part, verify, write=write) for part in parts))
        found = sum((part.found for part in parts), ReplayResult())
        if prefix or sum(part.rows for part in parts) != await self._store.pages.count(self._domain):
            found += await self._surplus(prefix, since, write=write)
        return found + await self._surplus_references(prefix, write=write)

    async def _replay_range(self, part: _Part, verify: Verify, *, write: bool) -> None:
        """Replays every section of a range: verifies, repairs what differs, and verifies on from there."""
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
        """Compares the sections of some SKUs, encoded as in the log, without writing."""
        found = ReplayResult()
        for start in range(0, len(skus), SAMPLED_SKUS):
            async with self._begin() as transaction:
                async for step in self._verifier.steps_of(skus[start : start + SAMPLED_SKUS]):
                    found += (await self._repair_step(transaction, step, write=False))[0]
        return found

    async def _dead_letters(self) -> int:
        """The number of dead letters. Those that can now be folded are resolved, in a transaction."""
        return await self._store.dead_letters.count(DeadLetterFilter("projection", self._domain))

    def _record(self, part: _Part, verified: VerifiedRange) -> None:
        part.rest = verified.rest
        part.found += ReplayResult(verified.sections)
        part.rows += verified.sections
        self._on_progress(verified.sections)

    async def _transaction(self, part: _Part, *, write: bool) -> ReplayResult:
        """The result of the first steps of a range, in one transaction.

        While one step is repaired, the streams of the next are read.
        """
        found = ReplayResult()
        rest = part.rest
        async with self._begin() as transaction:
            began = time.monotonic()
            coming = [await self._verifier.next_step(rest)]
            while coming:
                step = coming.pop()
                rest = step.rest
                async with anyio.create_task_group() as group:
                    if not rest.ended and time.monotonic() - began < MAX_TRANSACTION_SECONDS:
                        group.start_soon(self._read_ahead, rest, coming)
                    repaired, stored = await self._repair_step(transaction, step, write=write)
                found += repaired
                part.rows += stored
        part.rest = rest
        part.found += found
        return found

    async def _read_ahead(self, rest: StreamRange, coming: list[ScanStep]) -> None:
        coming.append(await self._verifier.next_step(rest))

    async def _repair_step(
        self, transaction: FoldTransaction, step: ScanStep, *, write: bool
    ) -> tuple[ReplayResult, int]:
        """Compares stored and expected sections, and repairs the difference.

        Also returns how many rows are stored then.

        A step with too many stored bytes is halved, down to one SKU.
        """
        try:
            rows, folded = await self._stored_and_folded(transaction, step)
        except ReadTooLarge:
            first, second = [await self._repair_step(transaction, half, write=write) for half in _halves(step)]
            return first[0] + second[0], first[1] + second[1]
        expected = [each for each in folded.sections if each.contents]
        wrong: list[SharedSections] = []
        surplus: dict[str, SharedSections] = {}
        if rows != expected:  # both by SKU
            surplus = {row.sku: row for row in rows}
            before = dict(surplus)
            wrong = [each for each in expected if surplus.pop(each.sku, None) != each]
            stored = [before[each.sku] for each in wrong if each.sku in before]
            drift = _differences([*stored, *surplus.values()], wrong)
        else:
            drift = []
        if write:
            await self._write(transaction, step, folded, wrong, list(surplus))
        skus_ahead = _skus_ahead(transaction, step, folded) if wrong or folded.answers else set()
        behind = self._report(drift, skus_ahead)
        stating = [head for head in step.heads if folded.references.get(head[1])]
        ahead = _streams_ahead(transaction, stating)
        ahead.update(each.stream for sku, each in folded.answers.items() if decode_part(sku) in skus_ahead)
        references = await self._repair_references(
            transaction, folded.references, folded.references, ahead, write=write
        )
        sections = _count(expected)
        self._on_progress(sections)
        total = sections + sum([pair.after is None for pair in drift])
        found = ReplayResult(total, len(drift) - behind, behind) + references
        return found, sections if write else _count(rows)

    async def _repair_references(
        self,
        transaction: FoldTransaction,
        streams: Collection[str],
        references: References,
        ahead: Collection[str],
        *,
        write: bool,
    ) -> ReplayResult:
        """Compares the stored references of streams with the log's. Streams `ahead` only wait for their consumer."""
        if not streams:
            return ReplayResult()
        refolded = 0
        if write:
            changes = await store_references(transaction, streams, references)
            refolded = await self._verifier.folder.fold_variants(transaction, changes)
        else:
            changes = changes_of_references(await transaction.references(streams), references)
        drifted = [change for change in changes if change.stream not in ahead]
        if self._on_drift is not ignore:
            for change in drifted:
                self._on_drift(_drift_of_references(change, self._domain))
        return ReplayResult(0, len(drifted) + refolded, len(changes) - len(drifted))

    async def _surplus_references(self, prefix: str, *, write: bool) -> ReplayResult:
        """Repairs stored references that no head states, or whose stream has no head."""
        found = ReplayResult()
        folder = self._verifier.folder
        begin = encode_part(prefix)
        rows = (
            await self._store.references.next_rows(StoredReference(begin, "", "", "")) if folder.has_references else []
        )
        while rows and rows[0].stream.startswith(begin):
            streams = {row.stream for row in rows if row.stream.startswith(begin)}
            async with self._begin() as transaction:
                heads = await self._store.log.heads(sorted(streams))
                silent = streams.difference(await folder.references(heads), await folder.linking(streams))
                ahead = _streams_ahead(transaction, heads)
                found += await self._repair_references(transaction, silent, {}, ahead, write=write)
            rows = await self._store.references.next_rows(rows[-1])
        return found

    async def _stored_and_folded(
        self, transaction: FoldTransaction, step: ScanStep
    ) -> tuple[list[SharedSections], FoldedSections]:
        """The stored and the expected sections, read and folded concurrently where they can be."""
        stored: list[SharedSections] = []
        folded: list[FoldedSections] = []

        async def read() -> None:
            skus = [decode_part(sku) for sku in step.skus]
            stored.extend(await transaction.sections(skus, max_bytes=MAX_STEP_BYTES if len(skus) > 1 else None))

        async def fold() -> None:
            folded.append(await self._verifier.fold(step, transaction))

        if self._verifier.folder.reads_others:  # it reads links in the same transaction
            await read()
            await fold()
        else:
            await run_together(read, fold)
        return stored, folded[0]

    async def _write(
        self,
        transaction: FoldTransaction,
        step: ScanStep,
        folded: FoldedSections,
        wrong: Sequence[SharedSections],
        surplus: Sequence[str],
    ) -> None:
        if wrong or surplus:
            await mark_mixed(transaction, self._verifier.fingerprint)
        if wrong:
            await transaction.write(wrong)
        if surplus:
            await transaction.remove(surplus)
        if folded.dead_letters:
            await transaction.add_dead_letters(folded.dead_letters)
        await self._verifier.folder.resolve(transaction, step.heads, folded.bad)

    def _report(self, drift: Sequence["_Difference"], ahead: Collection[str]) -> int:
        """Reports every section that has drifted. Returns how many others only wait for their consumer."""
        drifted = [pair for pair in drift if pair.after is None or pair.section.sku not in ahead]
        if self._on_drift is not ignore:
            for pair in drifted:
                self._on_drift(pair.report())
        return len(drift) - len(drifted)

    async def _surplus(self, prefix: str, since: int, *, write: bool) -> ReplayResult:
        """Repairs the sections of SKUs without events in this domain, or without any up to the position `since`.

        The latter were not in the scan: until their consumer folds them, their sections would stay as they were.
        """
        found = ReplayResult()
        skus = [prefix]  # all SKUs with the prefix sort after it
        while own := [encode_part(sku) for sku in skus if sku.startswith(prefix)]:
            async with self._begin() as transaction:
                known: set[str] = set()
                async for step in self._verifier.steps_of(own):
                    known.update(map(_sku_of, step.heads))
                    if added := _added_since(step, since):
                        found += (await self._repair_step(transaction, added, write=write))[0]
                unknown = [sku for sku in own if sku not in known]
                if unknown:
                    found += (await self._repair_step(transaction, ScanStep(unknown, [], EMPTY_RANGE), write=write))[0]
            skus = await self._store.pages.skus(self._domain, skus[-1], SAMPLED_SKUS)
        return found


async def sample_skus(log: Log, number: int) -> list[str]:
    """`number` random SKUs of the log, encoded as there; all of them if there are fewer."""
    chosen: list[str] = []
    count = 0
    after = ""
    while skus := await log.skus(after, STEP_STREAMS):
        after = skus[-1]
        for sku in skus:
            count += 1
            if len(chosen) < number:
                chosen.append(sku)
            elif (index := _random.randrange(count)) < number:
                chosen[index] = sku
    return sorted(chosen)


def _sku_of(head: StoredEvent) -> str:
    """The SKU, encoded as in the log."""
    return head.originator_id.partition("/")[0]


def _added_since(step: ScanStep, since: int) -> ScanStep | None:
    """The SKUs of a step whose heads are all after a position; None if there are none."""
    early = {_sku_of(head) for head in step.heads if head.notification_id <= since}
    heads = [head for head in step.heads if _sku_of(head) not in early]
    return ScanStep(sorted(set(map(_sku_of, heads))), heads, EMPTY_RANGE) if heads else None


def _differences(stored: Sequence[SharedSections], expected: Sequence[SharedSections]) -> list[_Difference]:
    """Every section that differs. There may be none although rows differ: equal sections can be shared by channels."""
    before = {(section.sku, section.channel): section for section in sections_of(stored)}
    pairs = [_Difference(each, before.pop((each.sku, each.channel), None), each) for each in sections_of(expected)]
    surplus = [_Difference(each, each, None) for each in before.values()]
    return [pair for pair in pairs if pair.before != pair.after] + surplus


def _drift_of_references(change: ReferenceChange, domain: str) -> SectionDrift:
    """The ids that a stream has or lacks wrongly, by kind."""
    stream = parse_stream_id(change.stream)
    before, after = _ids(change.removed), _ids(change.added)
    return SectionDrift(stream.sku, stream.channel, domain, "differs", changes_between(before, after))


def _ids(rows: Sequence[StoredReference]) -> dict[str, JSON]:
    ids: dict[str, list[JSON]] = {}
    for row in rows:
        ids.setdefault(f"references.{row.kind}", []).append(row.id)
    return {**ids}


def _count(shared: Sequence[SharedSections]) -> int:
    """The number of sections."""
    return sum([len(each.channels) for each in shared])


def _halves(step: ScanStep) -> tuple[ScanStep, ScanStep]:
    middle = len(step.skus) // 2
    first, second = step.skus[:middle], step.skus[middle:]
    own_skus = set(first)
    own_heads = [head for head in step.heads if head.originator_id.partition("/")[0] in own_skus]
    other_heads = [head for head in step.heads if head.originator_id.partition("/")[0] not in own_skus]
    return ScanStep(first, own_heads, step.rest), ScanStep(second, other_heads, step.rest)


def _skus_ahead(transaction: FoldTransaction, step: ScanStep, folded: FoldedSections) -> set[str]:
    """SKUs with events after the consumer's checkpoint: heads, older versions, or heads of parents and named SKUs."""
    position = transaction.checkpoint.position
    ahead = {_sku_of(head) for head in step.heads if head[0] > position}
    if folded.parents is not None:
        ahead.update(sku for sku in step.skus if folded.parents.newest(sku) > position)
    ahead.update(sku for sku, answers in folded.answers.items() if answers.newest > position)
    late = {sku for sku, newest in folded.older.items() if newest > position}
    return late.union(map(decode_part, ahead))


def _streams_ahead(transaction: FoldTransaction, heads: Sequence[StoredEvent]) -> set[str]:
    """The streams of heads after the consumer's checkpoint."""
    return {head[1] for head in heads if head[0] > transaction.checkpoint.position}


def _fields(section: Section | None) -> dict[str, JSON]:
    """The fields of a section, by path. Invalid JSON becomes text."""
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


async def replay_sample(
    store: Store, verifiers: Sequence[SectionVerifier], number: int, *, on_drift: OnDrift, on_progress: OnProgress
) -> ReplayResult:
    """Compares the pages of a number of SKUs with the log, without writing. Each SKU is equally likely."""
    skus = await sample_skus(store.log, number)
    found = ReplayResult()
    for verifier in verifiers:
        found += await Replayer(store, verifier, on_drift=on_drift, on_progress=on_progress).sample(skus)
    return found
