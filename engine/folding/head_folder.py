"""Folds heads into sections. Writes nothing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, Self

import msgspec

from pagefold.domains import AnyDomain
from pagefold.domains.channel_view import UnknownSkus
from pagefold.engine.folding.fold_errors import FoldError, ParentError, dead_letter_of
from pagefold.engine.folding.fold_results import FoldedSections, Heads, ValidEvents, ValidSections
from pagefold.engine.folding.older_versions import Learn, add_older_versions
from pagefold.engine.folding.parent_reader import ParentReader, Spellings, heads_by_sku
from pagefold.engine.folding.sku_reader import SkuReader
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader
from pagefold.engine.stores.reference_records import References
from pagefold.projections import Channel, ChannelMismatch, DecodedEvent, DomainFold, KeptPages, SharedSections, skus_of
from pagefold.projections.asking_channels import AskingChannels
from pagefold.projections.epochs import OWN_VERSION, version_of
from pagefold.projections.inheritance import Inheritance, Parents
from pagefold.projections.known_skus import KnownSkus, SkuAnswers

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

    `kept` are SKUs that fold without errors, but need older versions; `asking` are those that ask for SKUs which are
    `unknown`. `answers` are those that the others got.
    """

    sections: list[SharedSections]
    failed: list[str]
    references: dict[str, Mapping[str, Sequence[str]]]
    kept: dict[str, KeptPages]
    asking: set[str]
    unknown: set[str]
    answers: dict[str, SkuAnswers]


