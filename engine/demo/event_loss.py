"""A bad line: some of what the sources say is lost on its way, some arrives garbled, and nobody is told.

A model gets what was sent, the shop what arrives. A rebuild has to find how they differ.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

import orjson

from pagefold.engine.demo.faults import Arrival, contradicted
from pagefold.engine.demo.reference_model import Document, Model, Stream, stream_of

Loss: TypeAlias = Literal["first", "newer", "withdrawn", "older", "copy", "garbled"]
"""What did not arrive: an event of a stream of which nothing has arrived; a newer version; a word taken back; a version
that others had overtaken; a copy of any of these. What is garbled does arrive, well formed, with another content."""

LOST = 0.05
GARBLED = 0.005
"""The share of new events that each befalls."""


class BadLine:
    """Passes deliveries on, but not all of them. `losses` counts the others, and those that are garbled.

    `model` gets every one as it was sent. Nothing about the SKU `spared` is lost. Of each kind of loss there
    is one at least, if anything lends itself. `advance` is told of each new event that does not arrive.
    """

    def __init__(self, model: Model, spared: str, seed: int, advance: Callable[[int], None]) -> None:
        self.losses: Counter[Loss] = Counter()
        self._model = model
        self._spared = spared
        self._advance = advance
        self._luck = random.Random(f"{seed} losses")
        self._missed: set[tuple[Stream, int]] = set()
        self._unheard: set[Stream] = set()

    def passes(self, deliveries: Iterable[Arrival]) -> Iterator[Arrival]:
        """What arrives. With the version that it repeats or contradicts, a copy is lost."""
        for delivery in deliveries:
            event = delivery.event
            arrived = delivery if event is None else self._passed(delivery, event)
            if arrived is not None:
                yield arrived

    def _passed(self, delivery: Arrival, event: Document) -> Arrival | None:
        stream = stream_of(event)
        version = stream, event["sourceVersion"]
        kind = self._kind(event, stream)
        fate = self._model.submit(event)
        if version in self._missed:
            self.losses["copy"] += 1
            return None
        if fate != "appended" or stream.sku == self._spared:
            return delivery
        if self._strikes(kind, LOST):
            self._missed.add(version)
            if kind == "first":
                self._unheard.add(stream)
            self._advance(1)
            return None
        self._unheard.discard(stream)
        if event["payload"] is not None and self._strikes("garbled", GARBLED):
            self._missed.add(version)
            other = contradicted(event)
            return delivery._replace(line=orjson.dumps(other), event=other)
        return delivery

    def _kind(self, event: Document, stream: Stream) -> Loss:
        """What its loss would be, before the model gets it."""
        newest = self._model.head(stream)
        if newest is None or stream in self._unheard:
            return "first"
        if event["sourceVersion"] < newest.version:
            return "older"
        return "withdrawn" if event["payload"] is None else "newer"

    def _strikes(self, kind: Loss, share: float) -> bool:
        """Whether it happens now, and takes it down."""
        strikes = kind not in self.losses or self._luck.random() < share
        self.losses[kind] += strikes
        return strikes
