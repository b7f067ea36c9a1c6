"""What was promised: kept outside of the machine, it outlives everything that happens to it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pagefold import AppendResult
from tests.simulation.model import Document, canonical, encoded, in_order
from tests.simulation.sources import Key, Sent

Place = tuple[str, int]
"""A stream, as the log writes it, and a version."""


class Moment(NamedTuple):
    """When events were sent: after which position of the log, and by the clock."""

    position: int
    wall: datetime


class Answer(NamedTuple):
    """The outcome of an event, as its sender got it. It was sent after a position, and at this time or later."""

    sent: Sent
    outcome: str
    position: int | None
    behind: int
    at: datetime


class Journal:
    """Every event that was ever sent, and every answer."""

    def __init__(self) -> None:
        self.submitted: Counter[tuple[Place, bytes]] = Counter()
        """How often each event was sent."""
        self.epochs: dict[tuple[Place, bytes], set[int | None]] = defaultdict(set)
        """Which epochs each has named, None for none."""
        self.answers: list[Answer] = []

    def send(self, sent: Sequence[Sent]) -> None:
        """Events go to the machine: any of them may be in the log from now on."""
        for each in sent:
            said = place_of(each.event), content_of(each.event)
            self.submitted[said] += 1
            self.epochs[said].add(each.event.get("epoch"))

    def forget_since(self, answers: int) -> None:
        """The log was restored to its state after so many answers."""
        del self.answers[answers:]

    def hear(self, sent: Sequence[Sent], results: Sequence[AppendResult], since: Moment, now: datetime) -> None:
        """The machine has answered what was sent then. A clock may have been put back since."""
        at = min(since.wall, now)
        self.answers += [
            Answer(each, result.outcome, result.position, since.position, at)
            for each, result in zip(sent, results, strict=True)
        ]


def stream_of(key: Key) -> str:
    """How the log writes the name of a stream: percent-encoded, but for what needs no encoding."""
    return "/".join(encode(part) for part in key)


def encode(part: str) -> str:
    """A part of a stream's name: what would separate parts, or begin an encoding, is encoded."""
    return part.replace("%", "%25").replace("/", "%2F")


def key_of(event: Document) -> Key:
    """Where the version of an event counts."""
    return event["sku"], event["channel"], event["type"], event["source"]


def place_of(event: Document) -> Place:
    """The position of an event in the log."""
    return stream_of(key_of(event)), event["sourceVersion"]


def content_of(event: Document) -> bytes:
    """The content of an event, in a form in which equal contents are equal."""
    return encoded(in_order(canonical(event["type"], event["payload"])))
