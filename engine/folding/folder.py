"""Folds streams into sections, inside one transaction. Consumers do it window by window, repairs stream by stream."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from copy import copy
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, Self

import msgspec

from pagefold.domains import AnyDomain
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.fold_errors import FoldError, ParentError, dead_letter_of
from pagefold.engine.folding.fold_results import FoldedSections, FoldResult, Heads, ValidEvents, ValidSections
from pagefold.engine.folding.older_versions import add_older_versions
from pagefold.engine.folding.parent_reader import ParentReader, Spellings
from pagefold.engine.folding.source_resets import without_payload
from pagefold.engine.folding.stored_links import store_references, with_variants
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.dead_letter_records import Resolution
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader, PastLog
from pagefold.engine.stores.reference_records import ReferenceChange, References
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction, Log
from pagefold.projections import Channel, ChannelMismatch, DecodedEvent, DomainFold, KeptPages, SharedSections, skus_of
from pagefold.projections.epochs import OWN_VERSION, version_of
from pagefold.projections.inheritance import SPELLING, Inheritance, Parents

CHUNK_SKUS = 2_000
"""SKUs that are read, folded and written at a time, unless they are too large."""

CHUNK_BYTES = 64 * 1024 * 1024
"""Bytes of a chunk that a transaction holds in memory: heads and the sections that they give."""

LARGE_HEAD_BYTES = 4 * 1024
"""The mean size of heads above which payloads are not kept until the transaction ends."""

MAX_ON_LOOP = 64
"""Heads that are folded on the event loop. More would block it."""

MAX_NAMED_STREAMS = 16
"""Streams that a SKU may have in a domain for its heads to be read by name. If it may have more, most do not exist."""

OLDER_EVENTS = 50
MIN_TIMESTAMP = "0001-01-01T00:00:00.000000Z"

_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_sku = itemgetter(0)


class _Folded(NamedTuple):
    """The sections of the SKUs that fold without errors, the other SKUs, and the references of all their heads.

    `kept` are SKUs that fold without errors, but need older versions.
    """

    sections: list[SharedSections]
    failed: list[str]
    references: dict[str, Mapping[str, Sequence[str]]]
    kept: dict[str, KeptPages]


class Folder:
    """Folds one domain under one configuration.

    `suffixes` are those of all streams that can give a section. `others` are channels of another configuration that
    are folded beside: see `DomainFold`.
    """

    def __init__(
        self,
        domain: AnyDomain,
        channels: Sequence[Channel],
        log: HeadReader,
        others: Mapping[str, Channel] = MappingProxyType({}),
    ) -> None:
        self._fold = DomainFold(domain, channels, others)
        self._domain = domain.name
        self._log = log
        self._max_bytes = CHUNK_BYTES // (1 + self._fold.max_contents)
        self.suffixes = self._fold.suffixes
        self._upcast = domain.upcast
        self._references = domain.references
        self._inheritance = Inheritance(domain, channels)
        self._parents: ParentReader | None = None
        decoded_event = msgspec.defstruct(
            "DecodedEvent", [("payload", domain.payload | None)], bases=(DecodedEvent,), eq=False, gc=False
        )
        self._decoder: msgspec.json.Decoder[DecodedEvent] = msgspec.json.Decoder(
            decoded_event
        )  # the payload type is dynamic
        if self._inheritance.is_used:
            self._parents = ParentReader(self._inheritance, self._needed, self._read, self.decode, self._older_of)

    @property
    def inherits(self) -> bool:
        """Whether the sections of a SKU may depend on the heads of others."""
        return self._parents is not None

    def reading(self, log: HeadReader) -> Self:
        """The same folder of another log, such as this one as it was at a position. Costs next to nothing."""
        other = copy(self)
        other._log = log  # noqa: SLF001  # its own
        if self._parents is not None:
            other._parents = self._parents.reading(other._needed, other._read, other._older_of)  # noqa: SLF001
        return other

    async def fold(
        self, transaction: FoldTransaction, streams: Collection[str], *, by: str | None = None, again: bool = False
    ) -> FoldResult:
        """Writes all sections of the streams' SKUs, and of the SKUs that inherit from them.

        Events that cannot be folded become dead letters; nothing is raised.

        `by` is the operator who asked for it. With `again`, other streams of these SKUs may have counted before: what
        inherited from those is written, too.
        """
        skus = skus_of(streams)
        if self._parents is not None:
            codes = self._inheritance.all_codes(skus) if again else self._inheritance.own_codes(streams)
            skus = await with_variants(transaction, self._inheritance, streams, codes)
        heads: list[StoredEvent] = []
        bad: list[StoredEvent] = []
        settled: list[StoredEvent] = []
        changed, streams = 0, set(streams)
        async for folder, found, parents in self._chunks(skus, self._fold.unused_streams(streams), transaction):
            sections, bad_here, dead_letters, references, *_ = await folder._sections(found, parents, transaction)  # noqa: SLF001  # its own
            if dead_letters:
                await transaction.add_dead_letters(dead_letters)
            changed += await transaction.write(sections)
            await store_references(transaction, [head[1] for head in found], references)
            kept = _without_large_payloads(found)
            del folder, found, sections, parents  # free them before the next are read
            heads += kept
            bad += map(without_payload, bad_here)
            if not bad_here:
                settled += [head for head in kept if self._is_settled(head, streams)]
        await self.resolve(transaction, heads, bad, by=by)
        return FoldResult(heads, bad, settled, changed)

    def _is_settled(self, head: StoredEvent, streams: Collection[str]) -> bool:
        """Whether no fold is needed of a head until there is a newer one, once `streams` are folded.

        Variants of the other streams, which may be newer than the fold was asked for, were not folded.
        """
        return self._parents is None or head[1] in streams or not self._inheritance.inherits(head[1])

    async def fold_variants(self, transaction: FoldTransaction, changes: Iterable[ReferenceChange]) -> int:
        """Folds what may inherit from SKUs whose spellings have changed. Returns for how many the sections changed."""
        rows = [row for change in changes for row in (*change.removed, *change.added) if row.kind.startswith(SPELLING)]
        streams = {row.stream for row in rows}
        return (await self.fold(transaction, streams)).changed if streams and self._parents is not None else 0

    async def _chunks(
        self, skus: Sequence[str], unused: Sequence[str], spellings: Spellings
    ) -> AsyncGenerator[tuple[Self, list[StoredEvent], Parents | None], None]:
        """The heads that decide the sections of these SKUs, in chunks of whole SKUs, and their parents.

        With each, the folder of the moment at which they were read. A chunk whose heads or parents are too large is
        divided, down to one SKU.
        """
        chunks_left = split_equal(skus, -(-len(skus) // CHUNK_SKUS))[::-1] if skus else []
        while chunks_left:
            skus_here = chunks_left.pop()
            also: Sequence[str] = ()
            if unused:
                chunk = set(skus_here)
                also = [stream for stream in unused if stream.partition("/")[0] in chunk]
            max_bytes = self._max_bytes if len(skus_here) > 1 else None
            folder = await self._reading_now()
            try:
                heads = await folder.heads(skus_here, max_bytes, also)
                parents = await folder.parents(heads, spellings, max_bytes)
            except ReadTooLarge as error:
                chunks_left += split_equal(skus_here, error.parts)[::-1]
                continue
            yield folder, heads, parents
            del heads, parents  # free them before the next are read

    async def _reading_now(self) -> Self:
        """This folder, reading the log as it is now: parents are read after their variants, which change meanwhile.

        What is laid over each other then stood in the log at one moment.
        """
        if self._parents is None or not isinstance(self._log, Log):
            return self
        return self.reading(PastLog(self._log, await self._log.end()))

    async def heads(
        self, skus: Sequence[str], max_bytes: int | None = None, also: Sequence[str] = ()
    ) -> list[StoredEvent]:
        """The heads that decide the sections of these SKUs, and those of some other streams.

        Raises `ReadTooLarge` if they have more than `max_bytes` together.
        """
        return await self._read([*await self._needed(skus), *also], max_bytes)

    async def _read(self, streams: Sequence[str], max_bytes: int | None) -> list[StoredEvent]:
        return await self._log.heads(streams, max_bytes=max_bytes)

    async def parents(
        self, heads: Sequence[StoredEvent], spellings: Spellings, max_bytes: int | None = None
    ) -> Parents | None:
        """The parents that heads name, up the chain. None if nothing is inherited. Raises as `heads` does."""
        return None if self._parents is None else await self._parents.of_heads(heads, spellings, max_bytes)

    async def needed_streams(self, streams: Collection[str]) -> list[str]:
        """The streams whose heads a fold of these streams needs. A stream that belongs to no SKU needs none."""
        unused = [stream for stream in self._fold.unused_streams(streams) if "/" in stream]
        return [*await self._needed(skus_of(streams)), *unused]

    async def _needed(self, skus: Sequence[str]) -> Sequence[str]:
        """The streams whose heads decide the sections of these SKUs."""
        if len(self.suffixes) <= MAX_NAMED_STREAMS:
            return self._fold.needed_streams(skus)
        return [name for name in await self._log.streams_of(skus) if name[name.find("/") :] in self.suffixes]

    async def sections(self, heads: list[StoredEvent], spellings: Spellings) -> FoldedSections:
        """The sections of the SKUs of these heads, which must be all of theirs. Writes nothing.

        Where they inherit, their parents are read from the log; `spellings` finds those that are named in another case.
        """
        return await self._sections(heads, await self.parents(heads, spellings), spellings)

    async def _sections(
        self, heads: list[StoredEvent], parents: Parents | None, spellings: Spellings
    ) -> FoldedSections:
        sections, failed, references, kept = await self._folded(heads, parents)
        found = FoldedSections(sections, [], [], references, {}, parents)
        await self._keep(kept, heads, found)
        for sku in failed:
            repaired = await self._fold_newest_valid(sku, heads, spellings)
            found.sections.extend(repaired.sections)
            found.bad.extend(repaired.bad)
            found.dead_letters.extend(repaired.dead_letters)
            found.older.update(repaired.older)
            references.update(repaired.references)
        found.sections.sort(key=_sku)
        return found

    @property
    def ignoring_case(self) -> Collection[str]:
        """The sources that name parents in any case: only then, spellings are asked for."""
        return self._inheritance.ignoring_case

    @property
    def has_references(self) -> bool:
        """Whether the domain's payloads may state any."""
        return self._references is not None

    async def references(self, heads: Iterable[StoredEvent]) -> References:
        """The references that some heads state, as `sections` finds them."""
        found: dict[str, Mapping[str, Sequence[str]]] = {}
        for head in heads:
            event = self.decode(head)
            if not isinstance(event, DecodedEvent):
                event = await self._older_of(head)
            if references := self._references_of(head.originator_id, event):
                found[head.originator_id] = references
        return found

    def _references_of(self, stream: str, event: DecodedEvent) -> Mapping[str, Sequence[str]]:
        """The references that an event states, and its links to parents."""
        links = {} if self._parents is None else self._inheritance.links(stream, event.payload)
        if self._references is None or event.payload is None:
            return links
        return {**self._references(event.payload), **links}

    async def fold_valid(self, heads: list[StoredEvent], spellings: Spellings) -> ValidSections | None:
        """The sections of the SKUs of these heads, as `sections`, and their references, computed in the compute thread.

        None if any of the heads cannot be folded.
        """
        parents = await self.parents(heads, spellings)
        sections, failed, references, kept = await compute_in_thread(lambda: self._fold_valid(heads, parents))
        if failed:
            return None
        await self._keep(kept, heads, FoldedSections(sections, [], [], references, {}, parents))
        return ValidSections(sorted(sections, key=_sku), references)

    async def fold_without_reading(self, heads: Sequence[StoredEvent]) -> tuple[list[SharedSections], set[str]]:
        """The sections of the SKUs of these heads, in any order, where nothing `inherits`.

        The other SKUs (encoded) cannot be folded, or need older versions.
        """
        sections, failed, _, kept = await self._folded(heads, None)
        return sections, {*failed, *kept}

    def fold_few(self, heads: Sequence[StoredEvent]) -> list[SharedSections] | None:
        """The sections of the SKUs of these heads, by SKU, where nothing `inherits`.

        None if any cannot be folded, states references, or needs older versions.
        """
        sections, failed, references, kept = self._fold_valid(heads, None)
        return None if failed or references or kept else sorted(sections, key=_sku)

    async def _folded(self, heads: Sequence[StoredEvent], parents: Parents | None) -> _Folded:
        if len(heads) <= MAX_ON_LOOP:
            return self._fold_valid(heads, parents)
        return await compute_in_thread(lambda: self._fold_valid(heads, parents))

    def _fold_valid(self, heads: Sequence[StoredEvent], parents: Parents | None) -> _Folded:
        """The sections of the SKUs that fold without errors, and the other SKUs."""
        by_sku: dict[str, list[StoredEvent]] = {}
        for head in heads:
            stream = head[1]
            sku = stream[: stream.index("/")]
            if (known := by_sku.get(sku)) is None:
                by_sku[sku] = [head]
            else:
                known.append(head)
        shared: list[SharedSections] = []
        failed: list[str] = []
        references: dict[str, Mapping[str, Sequence[str]]] = {}
        kept: dict[str, KeptPages] = {}
        decode, fold, upcast, references_of = self._decoder.decode, self._fold.fold, self._upcast, self._references
        for sku, own_heads in by_sku.items():  # decode one SKU at a time: decoded events need many times the memory
            decoded: dict[str, DecodedEvent] = {}
            try:
                for head in own_heads:
                    event = decode(head[5])
                    event.version = head[2] & OWN_VERSION  # as `version_of`, without a call for each
                    if event.payload is not None:
                        if upcast is not None:
                            event.payload = upcast(event.payload)
                        if references_of is not None and (stated := references_of(event.payload)):
                            references[head[1]] = stated
                    decoded[head[1][len(sku) :]] = event
                shared.append(fold(sku, decoded if parents is None else self._lay(sku, decoded, parents, references)))
            except KeptPages as pages:
                kept[sku] = pages
            except Exception:  # noqa: BLE001  # must not stop the others; `_fold_newest_valid` reports it
                failed.append(sku)
        return _Folded(shared, failed, references, kept)

    async def _keep(
        self, kept: Mapping[str, KeptPages], heads: Iterable[StoredEvent], found: FoldedSections
    ) -> FoldedSections:
        """Adds the sections of SKUs that need older versions, and the newest position of these."""
        if not kept:
            return found
        by_stream = {head[1]: head for head in heads}
        if found.parents is not None:  # older versions count alone, without parents
            for sku in kept:
                origins = found.parents.origins.get(sku, {})
                by_stream.update({sku + suffix: by_stream[sku + origin] for suffix, origin in origins.items()})
        newest = await add_older_versions(self._log, self.decode, kept, by_stream)
        for sku, pages in kept.items():
            sections = pages.sections()
            found.sections.append(sections)
            found.older[sections.sku] = newest[sku]
        return found

    def _lay(
        self,
        sku: str,
        decoded: Mapping[str, DecodedEvent],
        parents: Parents,
        references: dict[str, Mapping[str, Sequence[str]]],
    ) -> Mapping[str, DecodedEvent]:
        """The heads of a SKU, laid over those of its parents. Adds their links to the references that they state.

        Raises `ParentError`.
        """
        for suffix, event in decoded.items():
            stream = sku + suffix
            if links := self._inheritance.links(stream, event.payload):
                references[stream] = {**references.get(stream, {}), **links}
        heads, errors = self._inheritance.lay(sku, decoded, parents)
        if errors:
            raise ParentError
        return heads

    async def _fold_newest_valid(self, sku: str, heads: Iterable[StoredEvent], spellings: Spellings) -> FoldedSections:
        """Folds one SKU from the newest events that can be folded."""
        valid = await self.newest_valid(sku, heads, spellings)
        dead_letters = [dead_letter_of(self._domain, head, error) for head, error in valid.failed]
        references = {stream: self._references_of(stream, event) for stream, event in valid.decoded.items()}
        bad = [head for head, _ in valid.failed]
        found = FoldedSections([], bad, dead_letters, references, {}, valid.parents)
        if isinstance(valid.sections, KeptPages):
            return await self._keep({sku: valid.sections}, valid.events.values(), found)
        found.sections.append(valid.sections)
        return found

    async def newest_valid(self, sku: str, heads: Iterable[StoredEvent], spellings: Spellings) -> ValidEvents:
        """What one SKU (encoded as in the log) is folded from, where heads may be bad. Writes nothing."""
        current = {head.originator_id: head for head in heads if head.originator_id.startswith(sku + "/")}
        first = dict(current)
        decoded: dict[str, DecodedEvent] = {}
        failed: dict[str, tuple[StoredEvent, str]] = {}
        for stream, head in current.items():
            event = self.decode(head)
            if isinstance(event, DecodedEvent):
                decoded[stream] = event
            else:
                failed[stream] = first[stream], event
                decoded[stream] = await self._older(current, stream)
        while True:
            laid, errors, parents = await self._laid(sku, decoded, spellings)
            outcome = self._try(sku, laid)
            if not isinstance(outcome, FoldError):
                for stream, error in errors.items():  # these are not taken from an older event: they count as they are
                    failed.setdefault(stream, (first[stream], error))
                return ValidEvents(outcome, current, decoded, laid, list(failed.values()), parents)
            failed.setdefault(outcome.stream, (first[outcome.stream], outcome.error))
            decoded[outcome.stream] = await self._older(current, outcome.stream)

    async def _laid(
        self, sku: str, decoded: Mapping[str, DecodedEvent], spellings: Spellings
    ) -> tuple[Mapping[str, DecodedEvent], Mapping[str, str], Parents | None]:
        """The events of a SKU, laid over those of its parents, why some have none, both by stream, and the parents."""
        if self._parents is None:
            return decoded, {}, None
        parents = await self._parents.of_events(decoded, spellings)
        parents.chains = {}
        by_suffix = {stream.removeprefix(sku): event for stream, event in decoded.items()}
        heads, errors = self._inheritance.lay(sku, by_suffix, parents)
        laid = {sku + suffix: event for suffix, event in heads.items()}
        return laid, {sku + suffix: error for suffix, error in errors.items()}, parents

    def decode(self, event: StoredEvent) -> DecodedEvent | str:
        """The decoded event, or why it cannot be decoded."""
        try:
            decoded = self._decoder.decode(event.state)
        except _UNDECODABLE as error:
            return f"{type(error).__name__}: {error}"
        if self._upcast is not None and decoded.payload is not None:
            decoded.payload = self._upcast(decoded.payload)
        decoded.version = version_of(event.originator_version)
        return decoded

    async def _older_of(self, head: StoredEvent) -> DecodedEvent:
        return await self._older({head.originator_id: head}, head.originator_id)

    async def _older(self, current: Heads, stream: str) -> DecodedEvent:
        """The next older event of the stream that can be decoded; if there is none, an empty withdrawal."""
        while older := await self._log.older_events(current[stream], OLDER_EVENTS):
            for event in older:
                current[stream] = event
                decoded = self.decode(event)
                if isinstance(decoded, DecodedEvent):
                    return decoded
        return DecodedEvent(MIN_TIMESTAMP, MIN_TIMESTAMP, None, version_of(current[stream].originator_version))

    def _try(self, sku: str, decoded: Mapping[str, DecodedEvent]) -> SharedSections | KeptPages | FoldError:
        """The sections of a SKU, or what they need, or one stream that prevents them."""
        by_suffix = {stream.removeprefix(sku): event for stream, event in decoded.items()}
        try:
            return self._fold.fold(sku, by_suffix)
        except KeptPages as pages:
            return pages
        except ChannelMismatch as mismatch:
            return FoldError(sku + mismatch.suffix, mismatch.reason)
        except Exception as error:  # noqa: BLE001  # an error in a domain must not stop the consumer
            reason = f"{type(error).__name__}: {error}"
        for suffix, event in by_suffix.items():
            try:
                self._fold.fold(sku, {suffix: event})
            except KeptPages:
                continue
            except Exception as error:  # noqa: BLE001  # as above, for one contribution
                return FoldError(sku + suffix, f"{type(error).__name__}: {error}")
        live = [stream for stream, event in decoded.items() if event.payload is not None]
        return FoldError(live[0], f"only together with {', '.join(live[1:])}: {reason}")

    async def resolve(
        self,
        transaction: FoldTransaction,
        heads: Sequence[StoredEvent],
        bad: Sequence[StoredEvent],
        *,
        by: str | None = None,
    ) -> None:
        """Resolves the dead letters of streams whose heads fold."""
        if heads and await transaction.has_dead_letters():
            fine = {head.originator_id for head in heads} - {head.originator_id for head in bad}
            if fine:
                await transaction.resolve(fine, Resolution("folded", now(), by))


def _without_large_payloads(heads: list[StoredEvent]) -> list[StoredEvent]:
    """Drops the payloads of heads that are kept, if they are large."""
    if sum([len(head[5]) for head in heads]) < LARGE_HEAD_BYTES * len(heads):
        return heads
    return list(map(without_payload, heads))
