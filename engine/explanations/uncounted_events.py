"""The events of a product that do not count in a section, each with the reason; and what they would give."""

from collections.abc import Sequence
from typing import NamedTuple

from pagefold.domains.fold_trace import Given, Path
from pagefold.engine.configuration.config import Config
from pagefold.engine.explanations.folded_section import FoldedSection, SectionFolder
from pagefold.engine.explanations.page_inputs import OLDER_EVENTS
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import describe_version
from pagefold.projections.explanations import ReasonCode
from pagefold.projections.releases import release_of
from pagefold.projections.streams import EVERY_CHANNEL, parse_stream_id


class UncountedEvent(NamedTuple):
    """An event that does not count, and why. `content` is the event with what it would say, if that is another one."""

    event: StoredEvent
    code: ReasonCode
    detail: str
    content: StoredEvent


class Offer(NamedTuple):
    """What an event that does not count would give to a place of the section."""

    path: Path
    given: Given
    event: StoredEvent
    code: ReasonCode
    detail: str


class UncountedEvents:
    """Finds them in one log, under one configuration."""

    def __init__(self, log: Log, config: Config, folder: SectionFolder) -> None:
        self._log = log
        self._config = config
        self._folder = folder

    async def find(self, sku: str, heads: Sequence[StoredEvent], folded: FoldedSection) -> list[UncountedEvent]:
        """Those of a SKU: heads that do not count, and older events that arrived after the newer one that does."""
        found: list[UncountedEvent] = []
        for head in heads:
            suffix = head.originator_id[len(sku) :]
            if suffix not in folded.events:
                found.append(UncountedEvent(head, self._not_listened(head), "", head))
            elif suffix in folded.fold.skipped:
                code, detail = folded.fold.skipped[suffix]
                content = await self._before(head) if code == "withdrawn" else head
                event = head if code == "kept" else folded.events[suffix]
                found.append(UncountedEvent(event, code, detail, content))
        for head, error in folded.bad:
            is_older = folded.events[head.originator_id[len(sku) :]] != head
            found.append(UncountedEvent(head, "cannot-fold" if is_older else "not-inherited", error, head))
        return found

    async def superseded(self, folded: FoldedSection) -> list[UncountedEvent]:
        """The versions before those that count. Those that arrived later say so, also those of its parents."""
        found: list[UncountedEvent] = []
        for event, suffix in {event: suffix for suffix, event in folded.events.items()}.items():
            for index, older in enumerate(await self._log.older_events(event, OLDER_EVENTS)):
                is_late = older.notification_id > event.notification_id
                if is_late or (index == 0 and suffix in folded.fold.used):
                    found.append(UncountedEvent(older, "superseded", _lateness(older, event) if is_late else "", older))
        for event in {each.event for origins in folded.origins.values() for each in origins[1:]}:
            late = [
                each
                for each in await self._log.older_events(event, OLDER_EVENTS)
                if each.notification_id > event.notification_id
            ]
            found += [UncountedEvent(each, "superseded", _lateness(each, event), each) for each in late]
        return found

    def offers(self, events: Sequence[UncountedEvent], folded: FoldedSection) -> list[Offer]:
        """What they would give to single places of the section: those that are not made of several events."""
        found: list[Offer] = []
        for event, code, detail, content in events:
            for path, taken in self._folder.alone(content).taken.items():
                if taken.how in {"stated", "text"} and (len(path) == 1 or path[0] == "attributes"):
                    places = folded.fold.places_of(path)
                    found += [Offer(place, taken.given[0], event, code, detail) for place in places]
        return found

    def _not_listened(self, head: StoredEvent) -> ReasonCode:
        stream = parse_stream_id(head.originator_id)
        if release_of(stream.source) not in {None, *self._config.releases}:
            return "unpublished"
        if stream.source not in self._config.counting_sources(self._folder.domain.name):
            return "unknown-source"
        if stream.channel not in {EVERY_CHANNEL, *self._config.channels}:
            return "unknown-channel"
        return "not-listened" if stream.channel in {EVERY_CHANNEL, self._folder.channel.name} else "other-channel"

    async def _before(self, head: StoredEvent) -> StoredEvent:
        older = await self._log.older_events(head, 1)
        return older[0] if older else head


def _lateness(older: StoredEvent, newer: StoredEvent) -> str:
    versions = (describe_version(each.originator_version) for each in (older, newer))
    return "version {} arrived after version {}".format(*versions)
