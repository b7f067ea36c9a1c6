"""A lossy transport: some events are lost in transit, some arrive garbled, both without an error.

A model receives what was sent, the shop what arrives. A rebuild must find the differences.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

import orjson

from pagefold.engine.demo.faults import Arrival, contradicted
from pagefold.engine.demo.reference_model import Document, Model, Stream, stream_of

Loss: TypeAlias = Literal["first", "newer", "withdrawn", "older", "copy", "garbled"]
"""What was lost: the first event of a stream; a newer version; a withdrawal; a version older than the head; a copy of
any of these. A garbled event arrives well formed, with other content."""

LOST = 0.05
GARBLED = 0.005
"""The shares of new events that are lost or garbled."""


class LossyTransport:
    """Passes most lines on. `losses` counts the lost and garbled ones.

    `model` receives every event as it was sent. Nothing of the SKU `spared` is lost. Each kind of loss happens at least
    once if possible. `advance` is called for each new event that does not arrive.
    """

    def __init__(self, model: Model, spared: str, seed: int, advance: Callable[[int], None]) -> None:
        self.losses: Counter[Loss] = Counter()
        self._model = model
        self._spared = spared
        self._advance = advance
        self._rng = random.Random(f"{seed} losses")
        self._missed: set[tuple[Stream, int]] = set()
        self._never_arrived: set[Stream] = set()

    def passes(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Yields what arrives. A copy is lost together with the version that it repeats or contradicts."""
        for arrival in arrivals:
            event = arrival.event
            arrived = arrival if event is None else self._passed(arrival, event)
            if arrived is not None:
                yield arrived

    def _passed(self, arrival: Arrival, event: Document) -> Arrival | None:
        stream = stream_of(event)
        version = stream, event["sourceVersion"]
        kind = self._kind(event, stream)
        outcome = self._model.submit(event)
        if version in self._missed:
            self.losses["copy"] += 1
            return None
        if outcome != "appended" or stream.sku == self._spared:
            return arrival
        if self._happens(kind, LOST):
            self._missed.add(version)
            if kind == "first":
                self._never_arrived.add(stream)
            self._advance(1)
            return None
        self._never_arrived.discard(stream)
        if event["payload"] is not None and self._happens("garbled", GARBLED):
            self._missed.add(version)
            other = contradicted(event)
            return arrival._replace(line=orjson.dumps(other), event=other)
        return arrival

    def _kind(self, event: Document, stream: Stream) -> Loss:
        """The kind of loss that this would be. Call it before the model receives the event."""
        newest = self._model.head(stream)
        if newest is None or stream in self._never_arrived:
            return "first"
        if event["sourceVersion"] < newest.version:
            return "older"
        return "withdrawn" if event["payload"] is None else "newer"

    def _happens(self, kind: Loss, share: float) -> bool:
        """Decides whether a loss happens, and counts it."""
        strikes = kind not in self.losses or self._rng.random() < share
        self.losses[kind] += strikes
        return strikes
