"""Finds echoes among events that are to be appended: of sources that are targets, too.

A delivery that is under way counts as sent, since a system may answer before its receipt is stored. What is not known,
or may have been overtaken, makes no echo: a change that is left out would be worse than a turn that is too many.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS, ChannelContext
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError
from pagefold.engine.intake.canonical_payloads import canonical_payload, content_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.delivery_records import StoredDelivery
from pagefold.engine.stores.event_state import EncodedEvent, with_based_on
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.echoes import Receipt, Statement, is_echo, parse_receipt
from pagefold.projections.streams import EVERY_CHANNEL, Stream, encode_part, parse_stream_id

log = Logger(__name__)

_DOMAINS = frozenset(domain.name for domain in DOMAINS)


class Findings(NamedTuple):
    """The numbers of events that are echoes; and, of others, what their source had been sent: versions by stream."""

    echoes: frozenset[int] = frozenset()
    based_on: Mapping[int, Mapping[str, int]] = {}

    def completed(self, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
        """The events, with what they are based on where they do not say it themselves."""
        found = list(events)
        for number, versions in self.based_on.items():
            found[number] = with_based_on(found[number], versions)
        return found


NOTHING = Findings()


class _Row(NamedTuple):
    """A delivery's row, its receipt, and the channel."""

    stored: StoredDelivery
    receipt: Receipt | None
    context: ChannelContext


def sources_of_targets(config: Config) -> dict[str, list[str]]:
    """The targets of each source that is one, by its name in streams."""
    found: dict[str, list[str]] = {}
    for name, target in config.targets.items():
        if target.source is not None:
            found.setdefault(encode_part(target.source), []).append(name)
    return found


class EchoFinder:
    """Finds echoes by the receipts of a store. `validator` has the configuration under which events are accepted."""

    def __init__(self, store: Store, config: Config, validator: EventValidator) -> None:
        self._store = store
        self._validator = validator
        self._targets = sources_of_targets(config)

    def concerns(self, event: EncodedEvent) -> bool:
        """Whether an event is of a source that is a target."""
        return event.originator_id.rpartition("/")[2] in self._targets and event.topic in _DOMAINS

    async def find(self, events: Sequence[EncodedEvent]) -> Findings:
        """The echoes among events that are placed in their epochs. Raises nothing: without receipts, there are none."""
        numbers = [number for number, event in enumerate(events) if self.concerns(event)] if self._targets else []
        if not numbers:
            return NOTHING
        try:
            return await self._find(events, numbers)
        except StoreError as error:
            log.warning("receipts cannot be read: whatever targets send back is appended", error=str(error))
            return NOTHING

    async def _find(self, events: Sequence[EncodedEvent], numbers: Sequence[int]) -> Findings:
        streams = {number: parse_stream_id(events[number].originator_id) for number in numbers}
        rows = await self._rows(streams.values())
        if not rows:
            return NOTHING
        names = sorted({events[number].originator_id for number in numbers})
        # Read after the receipts: what was appended since then is newer than any of them.
        heads = {head.originator_id: head for head in await self._store.log.heads(names)}
        echoes: set[int] = set()
        changed: set[str] = set()
        based_on: dict[int, dict[str, int]] = {}
        for number, stream in streams.items():
            event = events[number]
            found = [self._concerned(rows, target, stream) for target in self._targets_of(stream)]
            head = heads.get(event.originator_id)
            is_first = event.originator_id not in changed
            if is_first and any(_is_echo(event, stream, head, each) for each in found):
                echoes.add(number)
                continue
            changed.add(event.originator_id)
            if versions := _acknowledged(found):
                based_on[number] = versions
        return Findings(frozenset(echoes), based_on)

    def _targets_of(self, stream: Stream) -> Sequence[str]:
        return self._targets[encode_part(stream.source)]

    async def _rows(self, streams: "Sequence[Stream] | object") -> dict[tuple[str, str], list[StoredDelivery]]:
        ...
