"""Folding streams into sections, inside one transaction. Consumers do it window by window, repairs stream by stream."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import AnyDomain
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.source_resets import without_payload
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction, Log, StoredEvent
from pagefold.projections import (
    Channel,
    ChannelFold,
    ChannelMismatch,
    DecodedEvent,
    DomainFold,
    Section,
    SharedSections,
    sections_of,
)
from pagefold.projections.epochs import OWN_VERSION, version_of

CHUNK_SKUS = 2_000
"""How many SKUs are read, folded and written at a time, unless they are too large."""

CHUNK_BYTES = 64 * 1024 * 1024
"""Bytes of the heads and of the sections that they give: what a transaction holds in memory of a chunk."""

LARGE_HEAD_BYTES = 4 * 1024
"""Bytes of a head, as the mean of a chunk, from which on payloads are not held until the transaction ends."""

MAX_ON_LOOP = 64
"""Up to so many heads are folded on the event loop; more would hold it up."""

OLDER_EVENTS = 50
MIN_TIMESTAMP = "0001-01-01T00:00:00.000000Z"

_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_sku = itemgetter(0)

Heads: TypeAlias = dict[str, StoredEvent]
Affected: TypeAlias = Mapping[str, Sequence[ChannelFold]]


class FoldResult(NamedTuple):
    """What one transaction folded.

    `heads` are all that it saw, `bad` those that could not be folded, `settled` those which it leaves nothing to do
    for; `changed` is how many sections it changed. Of large heads, all of these have no payload any more.
    """

    heads: list[StoredEvent]
    bad: list[StoredEvent]
    settled: list[StoredEvent]
    changed: int


class FoldedSections(NamedTuple):
    """What heads give: the sections, and which of the heads could not be folded, with the letters that say why."""

    sections: list[Section]
    bad: list[StoredEvent]
    dead_letters: list[NewDeadLetter]


class _FoldError(NamedTuple):
    """A stream whose head cannot be folded, and why."""

    stream: str
    error: str


class Folder:
    """Folds one domain under one configuration.

    `tails` are the ends of the names of all streams that can give a section; `everywhere` are all channels.
    """

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel], log: Log) -> None:
        self._fold = DomainFold(domain, channels)
        self._domain = domain.name
        self._log = log
        self._max_bytes = CHUNK_BYTES // (1 + self._fold.max_contents)
        self.suffixes = self._fold.suffixes
        self.all_channels = self._fold.all_channels
        self._upcast = domain.upcast
        word = msgspec.defstruct(
            "DecodedEvent", [("payload", domain.payload | None)], bases=(DecodedEvent,), eq=False, gc=False
        )
        self._decoder: msgspec.json.Decoder[DecodedEvent] = msgspec.json.Decoder(
            word
        )  # the payload's type is known only now

    async def fold(self, folding: FoldTransaction, streams: Collection[str], *, by: str | None = None) -> FoldResult:
        """Writes every section that the streams can change. Events that cannot be folded are buried, not raised.

        `by` is the operator who asked for it.
        """
        affected = self._fold.affected(streams)
        heads: list[StoredEvent] = []
        bad: list[StoredEvent] = []
        settled: list[StoredEvent] = []
        changed = 0
        async for chunk, found in self._chunks(affected, self._fold.unused_streams(streams)):
            sections, troubled, letters = await self.sections(found, chunk)
            if letters:
                await folding.add_dead_letters(letters)
            changed += await folding.write(sections)
            light = _without_large_payloads(found)
            del found, sections  # before the next ones are read
            heads += light
            bad += map(without_payload, troubled)
            if not troubled:
                is_whole = self._fold.covers
                settled += [head for head in light if is_whole(head[1], chunk[head[1].partition("/")[0]])]
        await self.resolve(folding, heads, bad, by=by)
        return FoldResult(heads, bad, settled, changed)

    async def _chunks(
        self, affected: Affected, unheard: Sequence[str]
    ) -> AsyncGenerator[tuple[Affected, list[StoredEvent]], None]:
        """The SKUs in their order, some at a time, with the heads that decide their sections.

        A chunk whose heads are too large is divided, down to one SKU.
        """
        skus = sorted(affected)
        left = split_equal(skus, -(-len(skus) // CHUNK_SKUS))[::-1] if skus else []
        while left:
            some = left.pop()
            chunk = {sku: affected[sku] for sku in some}
            silent = [stream for stream in unheard if stream.partition("/")[0] in chunk]
            wanted = self._fold.needed_streams(chunk) + silent
            try:
                heads = await self._log.heads(wanted, max_bytes=self._max_bytes if len(some) > 1 else None)
            except ReadTooLarge as error:
                left += split_equal(some, error.parts)[::-1]
                continue
            yield chunk, heads
            del heads  # before the next ones are read

    async def sections(self, heads: list[StoredEvent], affected: Affected) -> FoldedSections:
        """The sections of these SKUs in these channels, from all heads that decide them. Writes nothing."""

        def fold() -> tuple[list[Section], list[str]]:
            shared, troubled = self._fold_valid(heads, affected)
            return sections_of(shared), troubled

        sections, troubled = fold() if len(heads) <= MAX_ON_LOOP else await compute_in_thread(fold)
        found = FoldedSections(sections, [], [])
        for sku in troubled:
            mended = await self._fold_newest_valid(sku, heads, affected[sku])
            found.sections.extend(mended.sections)
            found.bad.extend(mended.bad)
            found.dead_letters.extend(mended.dead_letters)
        return found

    async def fold_all_channels(self, heads: list[StoredEvent], skus: Iterable[str]) -> list[SharedSections] | None:
        """All sections of these SKUs, by SKU, from all of their heads. None where one of these cannot be folded."""

        def fold() -> list[SharedSections] | None:
            shared, troubled = self._fold_valid(heads, dict.fromkeys(skus, self.all_channels))
            return None if troubled else sorted(shared, key=_sku)

        return await compute_in_thread(fold)

    def _fold_valid(self, heads: Sequence[StoredEvent], affected: Affected) -> tuple[list[SharedSections], list[str]]:
        """The sections of the SKUs that fold without trouble, and the other SKUs."""
        by_sku: dict[str, list[StoredEvent]] = {}
        for head in heads:
            stream = head[1]
            sku = stream[: stream.index("/")]
            if (known := by_sku.get(sku)) is None:
                by_sku[sku] = [head]
            else:
                known.append(head)
        shared: list[SharedSections] = []
        troubled: list[str] = []
        decode, fold, upcast = self._decoder.decode, self._fold.fold, self._upcast
        for sku, mine in by_sku.items():  # decoded, an event takes many times as much: never more than one SKU's
            words: dict[str, DecodedEvent] = {}
            try:
                for head in mine:
                    word = decode(head[5])
                    word.version = head[2] & OWN_VERSION  # as `version_of`, without a call for each
                    if upcast is not None and word.payload is not None:
                        word.payload = upcast(word.payload)
                    words[head[1][len(sku) :]] = word
                shared.append(fold(sku, words, affected[sku]))
            except Exception:  # noqa: BLE001  # whatever a domain does wrong, the others go on; `_mend` finds and reports it
                troubled.append(sku)
        return shared, troubled

    async def _fold_newest_valid(
        self, sku: str, heads: Iterable[StoredEvent], channels: Sequence[ChannelFold]
    ) -> FoldedSections:
        """Folds one SKU from the newest events that can be folded."""
        current = {head.originator_id: head for head in heads if head.originator_id.startswith(sku + "/")}
        first = dict(current)
        words: dict[str, DecodedEvent] = {}
        buried: dict[str, StoredEvent] = {}
        letters: list[NewDeadLetter] = []
        for stream, head in current.items():
            word = self._decode(head)
            if isinstance(word, DecodedEvent):
                words[stream] = word
            else:
                buried[stream] = first[stream]
                letters.append(_dead_letter(self._domain, first[stream], word))
                words[stream] = await self._older(current, stream)
        while True:
            outcome = self._try(sku, words, channels)
            if not isinstance(outcome, _FoldError):
                return FoldedSections(outcome, list(buried.values()), letters)
            stream = outcome.stream
            if stream not in buried:
                buried[stream] = first[stream]
                letters.append(_dead_letter(self._domain, first[stream], outcome.error))
            words[stream] = await self._older(current, stream)

    def _decode(self, event: StoredEvent) -> DecodedEvent | str:
        """The event, decoded, or why it cannot be."""
        try:
            word = self._decoder.decode(event.state)
        except _UNDECODABLE as error:
            return f"{type(error).__name__}: {error}"
        if self._upcast is not None and word.payload is not None:
            word.payload = self._upcast(word.payload)
        word.version = version_of(event.originator_version)
        return word

    async def _older(self, current: Heads, stream: str) -> DecodedEvent:
        """The word of the next older event of the stream that can be decoded; when there is none, silence."""
        while older := await self._log.older_events(current[stream], OLDER_EVENTS):
            for event in older:
                current[stream] = event
                word = self._decode(event)
                if isinstance(word, DecodedEvent):
                    return word
        return DecodedEvent(MIN_TIMESTAMP, MIN_TIMESTAMP, None, version_of(current[stream].originator_version))

    def _try(
        self, sku: str, words: Mapping[str, DecodedEvent], channels: Sequence[ChannelFold]
    ) -> list[Section] | _FoldError:
        """The sections of a SKU, or one stream that is in the way."""
        by_tail = {stream.removeprefix(sku): word for stream, word in words.items()}
        try:
            return self._fold.fold(sku, by_tail, channels).sections()
        except ChannelMismatch as misfit:
            return _FoldError(sku + misfit.suffix, misfit.reason)
        except Exception as error:  # noqa: BLE001  # a domain's own fault must not stop the consumer
            reason = f"{type(error).__name__}: {error}"
        for tail, word in by_tail.items():
            try:
                self._fold.fold(sku, {tail: word}, channels)
            except Exception as error:  # noqa: BLE001  # the same, for one contribution alone
                return _FoldError(sku + tail, f"{type(error).__name__}: {error}")
        live = [stream for stream, word in words.items() if word.payload is not None]
        return _FoldError(live[0], f"only together with {', '.join(live[1:])}: {reason}")

    async def resolve(
        self,
        folding: FoldTransaction,
        heads: Sequence[StoredEvent],
        bad: Sequence[StoredEvent],
        *,
        by: str | None = None,
    ) -> None:
        """A head that folds clears what was buried of its stream."""
        if heads and await folding.has_dead_letters():
            fine = {head.originator_id for head in heads} - {head.originator_id for head in bad}
            if fine:
                await folding.resolve(fine, Resolution("folded", now(), by))


def _without_large_payloads(heads: list[StoredEvent]) -> list[StoredEvent]:
    """Heads to be held: without what they say where that is much."""
    if sum([len(head[5]) for head in heads]) < LARGE_HEAD_BYTES * len(heads):
        return heads
    return list(map(without_payload, heads))


def _dead_letter(domain: str, event: StoredEvent, error: str) -> NewDeadLetter:
    return NewDeadLetter(
        kind="projection",
        domain=domain,
        originator_id=event.originator_id,
        originator_version=event.originator_version,
        revision=event.revision,
        digest=b"",
        error=error,
        state=event.state,
        recorded_at=now(),
    )
