"""Encodes the events of one call as they will be stored: many at once, a few one by one, with the same results."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.bulk_validator import BulkValidator
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent, StateEncoder
from pagefold.engine.stores.size_batches import batches

MIN_BULK_EVENTS = 10
"""From this number of events on, preparing to encode many at once pays off."""

MAX_CHUNK_EVENTS = 250
MAX_CHUNK_BYTES = 1024 * 1024
"""Events, and bytes of payloads, that are encoded together."""

UNKNOWN_BYTES = 64 * 1024
"""What counts for a payload that is not JSON yet."""

Outcome: TypeAlias = EncodedEvent | Rejected


class EventEncoder:
    """Encodes events under the configuration of a validator, also if that gets another one."""

    def __init__(self, validator: EventValidator) -> None:
        self._validator = validator
        self._bulk = validator.config, BulkValidator(validator.config)

    def encode(
        self, events: Sequence[DomainEvent], recorded_at: str, made_id: str, max_bytes: int | None = None
    ) -> tuple[list[Outcome], int]:
        """Encodes events, and returns what became of each, and their bytes. Stops once these reach `max_bytes`.

        An event without an id gets one: `made_id`, a hyphen, and its place among the events.
        """
        outcomes: list[Outcome] = []
        size = 0
        for chunk in self._chunks(events, recorded_at, made_id):
            sizes = [len(each[3]) if isinstance(each, EncodedEvent) else 0 for each in chunk]
            if max_bytes is not None and size + sum(sizes) >= max_bytes:
                taken = _places_within(sizes, max_bytes - size)
                return [*outcomes, *chunk[:taken]], size + sum(sizes[:taken])
            outcomes += chunk
            size += sum(sizes)
        return outcomes, size

    def _chunks(self, events: Sequence[DomainEvent], recorded_at: str, made_id: str) -> Iterator[list[Outcome]]:
        if len(events) < MIN_BULK_EVENTS:
            for number, event in enumerate(events):
                yield [self._encode(event, recorded_at, f"{made_id}-{number}")]
            return
        states = StateEncoder(f"{made_id}-", recorded_at)
        payloads = [event.payload or b"" for event in events]
        sizes = [len(each) if isinstance(each, bytes) else UNKNOWN_BYTES for each in payloads]
        bulk = self._bulk_validator()
        for start, stop in batches(sizes, max_bytes=MAX_CHUNK_BYTES, max_items=MAX_CHUNK_EVENTS):
            chunk = events[start:stop]
            encoded = bulk.encode(chunk, states, start)
            if None not in encoded:
                yield encoded  # type: ignore[misc]  # it has no None
                continue
            yield [
                each or self._encode(event, recorded_at, f"{made_id}-{number}")
                for number, (event, each) in enumerate(zip(chunk, encoded, strict=True), start)
            ]

    def _bulk_validator(self) -> BulkValidator:
        """Validates many under the configuration of the validator. Several threads may ask."""
        config, bulk = self._bulk
        if config is not self._validator.config:
            config = self._validator.config
            bulk = BulkValidator(config)
            self._bulk = config, bulk
        return bulk

    def _encode(self, event: DomainEvent, recorded_at: str, default_id: str) -> Outcome:
        try:
            return self._validator.encode(event, recorded_at, default_id)
        except Rejected as rejection:
            return rejection.with_traceback(None)


def _places_within(sizes: Sequence[int], max_bytes: int) -> int:
    """How many of the first have `max_bytes` together, which all of them have."""
    size = 0
    for place, each in enumerate(sizes, 1):
        size += each
        if size >= max_bytes:
            return place
    return len(sizes)
