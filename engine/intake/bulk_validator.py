"""Validates many lines at once, whose head contents are known before they are read (`engine.snapshots.line_templates`).

The envelope of such a line is known to be valid, and the line to have no escapes and no repeated keys. What remains is
whether its domain accepts the payload, and its canonical form: decided for a few hundred lines per call.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

import msgspec

from pagefold.domains import DOMAINS, AnyDomain, InvalidPayload
from pagefold.domains.domain import DECODE_ERRORS, encode, encode_all
from pagefold.domains.numbers import exact_number
from pagefold.domains.values import Timestamp, format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.events import ValidatedEvent
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.event_validator import rules_of
from pagefold.projections.streams import EVERY_CHANNEL

CHUNK_LINES = 250
"""Lines that are decoded together. One unreadable line costs its chunk the time that the chunk saves."""

_WITHOUT_FRACTION = len("0001-01-01T00:00:00Z")

_INVALID: Final = False
_ENCODED_INVALID = encode(_INVALID)

_moment = msgspec.json.Decoder(Timestamp)


class _Line(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="type"):
    """The part of a line that is not known yet. Each domain has a subclass with its payload."""

    channel: str
    source_version: int
    occurred_at: str
    payload: Any
    id: str | None = None
    correlation_id: str | None = None


def _line_of(domain: AnyDomain) -> type[msgspec.Struct]:
    payload = ("payload", domain.payload | None)
    return msgspec.defstruct("Line", [payload], bases=(_Line,), tag=domain.name, frozen=True, gc=False, kw_only=True)


class BulkValidator:
    """Validates lines of a known shape under one configuration."""

    def __init__(self, config: Config) -> None:
        self._domains = {_line_of(domain): domain for domain in DOMAINS}
        lines = list[reduce(or_, self._domains)]  # type: ignore[misc, valid-type]  # the type is only known at run time
        self._decode: Callable[[bytes], list[_Line]] = msgspec.json.Decoder(lines, float_hook=exact_number).decode
        self._names = {line: domain.name for line, domain in self._domains.items()}
        self._rules = {name.encode(): rules for name, rules in rules_of(config).items()}
        self._views = {channel.name: channel.context() for channel in config.resolved_channels}

    def validate(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """Returns each line as `EventValidator.validate` would, or None where that one must be asked."""
        events: list[ValidatedEvent | None] = []
        for start in range(0, len(lines), CHUNK_LINES):
            run = lines[start : start + CHUNK_LINES]
            try:
                events += self._examine(run, streams[start : start + CHUNK_LINES])
            except DECODE_ERRORS:
                events += [None] * len(run)
        return events

    def _examine(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """Raises one of `DECODE_ERRORS` if any line cannot be read."""
        decoded = self._decode(b"[%b]" % b",".join(lines))
        names = self._names
        events: list[ValidatedEvent | None] = []
        for stream, each, content in zip(streams, decoded, encode_all(self._validated(decoded, streams)), strict=True):
            if content == _ENCODED_INVALID or b"\\" in content:
                events.append(None)
                continue
            moment = each.occurred_at
            moment = f"{moment[:-1]}.000000Z" if len(moment) == _WITHOUT_FRACTION else _fixed_width(moment)
            name, version = names[type(each)], each.source_version
            events.append(ValidatedEvent(stream.decode(), version, name, content, moment, each.id, each.correlation_id))
        if max(map(len, lines)) > MAX_EVENT_BYTES:
            return [None if len(line) > MAX_EVENT_BYTES else each for line, each in zip(lines, events, strict=True)]
        return events

    def _validated(
        self, lines: Sequence[_Line], streams: Sequence[bytes]
    ) -> list[msgspec.Struct | Literal[False] | None]:
        """Each payload in canonical form; `_INVALID` where its domain or the rules reject it."""
        validated: list[msgspec.Struct | Literal[False] | None] = []
        for line, stream in zip(lines, streams, strict=True):
            payload = line.payload
            if payload is not None:
                domain = self._domains[type(line)]
                try:
                    payload = domain.validate(payload)
                except InvalidPayload:
                    payload = _INVALID
                else:
                    if domain.channel_mismatch is not None and line.channel != EVERY_CHANNEL:
                        mismatch = domain.channel_mismatch(payload, self._views[line.channel])
                        payload = payload if mismatch is None else _INVALID
                    if self._rules and payload is not _INVALID and self._violates(domain, payload, stream):
                        payload = _INVALID
            validated.append(payload)
        return validated

    def _violates(self, domain: AnyDomain, payload: msgspec.Struct, stream: bytes) -> bool:
        """Whether the source's rules reject the payload."""
        rules = self._rules.get(stream[stream.rindex(b"/") + 1 :])
        return rules is not None and domain.violates is not None and domain.violates(payload, rules) is not None


def _fixed_width(moment: str) -> str:
    """The text as `format_timestamp` writes it. It is known to be a timestamp."""
    return format_timestamp(_moment.decode(f'"{moment}"'))
