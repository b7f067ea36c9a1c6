"""Explains one section of a page: its values, and what of the log does not count, or has not arrived."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from pagefold.domains import AnyDomain
from pagefold.domains.domain import JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.explanations.explanation import ExplainedSection, Reason, StoredState, reason
from pagefold.engine.explanations.folded_section import FoldedSection, SectionFolder
from pagefold.engine.explanations.page_inputs import PageInputs
from pagefold.engine.explanations.pending_input import PendingInput
from pagefold.engine.explanations.section_values import SectionValues
from pagefold.engine.explanations.uncounted_events import UncountedEvent, UncountedEvents
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Checkpoint, Store
from pagefold.projections import Channel
from pagefold.projections.section_fold import Content
from pagefold.projections.splicer import StoredSection


class SectionAnswer(NamedTuple):
    """A section explained, how it was folded, and the events that the answer may name."""

    section: ExplainedSection
    folded: FoldedSection
    events: list[StoredEvent]


class SectionExplainer:
    """Explains the sections of one domain in one channel, under one configuration."""

    def __init__(
        self, store: Store, config: Config, domain: AnyDomain, channels: Sequence[Channel], channel: Channel
    ) -> None:
        self._store = store
        self._domain = domain.name
        self._required = domain.gives_identity or domain.name in channel.requires
        self._fingerprint = config.fingerprint(domain)
        self._folder = SectionFolder(store, domain, channels, channel)
        self._uncounted = UncountedEvents(store.log, config, self._folder)
        self._pending = PendingInput(store, config, domain, channel)

    async def explain(self, name: str, inputs: PageInputs) -> SectionAnswer:
        """Explains the section of a SKU of this name, of which `inputs` were read."""
        heads = inputs.heads_of(self._domain)
        folded = await self._folder.fold(inputs.sku, heads)
        uncounted = await self._uncounted.find(inputs.sku, heads, folded)
        older = await self._uncounted.superseded(folded)
        checkpoint = inputs.checkpoints.get(self._domain, Checkpoint(self._domain))
        stored = await self._stored_state(inputs, folded, checkpoint)
        lag = await self._store.log.lag(self._domain, checkpoint.position)
        content = folded.content
        body: JSON = None if content is None or content[3] is None else orjson.loads(content[3])
        offers = self._uncounted.offers([*uncounted, *older], folded)
        values = SectionValues(self._domain, body, folded, offers, checkpoint.position)
        section = ExplainedSection(
            domain=self._domain,
            state="absent" if content is None else "shown" if content[0] else "disabled",
            required=self._required,
            ready=content is not None and content[1],
            stored=stored,
            checkpoint=checkpoint.position,
            lag_events=lag.events,
            reasons=[
                *_stored_reasons(stored, lag.events),
                *_lacks(folded),
                *_events(uncounted, older, is_shown=body is not None),
                *await self._pending_reasons(name, inputs, folded),
            ],
            values=[] if body is None else values.values(),
            absent=values.lacking() if body is None else values.absent(),
        )
        events = [*heads, *folded.events.values(), *(each.event for each in (*uncounted, *older))]
        events += [each.event for origins in folded.origins.values() for each in origins]
        return SectionAnswer(section, folded, events)

    async def _stored_state(self, inputs: PageInputs, folded: FoldedSection, checkpoint: Checkpoint) -> StoredState:
        stored = inputs.stored.get(self._domain)
        if _is_same(stored, folded.content):
            return "same"
        if checkpoint.fingerprint not in {None, self._fingerprint}:
            return "not-applied"
        if self._domain not in inputs.steady:
            return "not-folded"
        streams = [head.originator_id for head in inputs.heads_of(self._domain)]
        then = await self._folder.fold_past(inputs.sku, streams, checkpoint.position)
        return "not-folded" if _is_same(stored, then) else "wrong"

    async def _pending_reasons(self, name: str, inputs: PageInputs, folded: FoldedSection) -> list[Reason]:
        found = [*self._pending.of_sku(inputs.dead_letters), *await self._pending.fetches(name)]
        for parent in folded.above:
            found += await self._pending.of_parent(parent)
        if not folded.fold.used:
            found += [each async for each in self._pending.unknown(inputs.dead_letters)]
        return found if inputs.heads_of(self._domain) else [*found, reason("no-event")]


def _is_same(stored: StoredSection | None, content: Content | None) -> bool:
    """Whether a stored section is what was folded: enabled, ready, versions, body, and when it occurred."""
    return (None if stored is None else tuple(stored[1:6])) == (None if content is None else content[:5])


def _stored_reasons(stored: StoredState, lag: int) -> Iterator[Reason]:
    if stored == "not-folded":
        yield reason(stored, f"events that are not folded yet: {lag}")
    elif stored != "same":
        yield reason(stored)


def _lacks(folded: FoldedSection) -> Iterator[Reason]:
    """What the fold itself says of the whole section."""
    for lack in folded.fold.lacks:
        if lack.path == ():
            event = None if lack.source is None else folded.used[lack.source].notification_id
            yield reason(lack.reason, lack.detail, event=event)


def _events(
    uncounted: Sequence[UncountedEvent], older: Sequence[UncountedEvent], *, is_shown: bool
) -> Iterator[Reason]:
    """The events that do not count: those for other channels where nothing is shown, older ones if they came late."""
    for event, code, detail, _ in (*uncounted, *older):
        if (code != "other-channel" or not is_shown) and (code != "superseded" or detail):
            yield reason(code, detail, event=event.notification_id)
