"""What corrections take away: values that a stream has in the log and would lose. Pure.

A mapping that finds nothing would empty good attributes. One stream may lose an attribute; if many lose it at once, an
operator decides.
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
"""Paths that are counted. An object's path comes before those inside it, and is counted as well."""

MAX_SAMPLES = 3
"""Streams that are named with what they would lose at a path."""

_before, _content = attrgetter("before"), attrgetter("content")

_LINE = b"\n"
"""JSON on one line contains none."""

SUSPECTS_ROWS = 200
"""Corrections that are checked together: few enough that their payloads stay in the processor's cache."""

_DIGITS = b"0123456789.-"
_ZEROS = bytes(b"0"[0] if each in _DIGITS else each for each in range(256))
_BETWEEN_NAMES = bytes(each for each in range(256) if each not in b'":' + _DIGITS)
_NAME_WITH_DIGIT = b'0":'
"""A name with a digit, where digits are zeros and only quotes and colons remain of the rest."""

# a literal is found by an expression in half the time that `in` takes
_has_name_with_digit = re.compile(_NAME_WITH_DIGIT).search
_has_empty_text, _has_empty_list = re.compile(b'""').search, re.compile(rb"\[\]").search


class Loss(NamedTuple):
    """How many streams would lose their value at a path, and samples of stream and value."""

    path: str
    streams: int
    samples: list[JSON]


class Losses:
    """What the corrections of a run would take away, by path."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()
        self._samples: dict[str, list[JSON]] = {}

    def sort(
        self, corrections: list[PendingRepair], suspects: Sequence[PendingRepair] | None = None
    ) -> tuple[list[PendingRepair], list[PendingRepair]]:
        """Counts what corrections take away. Returns those that take nothing away, and those that do.

        `suspects` as returned by `find_suspects`, if known.
        """
        taking: list[PendingRepair] = []
        for each in find_suspects(corrections) if suspects is None else suspects:
            lost = lost_values(each.topic, each.before, each.content)
            for path, value in lost:
                self._count(path, each.originator_id, value)
            if lost:
                taking.append(each)
        if not taking:
            return corrections, taking
        streams = {each.originator_id for each in taking}
        return [each for each in corrections if each.originator_id not in streams], taking

    def above(self, limit: int, orphans: int) -> list[Loss]:
        """The paths at which more streams than the limit would lose their value, most first. `orphans` lose all."""
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
        lost.append((ROOT_PATH, had))  # disabling a product takes its page away
    _compare(had, has, ROOT_PATH, lost)
    return lost


def find_suspects(corrections: Sequence[PendingRepair]) -> list[PendingRepair]:
    """The corrections that may take something away: all but those whose payloads differ in digits only.

    A change of digits loses nothing, as long as no text or list is empty and no name has digits.
    """
    suspects: list[PendingRepair] = []
    for start in range(0, len(corrections), SUSPECTS_ROWS):
        suspects += _suspects(corrections[start : start + SUSPECTS_ROWS])
    return suspects


def _suspects(corrections: Sequence[PendingRepair]) -> Sequence[PendingRepair]:
    """The same for one chunk, most of whose corrections are cleared together."""
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
    """Whether it is a value: `0` and `false` are, empty texts and containers without values are not."""
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
