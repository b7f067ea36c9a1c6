"""The journal of sent events and answers, kept outside the machine, so that it survives everything."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pagefold import AppendResult
from tests.simulation.model import Document, canonical, encoded, in_order
from tests.simulation.sources import Key, Sent

Place = tuple[str, int]
"""A stream, as named in the log, and a version."""


class Moment(NamedTuple):
    """When events were sent: after which position of the log, and by the clock."""

    position: int
    wall: datetime


class Answer(NamedTuple):
    """The outcome of an event. It was sent after a position, and at this time or later."""

    sent: Sent
    outcome: str
    position: int | None
    behind: int
    at: datetime


class Journal:
    """Every event that was sent, and every answer."""

    def __init__(self) -> None:
        self.submitted: Counter[tuple[Place, bytes]] = Counter()
        """How often each event was sent."""
        self.epochs: dict[tuple[Place, bytes], set[int | None]] = defaultdict(set)
        """The epochs that each has named; None for none."""
        self.answers: list[Answer] = []

    def send(self, sent: Sequence[Sent]) -> None:
        """Events are sent: any of them may be in the log from now on."""
        for each in sent:
            content = place_of(each.event), content_of(each.event)
            self.submitted[content] += 1
            self.epochs[content].add(each.event.get("epoch"))

    def forget_since(self, answers: int) -> None:
        """The log was restored to its state after that many answers."""
        del self.answers[answers:]

    def record(self, sent: Sequence[Sent], results: Sequence[AppendResult], since: Moment, now: datetime) -> None:
        """Records the answer to events that were sent then. The clock may have been set back since."""
        at = min(since.wall, now)
        self.answers += [
            Answer(each, result.outcome, result.position, since.position, at)
            for each, result in zip(sent, results, strict=True)
        ]


def stream_of(key: Key) -> str:
    """The name of a stream in the log: percent-encoded where needed."""
    return "/".join(encode(part) for part in key)


def encode(part: str) -> str:
    """A part of a stream's name: separators, and the sign that begins an encoding, are encoded."""
    return part.replace("%", "%25").replace("/", "%2F")


def key_of(event: Document) -> Key:
    """The key of an event: its stream and version."""
    return event["sku"], event["channel"], event["type"], event["source"]


def place_of(event: Document) -> Place:
    """The position of an event in the log."""
    return stream_of(key_of(event)), event["sourceVersion"]


def content_of(event: Document) -> bytes:
    """The content of an event, in a form that is equal for equal contents."""
    return encoded(in_order(canonical(event["type"], event["payload"])))
