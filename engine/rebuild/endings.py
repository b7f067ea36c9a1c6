"""How the states end that say what the payloads of a snapshot say, for less than it takes to read and write each.

The rows of an export have the same members in the same order, and only other values. The first of a shape is read, and
written with its keys sorted; of the others, the values are put into that order as they stand.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self, TypeAlias

import msgspec

from engine.door import ending

MOST_SHAPES = 16
"""So many shapes are known at a time. Payloads that are all different are better read."""

FEWEST_HITS = 4
"""A new shape is learned only while the known ones have served so many payloads each."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode

_ESCAPED_COLON = b"\\u003"
"""How one begins, in small letters or capitals."""

# Values that are written in one way only: texts without an escape, whole numbers that any reader keeps, and words.
_TEXT = rb'"[^"\\\x00-\x1f]*"'
_NUMBER = rb"0|-?[1-9][0-9]{0,14}"
_WORD = rb"true|false|null"
_token = re.compile(rb"(?P<key>%b:)|(?P<text>%b)|(?P<number>%b)|(?P<word>%b)" % (_TEXT, _TEXT, _NUMBER, _WORD))
_PATTERNS = {"text": rb'("[^"\\\x00-\x1f]*+")', "number": rb"(0|-?[1-9][0-9]{0,14}+)", "word": rb"(true|false|null)"}
_between = re.compile(rb"[\[\]{},\s]*")


Text: TypeAlias = bytes | msgspec.Raw
"""JSON as it stands somewhere."""


class _Shape(NamedTuple):
    """Texts that have these keys in this order, and how their values stand in the ending of a state."""

    match: Callable[[Text], re.Match[bytes] | None]
    template: bytes
    order: tuple[int, ...]

    @classmethod
    def of(cls, text: bytes) -> Self | None:
        """The shape of a text; None where something in it may be written in several ways."""
        pattern, marked, values, end = b"", b"", 0, 0
        for token in _token.finditer(text):
            between = text[end : token.start()]
            if _between.fullmatch(between) is None:
                return None
            kind = token.lastgroup or ""
            values += kind != "key"
            pattern += re.escape(between) + (_PATTERNS.get(kind) or re.escape(token[0]))
            marked += between + (token[0] if kind == "key" else b'"%d"' % values)
            end = token.end()
        rest = text[end:]
        if not values or _between.fullmatch(rest) is None:
            return None
        return cls._sorted(re.compile(pattern + re.escape(rest)), marked + rest)

    @classmethod
    def _sorted(cls, pattern: re.Pattern[bytes], marked: bytes) -> Self:
        """`marked` is the text with numbers, as texts, for its values."""
        parts, order, end = [], [], 0
        canonical = ending(canonical_of(marked))
        for token in _token.finditer(canonical):
            if token.lastgroup == "text":
                parts.append(canonical[end : token.start()])
                order.append(int(token[0][1:-1]))
                end = token.end()
        parts.append(canonical[end:])
        template = b"%b".join(part.replace(b"%", b"%%") for part in parts)
        return cls(pattern.fullmatch, template, tuple(order))


class Endings:
    """Makes endings of payloads, and knows the shapes that came before."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._hits = 0
        self._learned = 0

    def of(self, payloads: Sequence[Text]) -> list[bytes]:
        """The ending of each state with such a payload; empty for what must be looked at closer."""
        one = self._of
        if not self._shapes:
            return list(map(one, payloads))
        match, template, order = self._shapes[0]
        return [
            template % found.group(*order) if (found := match(each)) is not None else one(each) for each in payloads
        ]

    def _of(self, payload: Text) -> bytes:
        for place, (match, template, order) in enumerate(self._shapes):
            if (found := match(payload)) is not None:
                self._hits += 1
                self._shapes.insert(0, self._shapes.pop(place))
                return template % found.group(*order)
        text = bytes(payload)
        canonical = canonical_of(text)
        if not canonical:
            return b""
        if self._hits >= FEWEST_HITS * (self._learned - MOST_SHAPES):
            self._learn(text, ending(canonical))
        return ending(canonical)

    def _learn(self, text: bytes, right: bytes) -> None:
        self._learned += 1
        shape = _Shape.of(text)
        if shape is None or (found := shape.match(text)) is None:
            return
        if shape.template % found.group(*shape.order) == right:
            self._shapes = [shape, *self._shapes[: MOST_SHAPES - 1]]


def canonical_of(text: bytes) -> bytes:
    """The same JSON with its keys sorted; empty for what must be looked at closer."""
    try:
        canonical = _encode(_decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    # a key that stands twice takes its colon along when it is dropped, unless an escape hides one
    whole = text.count(b":") == canonical.count(b":") and _ESCAPED_COLON not in text
    return canonical if whole else b""