class HeadFolder:
    """Folds the heads of one domain under one configuration.

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
        self.suffixes = self._fold.suffixes
        self._upcast = domain.upcast
        self._references = domain.references
        self._inheritance = Inheritance(domain, channels)
        self._parents: ParentReader | None = None
        self._skus: SkuReader | None = None
        decoded_event = msgspec.defstruct(
            "DecodedEvent", [("payload", domain.payload | None)], bases=(DecodedEvent,), eq=False, gc=False
        )
        self._decoder: msgspec.json.Decoder[DecodedEvent] = msgspec.json.Decoder(
            decoded_event
        )  # the payload type is dynamic
        if self._inheritance.is_used:
            self._parents = ParentReader(self._inheritance, self._needed, self._read, self.decode, self._older_of)
        self._asking = AskingChannels(domain, channels)
        if self._asking.names:
            self._skus = SkuReader(self._asking, self.heads, self.decode, self._older_of)

    @property
    def reads_others(self) -> bool:
        """Whether the sections of a SKU may depend on the heads of others."""
        return self._parents is not None or self._skus is not None

    def reading(self, log: HeadReader) -> Self:
        """The same folder of another log, such as this one as it was at a position. Costs next to nothing."""
        other = copy(self)
        other._log = log  # noqa: SLF001  # its own
        if self._parents is not None:
            other._parents = self._parents.reading(other._needed, other._read, other._older_of)  # noqa: SLF001
        if self._skus is not None:
            other._skus = SkuReader(self._asking, other.heads, other.decode, other._older_of)  # noqa: SLF001
        return other

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
        folded = await self._folded(heads, parents, spellings)
        found = FoldedSections(folded.sections, [], [], folded.references, {}, parents, folded.answers)
        await self._keep(folded.kept, heads, found, spellings)
        for sku in folded.failed:
            repaired = await self._fold_newest_valid(sku, heads, spellings)
            found.sections.extend(repaired.sections)
            found.bad.extend(repaired.bad)
            found.dead_letters.extend(repaired.dead_letters)
            found.older.update(repaired.older)
            folded.references.update(repaired.references)
            folded.answers.update(repaired.answers)
        found.sections.sort(key=_sku)
        self._link(folded)
        return found

    async def _folded(self, heads: Sequence[StoredEvent], parents: Parents | None, spellings: Spellings) -> _Folded:
        """What heads fold to. SKUs that they name are read from the log, and those that ask for them folded again."""
        known = KnownSkus()
        folded = await self._computed(heads, parents, known)
        while self._skus is not None and folded.asking:
            await self._skus.learn(known, folded.unknown, spellings)
            own = [head for head in heads if head[1].partition("/")[0] in folded.asking]
            again = await self._computed(own, parents, known)
            folded.sections.extend(again.sections)
            folded.failed.extend(again.failed)
            folded.references.update(again.references)
            folded.kept.update(again.kept)
            folded.answers.update(again.answers)
            folded = folded._replace(asking=again.asking, unknown=again.unknown)
        return folded

    async def _computed(
        self, heads: Sequence[StoredEvent], parents: Parents | None, known: KnownSkus | None
    ) -> _Folded:
        def fold() -> _Folded:
            return self._fold_valid(heads, parents, known)

        return fold() if len(heads) <= MAX_ON_LOOP else await compute_in_thread(fold)

    def _link(self, folded: _Folded) -> None:
        """Adds the links of SKUs to those that they name. A stream that has none any more has an empty mapping."""
        for each in folded.answers.values():
            if self._skus is not None and each.stream:
                stated = folded.references.get(each.stream, {})
                folded.references[each.stream] = {**stated, **self._skus.links(each)}

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

    async def linking(self, streams: Iterable[str]) -> set[str]:
        """Those of some streams that have the links of their SKUs to those that they name. Empty if no channel asks."""
        if self._skus is None:
            return set()
        first: dict[str, str] = {}
        for head in await self.heads(skus_of(streams)):
            sku, _, _ = head.originator_id.partition("/")
            first[sku] = min(first.get(sku, head.originator_id), head.originator_id)
        return set(first.values())

    def _references_of(self, stream: str, event: DecodedEvent) -> Mapping[str, Sequence[str]]:
        """The references that an event states, and its links to parents."""
        links = {} if self._parents is None else self._inheritance.links(stream, event.payload)
        if self._references is None or event.payload is None:
            return links
        return {**self._references(event.payload), **links}

    async def fold_valid(self, heads: list[StoredEvent], spellings: Spellings) -> ValidSections | None:
        """The sections of the SKUs of these heads, as `sections`, and their references.

        None if any of the heads cannot be folded.
        """
        parents = await self.parents(heads, spellings)
        folded = await self._folded(heads, parents, spellings)
        if folded.failed:
            return None
        found = FoldedSections(folded.sections, [], [], folded.references, {}, parents, folded.answers)
        await self._keep(folded.kept, heads, found, spellings)
        self._link(folded)
        return ValidSections(sorted(folded.sections, key=_sku), folded.references)

    async def fold_without_reading(self, heads: Sequence[StoredEvent]) -> tuple[list[SharedSections], set[str]]:
        """The sections of the SKUs of these heads, in any order, where nothing `reads_others`.

        The other SKUs (encoded) cannot be folded, or need older versions.
        """
        folded = await self._computed(heads, None, None)
        return folded.sections, {*folded.failed, *folded.kept}

    def fold_few(self, heads: Sequence[StoredEvent]) -> list[SharedSections] | None:
        """The sections of the SKUs of these heads, by SKU, where nothing `reads_others`.

        None if any cannot be folded, states references, or needs older versions.
        """
        folded = self._fold_valid(heads, None, None)
        return None if folded.failed or folded.references or folded.kept else sorted(folded.sections, key=_sku)

    def _fold_valid(self, heads: Sequence[StoredEvent], parents: Parents | None, known: KnownSkus | None) -> _Folded:
        """The sections of the SKUs that fold without errors, and the other SKUs."""
        shared: list[SharedSections] = []
        failed: list[str] = []
        references: dict[str, Mapping[str, Sequence[str]]] = {}
        kept: dict[str, KeptPages] = {}
        asking: set[str] = set()
        unknown: set[str] = set()
        answers: dict[str, SkuAnswers] = {}
        own_answers: SkuAnswers | None = None
        asked = None if self._skus is None else known
        decode, fold, upcast, references_of = self._decoder.decode, self._fold.fold, self._upcast, self._references
        for sku, own_heads in heads_by_sku(
            heads
        ).items():  # decoded events need many times the memory: one SKU at a time
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
                if asked is not None:
                    own_answers = answers[sku] = self._answers(asked, sku, decoded)
                laid = decoded if parents is None else self._lay(sku, decoded, parents, references)
                shared.append(fold(sku, laid, None, own_answers))
            except KeptPages as pages:
                kept[sku] = pages
            except UnknownSkus as lacking:
                asking.add(sku)
                unknown |= lacking.names
            except Exception:  # noqa: BLE001  # must not stop the others; `_fold_newest_valid` reports it
                failed.append(sku)
        return _Folded(shared, failed, references, kept, asking, unknown, answers)

    def _answers(self, known: KnownSkus, sku: str, decoded: Mapping[str, DecodedEvent]) -> SkuAnswers:
        """The answers for the fold of a SKU."""
        answers = SkuAnswers(known)
        answers.live = frozenset(suffix for suffix, event in decoded.items() if event.payload is not None)
        if used := [suffix for suffix in decoded if suffix in self.suffixes]:
            answers.stream = sku + min(used)
        return answers

    def learning(self, answers: Mapping[str, SkuAnswers], spellings: Spellings) -> Learn:
        """Finds out about the SKUs that the folds of some SKUs ask for."""

        async def learn(sku: str, names: Collection[str]) -> None:
            if self._skus is not None:
                await self._skus.learn(answers[sku].known, names, spellings)

        return learn

    async def _keep(
        self, kept: Mapping[str, KeptPages], heads: Iterable[StoredEvent], found: FoldedSections, spellings: Spellings
    ) -> FoldedSections:
        """Adds the sections of SKUs that need older versions, and the newest position of these."""
        if not kept:
            return found
        by_stream = {head[1]: head for head in heads}
        if found.parents is not None:  # older versions count alone, without parents
            for sku in kept:
                origins = found.parents.origins.get(sku, {})
                by_stream.update({sku + suffix: by_stream[sku + origin] for suffix, origin in origins.items()})
        learn = self.learning(found.answers, spellings)
        newest = await add_older_versions(self._log, self.decode, learn, kept, by_stream)
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
        answers = {} if valid.answers is None else {sku: valid.answers}
        found = FoldedSections([], bad, dead_letters, references, {}, valid.parents, answers)
        if isinstance(valid.sections, KeptPages):
            return await self._keep({sku: valid.sections}, valid.events.values(), found, spellings)
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
        known = KnownSkus()
        while True:
            laid, errors, parents = await self._laid(sku, decoded, spellings)
            answers = self._answers(known, sku, _by_suffix(sku, decoded)) if self._skus is not None else None
            outcome = await self._try_answered(sku, laid, answers, spellings)
            if not isinstance(outcome, FoldError):
                for stream, error in errors.items():  # these are not taken from an older event: they count as they are
                    failed.setdefault(stream, (first[stream], error))
                return ValidEvents(outcome, current, decoded, laid, list(failed.values()), parents, answers)
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
        heads, errors = self._inheritance.lay(sku, _by_suffix(sku, decoded), parents)
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

    async def _try_answered(
        self, sku: str, decoded: Mapping[str, DecodedEvent], answers: SkuAnswers | None, spellings: Spellings
    ) -> SharedSections | KeptPages | FoldError:
        """As `_try`. SKUs that it asks for are read from the log."""
        learn = self.learning({} if answers is None else {sku: answers}, spellings)
        while True:
            try:
                return self._try(sku, decoded, answers)
            except UnknownSkus as unknown:
                await learn(sku, unknown.names)

    def _try(
        self, sku: str, decoded: Mapping[str, DecodedEvent], answers: SkuAnswers | None
    ) -> SharedSections | KeptPages | FoldError:
        """The sections of a SKU, or what they need, or one stream that prevents them. Raises `UnknownSkus`."""
        by_suffix = _by_suffix(sku, decoded)
        try:
            return self._fold.fold(sku, by_suffix, None, answers)
        except KeptPages as pages:
            return pages
        except UnknownSkus:
            raise
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


def _by_suffix(sku: str, decoded: Mapping[str, DecodedEvent]) -> dict[str, DecodedEvent]:
    return {stream.removeprefix(sku): event for stream, event in decoded.items()}
