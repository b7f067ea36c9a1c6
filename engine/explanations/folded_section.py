"""One section as the log gives it, folded again with a trace."""

from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

from msgspec import UNSET

from pagefold.domains import AnyDomain, Contribution
from pagefold.domains.domain import fields_of
from pagefold.domains.fold_trace import Given, Path
from pagefold.engine.explanations.page_inputs import OLDER_EVENTS
from pagefold.engine.folding.fold_results import ValidEvents
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.folding.older_versions import Learn, add_older_versions
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader, PastLog
from pagefold.engine.stores.store import Store
from pagefold.projections import Channel, DecodedEvent, DomainFold
from pagefold.projections.explanations import RecordedFold
from pagefold.projections.inheritance import Parents
from pagefold.projections.section_fold import Content, KeptPages
from pagefold.projections.streams import EVERY_CHANNEL, Stream, parse_stream_id


class Origin(NamedTuple):
    """An event that a section is made of, and its payload as JSON."""

    event: StoredEvent
    payload: Mapping[str, Any]

    def value(self, path: Path) -> Any:  # noqa: ANN401  # JSON
        """What the payload has at a path; UNSET if nothing."""
        found: Any = self.payload
        for name in path:
            is_member = isinstance(found, dict) and name in found
            if not is_member and not (isinstance(found, list) and isinstance(name, int) and name < len(found)):
                return UNSET
            found = found[name]
        return found


class FoldedSection(NamedTuple):
    """A section as the log gives it, None if no stream can give it; and how it was folded.

    `events` has, by suffix, what counts as the head of each stream of the channel; `bad` the heads that cannot be
    folded, or inherit nothing, and why. `origins` are the events that the section is made of, by source: that of the
    product itself, then those of its parents, nearest first. `above` are the SKUs, encoded as in the log, that are its
    parents or would be if anything counted of them, nearest first.
    """

    content: Content | None
    fold: RecordedFold
    events: dict[str, StoredEvent]
    bad: list[tuple[StoredEvent, str]]
    origins: dict[str, list[Origin]]
    above: Sequence[str] = ()

    @property
    def used(self) -> dict[str, StoredEvent]:
        """The events of the product itself that the section is made of, by source."""
        return {source: origins[0].event for source, origins in self.origins.items()}

    @property
    def shown(self) -> dict[str, StoredEvent]:
        """The event whose version the page names, by source: that which counts, else that for the channel."""
        found: dict[str, StoredEvent] = {}
        for suffix, event in sorted(self.events.items(), key=lambda each: each[0].startswith(f"/{EVERY_CHANNEL}/")):
            found.setdefault(parse_stream_id("x" + suffix).source, event)
        return found | self.used

    def origin_of(self, given: Given) -> tuple[StoredEvent, Any]:
        """The event that has what a source gave, and the value there: of parents, the nearest that has it."""
        origins = self.origins[given.source]
        for origin in origins if len(origins) > 1 else ():
            if (value := origin.value(given.path)) is not UNSET:
                return origin.event, value
        return origins[0].event, given.value


