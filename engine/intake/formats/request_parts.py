"""A request of a webhook or CDC sender, part by part.

The sender cannot correct its data. Each part is therefore an event, or a reason why it cannot be one, and a failed part
can be stored as a request of its own and retried with_parts.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, Reference
from pagefold.engine.intake.statement import Statement, Whole

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


class Wanted(NamedTuple):
    """A part that has only the id of a record, which is to be fetched.

    `rule` is the table that asks for it, `key` the same for every part that makes the same fetch, `address` what people
    are shown. `endpoint` is where it is; `gone` is what it is of, a reference or a SKU, if that is known and the record
    is not there any more. `text` is a request that has this part alone.
    """

    rule: str
    key: str
    address: str
    endpoint: FetchConfig
    gone: Reference | str | None
    text: bytes


ParsedPart: TypeAlias = Statement | IgnoredMessage | RejectedPart | Wanted
"""What one place of a request gives."""

ReadPart: TypeAlias = ParsedPart | Whole
"""The same, and that it has all of a group."""


class DivisibleBody(Protocol):
    """The text of a request that can be divided into parts. `overhead` is the number of bytes outside them."""

    @property
    def overhead(self) -> int:
        """Bytes."""

    def with_parts(self, parts: Sequence[int]) -> bytes:
        """The text of a request with these parts only."""


SLACK_BYTES = 64 * 1024
"""Bytes that storing parts separately may always add."""


def as_it_is(text: bytes) -> bytes:
    """A request that is the message itself."""
    return text


class RequestParts:
    """One request: the number of its `parts`, and their content. `body` makes the text divisible, where it can be."""

    def __init__(
        self,
        text: bytes,
        parts: int,
        read: Callable[[int], Sequence[ReadPart]],
        body: Callable[[], DivisibleBody] | None = None,
    ) -> None:
        self.parts = parts
        self._text = text
        self._read = read
        self._body = body
        self._around: Callable[[bytes], bytes] = as_it_is

    @classmethod
    def unreadable(cls, text: bytes, rejection: Rejected) -> "RequestParts":
        """One that cannot be parsed at all."""
        found: list[ParsedPart] = [RejectedPart(rejection.with_traceback(None))]
        return cls(text, 1, lambda _: found)

    def inside(self, around: Callable[[bytes], bytes]) -> "RequestParts":
        """The same of a message that the request has inside. `around` makes a request of a message."""
        self._around = around
        return self

    def read(self, start: int, stop: int) -> list[Sequence[ReadPart]]:
        """The content of some of the parts, in order: each may give nothing, or several things."""
        found = [self._read(part) for part in range(start, min(stop, self.parts))]
        return found if self._around is as_it_is else [[self._with_request(each) for each in part] for part in found]

    def _with_request(self, part: ReadPart) -> ReadPart:
        return part._replace(text=self._around(part.text)) if isinstance(part, Wanted) else part

    def divided(self, parts: Sequence[int], slack: int = SLACK_BYTES) -> list[tuple[Sequence[int], bytes]]:
        """Divides some of the parts into requests of their own, unless that would take many more bytes than `slack`."""
        if self._body is None:
            return [(parts, self._text)]
        body = self._body()
        combined = self._around(body.with_parts(parts))
        if len(parts) > 1 and len(parts) * (body.overhead + PART_OVERHEAD_BYTES) > 2 * len(combined) + slack:
            return [(parts, combined)]
        return [([part], self._around(body.with_parts([part]))) for part in parts]


MIN_PART_BYTES = 16
"""The least average size of a part when there are many: nothing smaller can be an event."""

UNCHECKED_PARTS = 5_000
"""Up to this many parts, their size is not checked."""

PART_OVERHEAD_BYTES = 512
"""Bytes that a stored part takes besides its text."""


def part_size_error(parts: int, text: bytes) -> Rejected | None:
    """Why parts this small are not read; None if they are."""
    if parts <= UNCHECKED_PARTS or parts * MIN_PART_BYTES <= len(text):
        return None
    return Rejected("", f"has {parts} parts in {len(text)} bytes: too small to be events")


class ItemsBody:
    """The items at some paths of a JSON document, as a body: the rest of the document is kept around each of them.

    At each path is an array of items, or an object that is one. No path may lead into another.
    """

    def __init__(self, text: bytes, paths: Sequence[Sequence[str]]) -> None:
        self._text = text
        self._paths = paths
        self._items: list[tuple[int, bytes]] = []
        self._frame = text
        for number, path in enumerate(paths):
            found = _found(text, path)
            if found[:1] == b"[":
                self._items += [(number, bytes(element)) for element in _elements.decode(found)]
                self._frame = replaced(self._frame, path, b"[]")
            elif found[:1] == b"{":
                self._items.append((number, found))
                self._frame = replaced(self._frame, path, b"null")
        self.overhead = len(self._frame)

    def with_parts(self, parts: Sequence[int]) -> bytes:
        """The document with these items only; the original text if they are all."""
        if len(parts) == len(self._items):
            return self._text
        text = self._frame
        for number, path in enumerate(self._paths):
            items = [self._items[part][1] for part in parts if self._items[part][0] == number]
            if items:
                is_list = _found(self._frame, path) == b"[]"
                text = replaced(text, path, b"[%b]" % b",".join(items) if is_list else items[0])
        return text


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_index = re.compile(r"\d{1,4}", re.ASCII)


def _found(text: bytes, path: Sequence[str]) -> bytes:
    """The text at a path; empty if there is none."""
    for name in path:
        text = text.strip()
        if text[:1] == b"{":
            text = bytes(_members.decode(text).get(name, b""))
        elif text[:1] == b"[" and _index.fullmatch(name):
            elements = _elements.decode(text)
            text = bytes(elements[int(name)]) if int(name) < len(elements) else b""
        else:
            return b""
    return text.strip()


def replaced(text: bytes, path: Sequence[str], value: bytes) -> bytes:
    """The document with another text at a path that it has."""
    if not path:
        return value
    text, name = text.strip(), path[0]
    if text[:1] == b"[":
        elements = _elements.decode(text)
        elements[int(name)] = msgspec.Raw(replaced(bytes(elements[int(name)]), path[1:], value))
        return msgspec.json.encode(elements)
    members = _members.decode(text)
    members[name] = msgspec.Raw(replaced(bytes(members[name]), path[1:], value))
    return msgspec.json.encode(members)


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
