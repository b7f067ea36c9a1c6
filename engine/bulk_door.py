"""The door for many lines at once, whose entries are known before they are read, see `engine.snapshots.shapes`.

Of such a line the envelope is known to be in order, and the whole to have no escape and no key twice. Whether its
domain admits the payload, and how that is written then, is told of some hundred lines in a few calls.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from domains import DOMAINS, AnyDomain, Invalid
from domains.domain import encode_all
from domains.values import Moment
from engine.config import Config
from engine.door import LARGEST_EVENT, NULL, UNREADABLE, Statement, Wire, format_moment, read_wire
from engine.stores.store import SEPARATOR
from projections.streams import EVERY_CHANNEL

RUN_LINES = 250
"""So many lines are looked at together: one that cannot be read costs the others what it saves them."""

_moments = msgspec.json.Decoder(list[Moment])


class _Gate(NamedTuple):
    """One domain, and how many of its payloads are read."""

    domain: AnyDomain
    decoder: msgspec.json.Decoder[list[Any]]


class BulkDoor:
    """Examines lines of a known shape under one configuration."""

    def __init__(self, config: Config) -> None:
        self._gates = {
            domain.name: _Gate(domain, msgspec.json.Decoder(list[domain.payload]))  # type: ignore[name-defined]  # a value
            for domain in DOMAINS
        }
        self._views = {channel.name: channel.view() for channel in config.made_for}

    def examine(self, lines: Sequence[bytes], entries: Sequence[bytes]) -> list[Statement | None]:
        """What each line states, as `Door.examine` tells it; None where it takes that to tell."""
        statements: list[Statement | None] = []
        for start in range(0, len(lines), RUN_LINES):
            run = lines[start : start + RUN_LINES]
            try:
                statements += self._examine(run, entries[start : start + RUN_LINES])
            except UNREADABLE:
                statements += [None] * len(run)
        return statements

    def _examine(self, lines: Sequence[bytes], entries: Sequence[bytes]) -> list[Statement | None]:
        """Raises one of `UNREADABLE` where any of them cannot be read."""
        wires = list(map(read_wire, lines))
        moments = _moments.decode(_array(wire.occurred_at for wire in wires))
        contents = self._contents(wires)
        return [
            Statement(
                entry[: entry.index(SEPARATOR)].decode(),
                wire.source_version,
                wire.type,
                content,
                format_moment(moment),
                wire.id,
                wire.correlation_id,
            )
            if content and len(line) <= LARGEST_EVENT
            else None
            for line, entry, wire, content, moment in zip(lines, entries, wires, contents, moments, strict=True)
        ]

    def _contents(self, wires: Sequence[Wire]) -> list[bytes]:
        """What the log will have of these payloads; empty for those that their domain does not admit."""
        contents = [NULL] * len(wires)
        for name in {wire.type for wire in wires}:
            mine = [place for place, wire in enumerate(wires) if wire.type == name and bytes(wire.payload) != NULL]
            domain, decoder = self._gates[name]
            payloads = [
                _admitted(domain, each) for each in decoder.decode(_array([wires[place].payload for place in mine]))
            ]
            for place, payload, content in zip(mine, payloads, encode_all(payloads), strict=True):
                if payload is None or b"\\" in content or not self._suits(domain, payload, wires[place].channel):
                    contents[place] = b""
                else:
                    contents[place] = content
        return contents

    def _suits(self, domain: AnyDomain, payload: msgspec.Struct, channel: str) -> bool:
        """Whether a payload can be meant for a channel."""
        return domain.fits is None or channel == EVERY_CHANNEL or domain.fits(payload, self._views[channel]) is None


def _admitted(domain: AnyDomain, payload: msgspec.Struct) -> msgspec.Struct | None:
    try:
        admitted: msgspec.Struct = domain.admit(payload)
    except Invalid:
        return None
    return admitted


def _array(items: Iterable[msgspec.Raw]) -> bytes:
    return b"[%b]" % b",".join(items)
