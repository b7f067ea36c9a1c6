"""The door for many lines at once, whose entries are known before they are read, see `engine.snapshots.line_templates`.

Of such a line the envelope is known to be in order, and the whole to have no escape and no key twice. Whether its
domain admits the payload, and how that is written then, is told of some hundred lines in a few calls.
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
from pagefold.engine.intake.event_parser import LARGEST_EVENT
from pagefold.engine.intake.event_validator import rules_of
from pagefold.projections.streams import EVERY_CHANNEL

RUN_LINES = 250
"""So many lines are looked at together: one that cannot be read costs the others what it saves them."""

_WITHOUT_FRACTION = len("0001-01-01T00:00:00Z")

_NO_PAYLOAD: Final = False
_REFUSED = encode(_NO_PAYLOAD)

_moment = msgspec.json.Decoder(Timestamp)


class _Line(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="type"):
    """What is not known of a line. Every domain has its own, with its own payload."""

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
    """Examines lines of a known shape under one configuration."""

    def __init__(self, config: Config) -> None:
        self._domains = {_line_of(domain): domain for domain in DOMAINS}
        lines = list[reduce(or_, self._domains)]  # type: ignore[misc, valid-type]  # a type, and known only now
        self._decode: Callable[[bytes], list[_Line]] = msgspec.json.Decoder(lines, float_hook=exact_number).decode
        self._names = {line: domain.name for line, domain in self._domains.items()}
        self._rules = {name.encode(): rules for name, rules in rules_of(config).items()}
        self._views = {channel.name: channel.context() for channel in config.resolved_channels}

    def examine(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """What each line states of its stream, as `Door.examine` tells it; None where it takes that to tell."""
        statements: list[ValidatedEvent | None] = []
        for start in range(0, len(lines), RUN_LINES):
            run = lines[start : start + RUN_LINES]
            try:
                statements += self._examine(run, streams[start : start + RUN_LINES])
            except DECODE_ERRORS:
                statements += [None] * len(run)
        return statements

    def _examine(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """Raises one of `DECODE_ERRORS` where any of them cannot be read."""
        said = self._decode(b"[%b]" % b",".join(lines))
        names = self._names
        statements: list[ValidatedEvent | None] = []
        for stream, each, content in zip(streams, said, encode_all(self._admitted(said, streams)), strict=True):
            if content == _REFUSED or b"\\" in content:
                statements.append(None)
                continue
            moment = each.occurred_at
            moment = f"{moment[:-1]}.000000Z" if len(moment) == _WITHOUT_FRACTION else _fixed_width(moment)
            name, version = names[type(each)], each.source_version
            statements.append(
                ValidatedEvent(stream.decode(), version, name, content, moment, each.id, each.correlation_id)
            )
        if max(map(len, lines)) > LARGEST_EVENT:
            return [None if len(line) > LARGEST_EVENT else each for line, each in zip(lines, statements, strict=True)]
        return statements

    def _admitted(
        self, lines: Sequence[_Line], streams: Sequence[bytes]
    ) -> list[msgspec.Struct | Literal[False] | None]:
        """Each payload as its domain admits it; `_NO_PAYLOAD` where it does not."""
        admitted: list[msgspec.Struct | Literal[False] | None] = []
        for line, stream in zip(lines, streams, strict=True):
            payload = line.payload
            if payload is not None:
                domain = self._domains[type(line)]
                try:
                    payload = domain.validate(payload)
                except InvalidPayload:
                    payload = _NO_PAYLOAD
                else:
                    if domain.channel_mismatch is not None and line.channel != EVERY_CHANNEL:
                        misfit = domain.channel_mismatch(payload, self._views[line.channel])
                        payload = payload if misfit is None else _NO_PAYLOAD
                    if self._rules and payload is not _NO_PAYLOAD and self._violates(domain, payload, stream):
                        payload = _NO_PAYLOAD
            admitted.append(payload)
        return admitted

    def _violates(self, domain: AnyDomain, payload: msgspec.Struct, stream: bytes) -> bool:
        """Whether the configuration forbids the payload to its source."""
        rules = self._rules.get(stream[stream.rindex(b"/") + 1 :])
        return rules is not None and domain.violates is not None and domain.violates(payload, rules) is not None


def _fixed_width(moment: str) -> str:
    """As `format_timestamp` gives it. That it is one is known."""
    return format_timestamp(_moment.decode(f'"{moment}"'))
