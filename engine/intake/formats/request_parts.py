"""A request of a webhook or CDC sender, part by part.

The sender cannot correct its data. Each part is therefore an event, or a reason why it cannot be one, and a failed part
can be stored as a request of its own and retried with_parts.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, Reference
from pagefold.engine.intake.statement import Statement

IgnoredCause: TypeAlias = Literal["channel", "filter", "table", "message"]
"""Why something is ignored:

it belongs to a channel or a table that is not configured, a filter excludes it, or it is not about a row.
"""


class IgnoredMessage(NamedTuple):
    """A part that is not an event, and no error: it is counted, never stored."""

    cause: IgnoredCause
    reason: str


class Awaited(NamedTuple):
    """What a part waits for: a reference, or, with `FOLD`, that the log is folded; its domain and version."""

    reference: Reference
    domain: str
    version: int


class RejectedPart(NamedTuple):
    """A part that should be an event and is not. `event` identifies its stream, without payload, if that is known.

    With `awaited`, it only cannot be one yet.
    """

    rejection: Rejected
    event: DomainEvent | None = None
    awaited: Awaited | None = None


ParsedPart: TypeAlias = Statement | IgnoredMessage | RejectedPart
"""What one place of a request gives."""


class DivisibleBody(Protocol):
    """The text of a request that can be divided into parts. `overhead` is the number of bytes outside them."""

    @property
    def overhead(self) -> int:
        """Bytes."""

    def with_parts(self, parts: Sequence[int]) -> bytes:
        """The text of a request with these parts only."""


class RequestParts:
    """One request: the number of its `parts`, and their content. Without a `body` it cannot be divided."""

    def __init__(
        self, text: bytes, parts: int, read: Callable[[int], list[ParsedPart]], body: DivisibleBody | None = None
    ) -> None:
        self.parts = parts
        self._text = text
        self._read = read
        self._body = body

    @classmethod
    def unreadable(cls, text: bytes, rejection: Rejected) -> "RequestParts":
        """One that cannot be parsed at all."""
        found: list[ParsedPart] = [RejectedPart(rejection.with_traceback(None))]
        return cls(text, 1, lambda _: found)

    def read(self, start: int, stop: int) -> list[list[ParsedPart]]:
        """The content of some of the parts, in order: each may give nothing, or several things."""
        return [self._read(part) for part in range(start, min(stop, self.parts))]

    def divided(self, parts: Sequence[int]) -> list[tuple[Sequence[int], bytes]]:
        """Divides some of the parts into requests of their own, unless that would take many more bytes."""
        if self._body is None:
            return [(parts, self._text)]
        combined = self._body.with_parts(parts)
        if (
            len(parts) > 1
            and len(parts) * (self._body.overhead + PART_OVERHEAD_BYTES) > 2 * len(combined) + SLACK_BYTES
        ):
            return [(parts, combined)]
        return [([part], self._body.with_parts([part])) for part in parts]


MIN_PART_BYTES = 16
"""The least average size of a part when there are many: nothing smaller can be an event."""

UNCHECKED_PARTS = 5_000
"""Up to this many parts, their size is not checked."""

PART_OVERHEAD_BYTES = 512
"""Bytes that a stored part takes besides its text."""

SLACK_BYTES = 64 * 1024
"""Bytes that storing parts separately may always add."""


def part_size_error(parts: int, text: bytes) -> Rejected | None:
    """Why parts this small are not read; None if they are."""
    if parts <= UNCHECKED_PARTS or parts * MIN_PART_BYTES <= len(text):
        return None
    return Rejected("", f"has {parts} parts in {len(text)} bytes: too small to be events")


class ItemsBody:
    """The array at a path of a JSON document, as a body: the rest of the document is kept overhead each element."""

    def __init__(self, text: bytes, path: Sequence[str]) -> None:
        self._text = text
        self._levels: list[_Level] = []
        for name in path:
            level = _level(text, name)
            self._levels.append(level)
            text = bytes(level.members[level.key])  # type: ignore[index]  # a name of an object, an index of an array
        self._elements = _elements.decode(text)
        self.overhead = len(self._wrap(b"[]"))

    def with_parts(self, parts: Sequence[int]) -> bytes:
        """The document with these elements only; the original text if they are all."""
        if len(parts) == len(self._elements):
            return self._text
        return self._wrap(b"[%b]" % b",".join([bytes(self._elements[part]) for part in parts]))

    def _wrap(self, array: bytes) -> bytes:
        for level in reversed(self._levels):
            array = level.with_value(array)
        return array


class _Level(NamedTuple):
    """An object or an array on the path, and the name or index of the next step."""

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


class MessagesBody:
    """Separate documents as a body: the elements of an array, or lines."""

    def __init__(self, texts: Sequence[bytes], *, lines: bool) -> None:
        self._texts = texts
        self._lines = lines
        self.overhead = 0

    def with_parts(self, parts: Sequence[int]) -> bytes:
        """Several documents in their original form; one by itself."""
        texts = [self._texts[part] for part in parts]
        if len(texts) == 1:
            return texts[0]
        return b"\n".join(texts) if self._lines else b"[%b]" % b",".join(texts)
