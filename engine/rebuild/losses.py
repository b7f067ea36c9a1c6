"""Counts the values that corrections would remove from streams. Pure.

A broken mapping would empty good attributes. One stream may lose an attribute; if many lose it at once, an operator
decides.
"""

import re
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import DECODE_ERRORS, JSON
from pagefold.engine.events import NULL
from pagefold.engine.rebuild.row_comparer import PendingRepair

ROOT_PATH = ""
"""The path of the whole payload."""

MAX_PATHS = 1_000
"""Maximum paths that are counted. An object's path is counted before the paths inside it."""

MAX_SAMPLES = 3
"""Maximum streams that are sampled per path, with the value that they would lose."""

_before, _content = attrgetter("before"), attrgetter("content")

_LINE = b"\n"
"""Separates payloads: their JSON contains no line break."""

SUSPECTS_ROWS = 200
"""Corrections that are checked together; their payloads should fit in the processor's cache."""

_DIGITS = b"0123456789.-"
_ZEROS = bytes(b"0"[0] if each in _DIGITS else each for each in range(256))
_BETWEEN_NAMES = bytes(each for each in range(256) if each not in b'":' + _DIGITS)
_NAME_WITH_DIGIT = b'0":'
"""How a field name with a digit looks once digits are zeros and, of the rest, only quotes and colons remain."""

# a regular expression finds a literal in half the time that `in` takes
_has_name_with_digit = re.compile(_NAME_WITH_DIGIT).search
_has_empty_text, _has_empty_list = re.compile(b'""').search, re.compile(rb"\[\]").search


class Loss(NamedTuple):
    """How many streams would lose their value at a path, with (stream, value) samples."""

    path: str
    streams: int
    samples: list[JSON]


class Losses:
    """What the corrections of a run would remove, by path."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()
        self._samples: dict[str, list[JSON]] = {}

    def split(
        self, corrections: list[PendingRepair], suspects: Sequence[PendingRepair] | None = None
    ) -> tuple[list[PendingRepair], list[PendingRepair]]:
        """Counts what corrections remove. Returns those that remove nothing, then those that do.

        `suspects` as returned by `find_suspects`, if known.
        """
        removing: list[PendingRepair] = []
        for each in find_suspects(corrections) if suspects is None else suspects:
            lost = lost_values(each.topic, each.before, each.content)
            for path, value in lost:
                self._count(path, each.originator_id, value)
            if lost:
                removing.append(each)
        if not removing:
            return corrections, removing
        streams = {each.originator_id for each in removing}
        return [each for each in corrections if each.originator_id not in streams], removing

    def above(self, limit: int, orphans: int) -> list[Loss]:
        """The paths at which more streams than the limit lose their value, most first. `orphans` lose all values."""
        return [
            Loss(path, streams, self._samples[path])
            for path, streams in sorted(self._streams.items(), key=lambda each: (-each[1], each[0]))
            if streams + (orphans if path == ROOT_PATH else 0) > limit
        ]

    def _count(self, path: str, stream: str, value: JSON) -> None:
        if path in self._streams or len(self._streams) < MAX_PATHS:
            self._streams[path] += 1
            samples = self._samples.setdefault(path, [])
            if len(samples) < MAX_SAMPLES:
                samples.append([stream, value])


def lost_values(topic: str, before: bytes, content: bytes) -> Sequence[tuple[str, JSON]]:
    """The paths at which `before` has a value and `content` has none, with those values."""
    if before in (b"", NULL):
        return ()
    try:
        had, has = msgspec.json.decode(before), msgspec.json.decode(content)
    except DECODE_ERRORS:  # another application may have written anything
        return ()
    if not isinstance(had, dict):
        return ()
    lost: list[tuple[str, JSON]] = []
    if isinstance(has, dict) and _is_value(has):
        has = _DEFAULTS[topic] | has
    if isinstance(has, dict) and has.get("enabled") is False and had.get("enabled", True):
        lost.append((ROOT_PATH, had))  # disabling a product removes its page
    _compare(had, has, ROOT_PATH, lost)
    return lost


def find_suspects(corrections: Sequence[PendingRepair]) -> list[PendingRepair]:
    """The corrections that may remove a value: all except those whose payloads differ only in digits.

    A change of digits removes nothing, provided that no text or list is empty and no field name has a digit.
    """
    suspects: list[PendingRepair] = []
    for start in range(0, len(corrections), SUSPECTS_ROWS):
        suspects += _suspects(corrections[start : start + SUSPECTS_ROWS])
    return suspects


def _suspects(corrections: Sequence[PendingRepair]) -> Sequence[PendingRepair]:
    """The same for one chunk; usually all of its corrections are cleared at once."""
    befores, contents = _LINE.join(map(_before, corrections)), _LINE.join(map(_content, corrections))
    if b"\\" in contents or _has_empty_text(contents) or _has_empty_list(contents):
        return corrections
    if _has_name_with_digit(contents.translate(_ZEROS, _BETWEEN_NAMES)):
        return corrections
    befores, contents = befores.translate(None, _DIGITS), contents.translate(None, _DIGITS)
    if befores == contents:
        return ()
    pairs = zip(befores.split(_LINE), contents.split(_LINE), strict=True)
    return [each for each, (before, content) in zip(corrections, pairs, strict=True) if before != content]


def _compare(had: JSON, has: JSON, path: str, lost: list[tuple[str, JSON]]) -> None:
    if not _is_value(had):
        return
    is_lost = not _is_value(has)
    if is_lost:
        lost.append((path, had))
    if isinstance(had, dict) and (is_lost or isinstance(has, dict)):  # a value of another kind replaces it
        inside = has if isinstance(has, dict) else {}
        for name, value in had.items():
            _compare(value, inside.get(name), f"{path}.{name}" if path else name, lost)


def _is_value(value: JSON) -> bool:
    """Whether it counts as a value: `0` and `false` do, empty texts and containers without values do not."""
    match value:
        case None:
            return False
        case str():
            return value != ""
        case dict():
            return any(map(_is_value, value.values()))
        case list():
            return any(map(_is_value, value))
        case _:
            return True


def _defaults(payload: type[msgspec.Struct]) -> dict[str, JSON]:
    """The fields that a payload omits when they have their default, with that default."""
    fields = msgspec.structs.fields(payload)
    return {each.encode_name: each.default for each in fields if isinstance(each.default, bool | int | str)}


_DEFAULTS = {domain.name: _defaults(domain.payload) for domain in DOMAINS}
