"""How sections are stored: one row has all sections of a domain for the pages of one SKU.

Channels mostly share their sections. So a row has each distinct content once, and says which channel has which:

* `channels`: the index of each channel's content, as a JSON object, such as `{"web-at":0,"web-de":0,"web-us":1}`,
* `flags`: a digit for each content: 1 if it is enabled, plus 2 if it is ready,
* `layout`: a JSON array for each content: where it starts, the bytes of its `versions`, those of its body (null if it
  has none), `occurred_at` and `recorded_at`,
* `contents`: the `versions` of each content, followed by its body.

Rows that are read are `Any` here, because each driver has its own row type.

Equal sections give equal rows. Both stores have these columns, and the database function `page` reads them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import orjson

from pagefold.engine.errors import StoreDamaged
from pagefold.projections.section_fold import ChannelMap, Content, SharedSections
from pagefold.projections.splicer import StoredSection

MAX_CACHED_MAPS = 10_000
"""How many different `channels` are kept parsed."""

_ENABLED, _READY = 1, 2

_FLAGS = {str(value): (bool(value & _ENABLED), bool(value & _READY)) for value in range(4)}
"""`enabled` and `ready` of each digit."""

_DIGITS = {flags: digit for digit, flags in _FLAGS.items()}

_UNREADABLE = (ValueError, KeyError, IndexError, TypeError)
"""What reading a row raises that no release has written."""

SectionState: TypeAlias = tuple[bool, bool]
"""Whether a section is enabled, and whether it is ready."""

_new = tuple.__new__  # takes a third of the time of the class itself


class SectionRow(NamedTuple):
    """A row: its key, and what the module says."""

    sku: str
    domain: str
    channels: str
    flags: str
    layout: str
    contents: bytes


class SectionFlags(NamedTuple):
    """The state of one section, without its content."""

    domain: str
    enabled: bool
    ready: bool
    occurred_at: str


def encode_sections(shared: Iterable[SharedSections]) -> list[SectionRow]:
    """The rows of these sections, in the same order. SKUs without a section have none."""
    return [_encode(*each) for each in shared if each.contents]


def _encode(sku: str, domain: str, channels: ChannelMap, contents: Sequence[Content]) -> SectionRow:
    if len(contents) == 1:  # the usual case, in half the time
        [(enabled, ready, versions, body, occurred_at, recorded_at)] = contents
        length = None if body is None else len(body)
        layout = [(0, len(versions), length, occurred_at, recorded_at)]
        flags, joined = _DIGITS[enabled, ready], versions + body if body else versions
    else:
        layout, start = [], 0
        for _, _, versions, body, occurred_at, recorded_at in contents:
            length = None if body is None else len(body)
            layout.append((start, len(versions), length, occurred_at, recorded_at))
            start += len(versions) + (length or 0)
        flags = "".join([_DIGITS[content[0], content[1]] for content in contents])
        joined = b"".join([part for content in contents for part in (content[2], content[3] or b"")])
    return _new(SectionRow, (sku, domain, channels.text, flags, orjson.dumps(layout).decode(), joined))


@lru_cache(MAX_CACHED_MAPS)
def parse_channels(text: str) -> ChannelMap:
    """The channel map that a row has. Raises `ValueError` for any other text."""
    index_of = orjson.loads(text)
    if not isinstance(index_of, dict) or not all(type(index) is int for index in index_of.values()):
        raise ValueError(text)
    return ChannelMap(index_of)


def readable_channels(text: str) -> Mapping[str, int]:
    """As `parse_channels`, for lists and counts: a row that cannot be read has no sections."""
    try:
        return parse_channels(text).index_of
    except ValueError:
        return {}


def decode_sections(row: Iterable[Any]) -> SharedSections:
    """The sections of a row. One that no program of ours has written may have none: a repair then replaces it."""
    sku, domain, channels, flags, layout, contents = row
    try:
        found = [
            (*_FLAGS[flag], contents[start : start + size], _body(contents, start + size, length), occurred, recorded)
            for flag, (start, size, length, occurred, recorded) in zip(flags, orjson.loads(layout), strict=True)
        ]
        index_of = parse_channels(channels)
        if not set(index_of.index_of.values()) <= set(range(len(found))):
            raise IndexError  # it is like the other errors here
    except _UNREADABLE:
        return SharedSections(sku, domain, ChannelMap({}), [])
    return SharedSections(sku, domain, index_of, found)


def _body(contents: bytes, start: int, length: int | None) -> bytes | None:
    return None if length is None else contents[start : start + length]


def page_sections(rows: Iterable[Any], channel: str, store: str) -> list[StoredSection]:
    """The sections of one channel in the rows of one SKU, which are without it.

    Raises `StoreDamaged` for the store of that name.
    """
    sections: list[StoredSection] = []
    try:
        for domain, channels, flags, layout, contents in rows:
            index = parse_channels(channels).index_of.get(channel)
            if index is not None:
                start, size, length, occurred_at, _ = orjson.loads(layout)[index]
                end = start + size
                body = None if length is None else contents[end : end + length]
                enabled, ready = _FLAGS[flags[index]]
                sections.append((domain, enabled, ready, contents[start:end], body, occurred_at))
    except _UNREADABLE as error:
        raise StoreDamaged(store, "a row of sections", f"{type(error).__name__}: {error}") from error
    return sections


def sections_by_sku(rows: Iterable[Any], channel: str, store: str) -> dict[str, Sequence[StoredSection]]:
    """The sections of one channel in the rows of several SKUs, as `page_sections` gives them; none for SKUs without."""
    by_sku = _by_sku(rows)
    return {sku: sections for sku, own in by_sku.items() if (sections := page_sections(own, channel, store))}


def sections_by_page(
    rows: Iterable[Any], wanted: Mapping[str, Iterable[str]], store: str
) -> dict[tuple[str, str], Sequence[StoredSection]]:
    """As `sections_by_sku`, for several channels of each SKU."""
    by_sku = _by_sku(rows)
    return {
        (sku, channel): sections
        for sku, own in by_sku.items()
        for channel in wanted[sku]
        if (sections := page_sections(own, channel, store))
    }


def _by_sku(rows: Iterable[Any]) -> dict[str, list[Any]]:
    by_sku: dict[str, list[Any]] = {}
    for sku, *row in rows:
        by_sku.setdefault(sku, []).append(row)
    return by_sku


def section_flags(row: Sequence[str], channel: str) -> SectionFlags | None:
    """The state of one channel's section in a row of (domain, channels, flags, layout); None if it has none."""
    domain, channels, flags, layout = row
    try:
        index = parse_channels(channels).index_of.get(channel)
        return None if index is None else SectionFlags(domain, *_FLAGS[flags[index]], orjson.loads(layout)[index][3])
    except _UNREADABLE:
        return None


def flags_by_channel(rows: Iterable[Sequence[str]]) -> dict[str, dict[str, SectionState]]:
    """By channel and domain, the sections in the rows of one SKU, each of which is (domain, channels, flags).

    A row that cannot be read has none, as in lists.
    """
    found: dict[str, dict[str, SectionState]] = {}
    for domain, channels, flags in rows:
        for channel, index in readable_channels(channels).items():
            if (state := _FLAGS.get(flags[index : index + 1])) is not None:
                found.setdefault(channel, {})[domain] = state
    return found


def count_all(groups: Iterable[Any]) -> int:
    """The number of sections in all groups."""
    return sum([len(readable_channels(channels)) * rows for _, channels, _, rows in groups])
