"""Reads NDJSON lines through templates of earlier lines, faster than by parsing them.

The lines of an export have the same members in the same order, and differ in values. The first line of a template is
parsed, and its payload written with sorted keys; for later ones, the values are put into that order as text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.event_parser import EventEnvelope, canonical_json, parse_payload
from pagefold.engine.snapshots.coverage import NOTHING_FIXED
from pagefold.engine.stores.event_state import head_content, state_ending
from pagefold.projections.streams import EVERY_CHANNEL

MAX_TEMPLATES = 16
"""Templates that are kept. Lines that all differ are better parsed."""

MIN_HITS = 4
"""Beyond this limit, another template is learned only if each earlier one has served this many lines."""

# Values that are written in one way only: texts without an escape, whole numbers that any reader keeps, and words.
_TEXT = rb'"[^"]*+"'  # where there is no backslash in the whole line
_NUMBER = rb"0|-?[1-9][0-9]{0,14}+"
_WORD = rb"true|false|null"
_token = re.compile(rb"(?P<key>%b:)|(?P<text>%b)|(?P<number>%b)|(?P<word>%b)" % (_TEXT, _TEXT, _NUMBER, _WORD))
_between = re.compile(rb"[\[\]{},\s]*+").fullmatch
_VALUES = {name: b"(%b)" % form for name, form in (("text", _TEXT), ("number", _NUMBER), ("word", _WORD))}
_SKU = rb'"((?![0-9]\.[0-9]+[Ee]-)[0-9A-Za-z._-]{1,100}+)"'
"""An SKU that is stored unchanged, and does not look like a spreadsheet's number."""
_DAY = rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_TIME = rb"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIMESTAMP = rb'"[12][0-9]{3}-%bT%b:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-]%b)"' % (_DAY, _TIME, _TIME)
"""An RFC 3339 timestamp. Leap days are left to the parser."""

_NAMES = ("sku", "channel", "sourceVersion")
"""The values of an envelope that a head's content includes."""

_IDENTIFIER = rb'"[ !#-\[\]-~]{1,200}+"'


class _Parts(NamedTuple):
    """A part of a line: a pattern for lines of its template, and the values in its groups."""

    pattern: bytes
    groups: list[str]


class _LineTemplate(NamedTuple):
    """Lines with these keys in this order, and how their values form a head's content."""

    match: Callable[[bytes], re.Match[bytes] | None]
    template: bytes
    order: tuple[int, ...]

    @classmethod
    def of(cls, wire: EventEnvelope, line: bytes, values: dict[str, bytes]) -> Self | None:
        """The template of a line; None if a value in it has several spellings.

        `values` has the pattern of each value of an envelope that may be another one.
        """
        payload = bytes(wire.payload)
        key = next((token for token in _token.finditer(line) if token[0] == b'"payload":'), None)
        if key is None or not line.startswith(payload, key.end()):
            return None
        before, within, after = line[: key.end()], _payload(payload), line[key.end() + len(payload) :]
        parts = [_envelope(before, values), within and within[0], _envelope(after, values)]
        if within is None or (found := [part for part in parts if part is not None]) != parts:
            return None
        groups = [group for part in found for group in part.groups]
        names = [*_NAMES, *within[2]]
        if not set(names) <= set(groups):
            return None
        stream = f"%b/%b/{wire.type}/{wire.source}".encode()
        pattern = re.compile(b"".join(part.pattern for part in found))
        return cls(
            pattern.fullmatch,
            b"%b\x1f%%b\x1f%b" % (stream, within[1]),
            tuple(groups.index(name) + 1 for name in names),
        )


def _envelope(part: bytes, values: dict[str, bytes]) -> _Parts | None:
    """The pattern before or after a payload. A value that is not in `values` must be the same."""
    pattern, name, end = b"", "", 0
    groups: list[str] = []
    for token in _token.finditer(part):
        between = part[end : token.start()]
        if _between(between) is None:
            return None
        pattern += re.escape(between)
        end = token.end()
        if token.lastgroup == "key":
            name = token[0][1:-2].decode(errors="replace")
            pattern += re.escape(token[0])
        else:
            groups += [name] if name in _NAMES else []
            pattern += values.get(name) or re.escape(token[0])
    rest = part[end:]
    return None if _between(rest) is None else _Parts(pattern + re.escape(rest), groups)


