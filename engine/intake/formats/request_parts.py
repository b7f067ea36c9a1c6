"""Deliveries: what one request of a sender holds, part by part, before anything of it is taken.

The sender cannot mend its data. So every part that says something is an event, or has its reason why it is none, and
each can stand alone: a delivery with that part and nothing of the others is as good a delivery.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.formats.partial_event import PartialEvent

Cause: TypeAlias = Literal["channel", "filter", "table", "message"]
"""Why something is no event, and needs to be none: of a channel that this shop has not, of none that the configuration
asks for, of another table, about no row."""


class Ignored(NamedTuple):
    """What is no event, and no fault: it is counted, and never kept."""

    cause: Cause
    reason: str


class Faulty(NamedTuple):
    """What should be an event, and is none. `event` has its place without its payload, where that much is known."""

    refused: Rejected
    event: DomainEvent | None = None


Found: TypeAlias = PartialEvent | Ignored | Faulty
"""What stands in one place of a delivery."""


class Body(Protocol):
    """The text of a delivery, in parts: `around` is how many bytes there are beside them."""

    @property
    def around(self) -> int:
        """Bytes."""

    def alone(self, parts: Sequence[int]) -> bytes:
        """A delivery of these parts."""


class Delivery:
    """One delivery: its number of `parts`, and what each of them says. One without a `body` cannot be divided."""

    def __init__(self, text: bytes, parts: int, read: Callable[[int], list[Found]], body: Body | None = None) -> None:
        self.parts = parts
        self._text = text
        self._read = read
        self._body = body

    @classmethod
    def unreadable(cls, text: bytes, refused: Rejected) -> "Delivery":
        """One of which nothing is understood."""
        found: list[Found] = [Faulty(refused.with_traceback(None))]
        return cls(text, 1, lambda _: found)

    def read(self, start: int, stop: int) -> list[list[Found]]:
        """What some of the parts say, in order: each may say nothing, and more than one thing."""
        return [self._read(part) for part in range(start, min(stop, self.parts))]

    def pieces(self, parts: Sequence[int]) -> list[tuple[Sequence[int], bytes]]:
        """Some of the parts as deliveries of their own: each alone, unless that would take far more than together."""
        if self._body is None:
            return [(parts, self._text)]
        together = self._body.alone(parts)
        if len(parts) > 1 and len(parts) * (self._body.around + ROW) > 2 * len(together) + SLACK:
            return [(parts, together)]
        return [([part], self._body.alone([part])) for part in parts]


SMALLEST_PART = 16
"""Bytes that a part has at least, on average, where there are very many: nothing smaller can be an event."""

MANY_PARTS = 5_000

ROW = 512
"""Bytes that one kept part takes beside what it says."""

SLACK = 64 * 1024
"""Bytes that parts may take more when each is kept alone, whatever they say."""


def too_small(parts: int, text: bytes) -> Rejected | None:
    """Why so many parts are not looked at one by one; None when they are."""
    if parts <= MANY_PARTS or parts * SMALLEST_PART <= len(text):
        return None
    return Rejected("", f"has {parts} parts in {len(text)} bytes, which are too small to be events")


class Items:
    """The array at a path of a JSON document, as a body: what stands around it stays around each of its elements."""

    def __init__(self, text: bytes, path: Sequence[str]) -> None:
        self._text = text
        self._levels: list[_Level] = []
        for name in path:
            level = _level(text, name)
            self._levels.append(level)
            text = bytes(level.members[level.key])  # type: ignore[index]  # a name of an object, an index of an array
        self._elements = _elements.decode(text)
        self.around = len(self._around(b"[]"))

    def alone(self, parts: Sequence[int]) -> bytes:
        """The document with these elements alone; as it came, where they are all."""
        if len(parts) == len(self._elements):
            return self._text
        return self._around(b"[%b]" % b",".join([bytes(self._elements[part]) for part in parts]))

    def _around(self, array: bytes) -> bytes:
        for level in reversed(self._levels):
            array = level.with_value(array)
        return array


class _Level(NamedTuple):
    """An object or an array on the way, and the name or the index that leads on."""

    members: dict[str, msgspec.Raw] | list[msgspec.Raw]
    key: str | int

    def with_value(self, text: bytes) -> bytes:
        """The same with another value there."""
        members = self.members.copy()
        members[self.key] = msgspec.Raw(text)  # type: ignore[index]  # as above
        return msgspec.json.encode(members)


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def _level(text: bytes, name: str) -> _Level:
    if text.lstrip()[:1] == b"[":
        return _Level(_elements.decode(text), int(name))
    return _Level(_members.decode(text), name)


class Messages:
    """Documents that stand one beside the other, as a body: the elements of an array, or lines."""

    def __init__(self, texts: Sequence[bytes], *, lines: bool) -> None:
        self._texts = texts
        self._lines = lines
        self.around = 0

    def alone(self, parts: Sequence[int]) -> bytes:
        """Several in the form in which they came; one by itself."""
        texts = [self._texts[part] for part in parts]
        if len(texts) == 1:
            return texts[0]
        return b"\n".join(texts) if self._lines else b"[%b]" % b",".join(texts)
