"""What corrections take away: values that a stream has in the log, and would have no more. Pure.

A mapping that finds nothing makes nothing of good attributes. One stream may lose an attribute; whether many do at once
is for a person to say.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from domains import DOMAINS
from domains.domain import JSON
from engine.door import NULL, UNREADABLE
from engine.rebuild.comparing import Pending, content_of

WHOLE = ""
"""The path of a payload as a whole: all that a stream says."""

MAX_PATHS = 1_000
"""So many different paths are counted. What holds them is one of the first, and is counted as well."""

MAX_SAMPLES = 3
"""Streams that are named with what they would lose at a path."""

_DIGITS = b"0123456789.-"


class Loss(NamedTuple):
    """How many streams would lose what they have at a path, and some of them, each with what that is."""

    path: str
    streams: int
    samples: list[JSON]


class Losses:
    """What the corrections of a run would take away, by path."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()
        self._samples: dict[str, list[JSON]] = {}

    def sort(self, corrections: Iterable[Pending]) -> tuple[list[Pending], list[Pending]]:
        """Counts what corrections take away. Gives those that take nothing away, and those that do."""
        harmless: list[Pending] = []
        taking: list[Pending] = []
        for each in corrections:
            lost = lost_in(each.topic, each.before, content_of(each)) if each.before else []
            (taking if lost else harmless).append(each)
            for path, value in lost:
                self._count(path, each.originator_id, value)
        return harmless, taking

    def above(self, limit: int, orphans: int) -> list[Loss]:
        """What more streams would lose than the limit, most of all first. So many more are to lose everything."""
        return [
            Loss(path, streams, self._samples[path])
            for path, streams in sorted(self._streams.items(), key=lambda each: (-each[1], each[0]))
            if streams + (orphans if path == WHOLE else 0) > limit
        ]

    def _count(self, path: str, stream: str, value: JSON) -> None:
        if path in self._streams or len(self._streams) < MAX_PATHS:
            self._streams[path] += 1
            samples = self._samples.setdefault(path, [])
            if len(samples) < MAX_SAMPLES:
                samples.append([stream, value])


def lost_in(topic: str, before: bytes, content: bytes) -> Sequence[tuple[str, JSON]]:
    """The paths where a payload had a value and another has none, with those values."""
    if before == NULL or _has_only_other_numbers(before, content):
        return ()
    try:
        had, has = msgspec.json.decode(before), msgspec.json.decode(content)
    except UNREADABLE:  # an application may have written anything
        return ()
    if not isinstance(had, dict):
        return ()
    lost: list[tuple[str, JSON]] = []
    if isinstance(has, dict) and has:
        has = _DEFAULTS[topic] | has
    if isinstance(has, dict) and has.get("enabled") is False and had.get("enabled", True):
        lost.append((WHOLE, had))  # what disables a product takes its page away
    _compare(had, has, WHOLE, lost)
    return lost


def _has_only_other_numbers(before: bytes, content: bytes) -> bool:
    """Whether two flat payloads, whose names are their domain's, differ in numbers alone, and none of them is gone."""
    return (
        content.count(b"{") == 1
        and before.translate(None, _DIGITS) == content.translate(None, _DIGITS)
        and b'""' not in content
        and b"[]" not in content
    )


def _compare(had: JSON, has: JSON, path: str, lost: list[tuple[str, JSON]]) -> None:
    if not _is_value(had):
        return
    is_lost = not _is_value(has)
    if is_lost:
        lost.append((path, had))
    if isinstance(had, dict) and (is_lost or isinstance(has, dict)):  # else something else is there instead
        inside = has if isinstance(has, dict) else {}
        for name, value in had.items():
            _compare(value, inside.get(name), f"{path}.{name}" if path else name, lost)


def _is_value(value: JSON) -> bool:
    """Whether there is something: `0` and `false` are, blanks and what holds nothing are not."""
    match value:
        case None:
            return False
        case str():
            return not (not value or value.isspace())
        case dict():
            return any(map(_is_value, value.values()))
        case list():
            return any(map(_is_value, value))
        case _:
            return True


def _defaults(payload: type[msgspec.Struct]) -> dict[str, JSON]:
    """The fields that are left out of a payload where they are what they mostly are, and what that is."""
    fields = msgspec.structs.fields(payload)
    return {each.encode_name: each.default for each in fields if isinstance(each.default, bool | int | str)}


_DEFAULTS = {domain.name: _defaults(domain.payload) for domain in DOMAINS}