def _payload(text: bytes) -> tuple[_Parts, bytes, list[str]] | None:
    """The pattern of a payload's numbered values, a template of the end of its state, and the order of values there."""
    pattern, marked, end = b"", b"", 0
    groups: list[str] = []
    for token in _token.finditer(text):
        between = text[end : token.start()]
        if _between(between) is None:
            return None
        pattern += re.escape(between)
        marked += between
        end = token.end()
        if (kind := token.lastgroup or "") == "key":
            pattern += re.escape(token[0])
            marked += token[0]
        else:
            groups.append(str(len(groups)))
            pattern += _VALUES[kind]
            marked += b'"%b"' % groups[-1].encode()
    rest = text[end:]
    if _between(rest) is None or not (canonical := canonical_json(marked + rest)):
        return None
    template, order = _template(state_ending(canonical))
    return _Parts(pattern + re.escape(rest), groups), template, order


def _template(canonical: bytes) -> tuple[bytes, list[str]]:
    """A template with a place for each value of canonical JSON, and those values."""
    parts, order, end = [], [], 0
    for token in _token.finditer(canonical):
        if token.lastgroup == "text":
            parts.append(canonical[end : token.start()])
            order.append(token[0][1:-1].decode())
            end = token.end()
    parts.append(canonical[end:])
    return b"%b".join(part.replace(b"%", b"%%") for part in parts), order


class LineTemplates:
    """The templates of one source's lines. `fixed` as in `RowCounter`."""

    def __init__(self, config: Config, source: str, fixed: Mapping[str, str] = NOTHING_FIXED) -> None:
        names = [fixed["channel"]] if "channel" in fixed else [EVERY_CHANNEL, *config.channels]
        self._values = {
            "sku": _SKU,
            "channel": b'"(%b)"' % b"|".join(re.escape(name.encode()) for name in names),
            "sourceVersion": rb"(0|[1-9][0-9]{0,14}+)",
            "occurredAt": _TIMESTAMP,
            "id": _IDENTIFIER,
            "correlationId": _IDENTIFIER,
        }
        self._domains = [fixed["type"]] if "type" in fixed else config.sources[source].domains
        self._shapes: list[_LineTemplate] = []
        self._learned = 0
        self._hits = 0

    def entries(self, lines: Sequence[bytes]) -> list[bytes]:
        """The head's content for each line with a known template; empty for the others."""
        if not self._shapes:
            return [b""] * len(lines)
        match, template, order = self._shapes[0]
        other = self._other
        found = map(match, lines)
        return [
            template % values.group(*order) if values and b"\\" not in line else other(line)
            for values, line in zip(found, lines, strict=True)
        ]

    def _other(self, line: bytes) -> bytes:
        """The same, for a line unlike the previous one."""
        if b"\\" in line:
            return b""
        for place, (match, template, order) in enumerate(self._shapes):
            if (found := match(line)) is not None:
                self._hits += 1
                self._shapes.insert(0, self._shapes.pop(place))
                return template % found.group(*order)
        return b""

    def learn(self, wire: EventEnvelope, line: bytes) -> None:
        """Learns the template of a line if it is worthwhile. Its envelope was parsed."""
        if b"\\" in line or wire.type not in self._domains or self._hits < MIN_HITS * (self._learned - MAX_TEMPLATES):
            return
        self._learned += 1
        try:
            parse_payload(wire, line)
        except Rejected:
            return
        shape = _LineTemplate.of(wire, line, self._values)
        if shape is None or (found := shape.match(line)) is None:
            return
        if wire.epoch is not None:  # a template has no epoch
            return
        stream = f"{wire.sku}/{wire.channel}/{wire.type}/{wire.source}"
        content = canonical_json(bytes(wire.payload))
        if content and shape.template % found.group(*shape.order) == head_content(stream, wire.source_version, content):
            self._shapes = [shape, *self._shapes[: MAX_TEMPLATES - 1]]