class SectionFolder:
    """Folds the sections of one domain in one channel, under one configuration."""

    def __init__(self, store: Store, domain: AnyDomain, channels: Sequence[Channel], channel: Channel) -> None:
        """`channels` are all of the configuration: whether an event can be folded is not for one to say."""
        self.domain = domain
        self.channel = channel
        self._store = store
        self._log: HeadReader = store.log
        self._spellings = store.references
        self._folder = HeadFolder(domain, channels, store.log)
        self._fold = DomainFold(domain, [channel])
        self._plain_context = replace(channel.context(), view=None)

    async def fold(self, sku: str, heads: Sequence[StoredEvent]) -> FoldedSection:
        """The section that the heads of a SKU's streams give. The SKU is encoded as in the log."""
        given = [head for head in heads if head.originator_id[len(sku) :] in self._folder.suffixes]
        valid = await self._folder.newest_valid(sku, given, self._spellings)
        own = self._fold.suffixes
        bad = [each for each in valid.failed if each[0].originator_id[len(sku) :] in own]
        events = {stream[len(sku) :]: event for stream, event in valid.events.items()}
        counting = {} if valid.parents is None else valid.parents.origins.get(sku, {})
        events |= {suffix: events[origin] for suffix, origin in counting.items()}
        events = {suffix: event for suffix, event in events.items() if suffix in own}
        fold = RecordedFold()
        decoded = {stream[len(sku) :]: event for stream, event in valid.laid.items()}
        found = FoldedSection(None, fold, events, bad, {})
        try:
            sections = self._fold.fold(sku, decoded, fold, valid.answers).sections()
        except KeptPages as pages:
            answers = {} if valid.answers is None else {sku: valid.answers}
            return await self._with_older(sku, pages, found, self._folder.learning(answers, self._spellings))
        origins = {source: origins async for source, origins in self._origins(sku, fold, valid)}
        above = [] if valid.parents is None else valid.parents.above(sku)
        return found._replace(content=sections[0][3:] if sections else None, origins=origins, above=above)

    async def _origins(
        self, sku: str, fold: RecordedFold, valid: ValidEvents
    ) -> AsyncIterator[tuple[str, list[Origin]]]:
        """The events of each source that counts, and of the parents that it inherits from."""
        parents = valid.parents
        counting = {} if parents is None else parents.origins.get(sku, {})
        for suffix in fold.used:
            stream = sku + counting.get(suffix, suffix)
            origins = [_origin(valid.events[stream], valid.decoded[stream])]
            name = parse_stream_id(sku + suffix)
            above = _parents(sku, name, parents)
            origins += [await self._newest(parent) for parent in above or ()]
            is_bad = any(head == origins[0].event for head, _ in valid.failed)
            if above == [] and "parent" in origins[0].payload and not is_bad:
                fold.lack(("parent",), "no-parent")
            yield name.source, origins

    async def _newest(self, stream: str) -> Origin:
        """The newest event of a stream that can be decoded."""
        events: Sequence[StoredEvent] = await self._log.heads([stream])
        while True:
            for event in events:
                if isinstance(decoded := self._folder.decode(event), DecodedEvent):
                    return _origin(event, decoded)
            events = await self._log.older_events(events[-1], OLDER_EVENTS)

    async def _with_older(self, sku: str, pages: KeptPages, found: FoldedSection, learn: Learn) -> FoldedSection:
        """The section that keeps an older version, if one is complete; its heads count no more then."""
        versions: list[tuple[StoredEvent, DecodedEvent]] = []

        def decode(event: StoredEvent) -> DecodedEvent | str:
            decoded = self._folder.decode(event)
            if isinstance(decoded, DecodedEvent):
                versions.append((event, decoded))
            return decoded

        heads = {sku + suffix: event for suffix, event in found.events.items()}
        await add_older_versions(self._log, decode, learn, {sku: pages}, heads)
        content = pages.sections().sections()[0][3:]
        [gap] = pages.gaps
        if gap.place not in pages.kept:
            found.fold.stop("incomplete")
            found.fold.used.clear()
            return found._replace(content=content)
        fold = RecordedFold()
        kept = next(each for each in versions if gap.kept(self.domain, each[1], fold := RecordedFold()))
        fold.keep(gap.suffix, found.fold)
        events = {**found.events, gap.suffix: kept[0]}
        return FoldedSection(content, fold, events, found.bad, {gap.source: [_origin(*kept)]})

    async def fold_past(self, sku: str, streams: Sequence[str], position: int) -> Content | None:
        """The section that these streams of a SKU gave when the log ended at a position."""
        past = copy(self)
        past._log = PastLog(self._store.log, position)  # noqa: SLF001  # its own
        past._folder = self._folder.reading(past._log)  # noqa: SLF001
        return (await past.fold(sku, await past._log.heads(streams))).content  # noqa: SLF001

    def alone(self, event: StoredEvent) -> RecordedFold:
        """What an event would give by itself, without contract and requirements. Nothing, if it cannot be folded."""
        fold = RecordedFold()
        decoded = self._folder.decode(event)
        if isinstance(decoded, DecodedEvent) and decoded.payload is not None:
            source = parse_stream_id(event.originator_id).source
            self.domain.fold([Contribution(source, decoded.payload)], self._plain_context, fold)
        return fold


def _origin(event: StoredEvent, decoded: DecodedEvent) -> Origin:
    return Origin(event, {} if decoded.payload is None else fields_of(decoded.payload))


def _parents(sku: str, name: Stream, parents: Parents | None) -> list[str] | None:
    """The streams of the parents of a SKU that count in a channel, nearest first; None if its source has none."""
    if parents is None or parents.chains is None or (key := (name.source, name.channel, sku)) not in parents.chains:
        return None
    return [
        parent + next(suffix for suffix, event in parents.heads[parent].items() if event.payload is payload)
        for parent, payload in parents.chains[key]
    ]
