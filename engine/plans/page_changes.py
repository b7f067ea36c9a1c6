"""What a change of the configuration does to pages: compares the pages of one SKU under two configurations. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import JSON
from pagefold.projections import Channel, SharedSections, Splicer
from pagefold.projections.field_changes import FieldChange, changes_between, differing_leaves, flatten
from pagefold.projections.section_fold import ChannelMap, Content

Effect: TypeAlias = Literal["added", "removed", "disabled", "enabled", "ready", "unready", "emptied", "source_lost"]
"""What happens to a page, beside other values.

`added`: it did not exist; `removed`: it no longer does; `disabled`, `enabled`: its status changes; `ready`, `unready`:
its readiness does; `emptied`: a field that had a value has none; `source_lost`: a source that has sent events for it
counts no longer.
"""

TAKING: frozenset[Effect] = frozenset(["removed", "disabled", "unready", "emptied", "source_lost"])
"""Effects that take something away from a live page."""

_index = re.compile(r"\[\d+\]", re.ASCII)

BLANK: tuple[JSON, ...] = ("", [], {})
"""Values that say no more than their absence."""

Rows: TypeAlias = Sequence[tuple[str, Content]]
"""The sections of one page: domain and content, in the order of the domains."""

_Domains: TypeAlias = Mapping[str, SharedSections]
"""The sections of a SKU, by domain."""


class PageChange(msgspec.Struct, frozen=True, rename="camel"):
    """A page that differs: its effects, the domains whose sections differ, and the fields, with both values."""

    sku: str
    channel: str
    effects: list[Effect]
    domains: list[str]
    fields: list[FieldChange]
    was_live: bool

    @property
    def takes_away(self) -> bool:
        """Whether a live page loses something."""
        return self.was_live and not TAKING.isdisjoint(self.effects)


class ComparedPages(msgspec.Struct, frozen=True):
    """The pages of a SKU: how many live ones each channel has before, and the changes."""

    live: list[str]
    changes: list[PageChange]


class _Fields(NamedTuple):
    """The fields that differ, whether any has a value before and none after, and whether a source is lost."""

    changes: list[FieldChange]
    emptied: bool
    source_lost: bool


class PageComparer:
    """Compares the pages of two configurations, given by their channels."""

    def __init__(self, before: Sequence[Channel], after: Sequence[Channel]) -> None:
        self._before = Splicer(DOMAINS, before)
        self._after = Splicer(DOMAINS, after)
        self._identity = next(domain.name for domain in DOMAINS if domain.gives_identity)
        required, others = self._before.requires, self._after.requires
        self._other_requirements = {name for name in required | others if required.get(name) != others.get(name)}
        self._fields: dict[tuple[Rows, Rows], _Fields] = {}

    def compare(self, sku: str, before: _Domains, after: _Domains) -> ComparedPages:
        """Compares the pages of one SKU, which its sections under the two configurations give."""
        self._fields = {}  # channels of one SKU often share contents
        live = self._live(before)
        if not (differing := self._differing(before, after)):
            return ComparedPages(live, [])
        before, after = dict(sorted(before.items())), dict(sorted(after.items()))
        changes = [self._compared(sku, channel, before, after) for channel in sorted(differing)]
        return ComparedPages(live, [change for change in changes if change is not None])

    def _live(self, sections: _Domains) -> list[str]:
        """The channels that have a live page, by name."""
        channels = set(chain.from_iterable([own.channels.index_of for own in sections.values()]))
        if (identity := sections.get(self._identity)) is not None:
            contents = identity.contents
            channels.difference_update([name for name, i in identity.channels.index_of.items() if not contents[i][0]])
        return sorted(channels)

    def _differing(self, before: _Domains, after: _Domains) -> set[str]:
        """The channels whose sections or requirements differ: only their pages may."""
        differing = set(self._other_requirements)
        for name in before.keys() | after.keys():
            own, other = before.get(name), after.get(name)
            if own is not other:
                differing.update(_differing_channels(own, other))
        return differing

    def _compared(self, sku: str, channel: str, before: _Domains, after: _Domains) -> PageChange | None:
        """The change of one page; None if it has none."""
        old, new = _rows(before, channel), _rows(after, channel)
        is_other = [(name, content[:4]) for name, content in old] != [(name, content[:4]) for name, content in new]
        if not is_other:  # the page may have the same time, and be as ready, whatever its sections are
            is_other = self._page(self._before, sku, channel, old) != self._page(self._after, sku, channel, new)
        return self._change(sku, channel, old, new) if is_other else None

    @staticmethod
    def _page(splicer: Splicer, sku: str, channel: str, rows: Rows) -> bytes | None:
        """The document of a page; None if there is none."""
        stored = [(domain, *content[:5]) for domain, content in rows]
        return splicer.splice(sku, channel, stored, disabled=True) if stored else None

    def _is_live(self, rows: Rows) -> bool:
        return bool(rows) and dict(rows).get(self._identity, (True,))[0]

    @staticmethod
    def _is_ready(splicer: Splicer, channel: str, rows: Rows) -> bool:
        ready = {domain for domain, content in rows if content[1]}
        return channel in splicer.requires and ready >= splicer.requires[channel]

    def _change(self, sku: str, channel: str, old: Rows, new: Rows) -> PageChange:
        contents, others = dict(_shown(old)), dict(_shown(new))
        domains = sorted(name for name in contents.keys() | others.keys() if contents.get(name) != others.get(name))
        fields = self._fields.get((old, new))
        if fields is None:
            fields = self._fields[old, new] = _fields_of(old, new)
        was_live = self._is_live(old)
        effects = self._effects(channel, old, new, fields, was_live=was_live)
        return PageChange(sku, channel, effects, domains, fields.changes, was_live)

    def _effects(self, channel: str, old: Rows, new: Rows, fields: _Fields, *, was_live: bool) -> list[Effect]:
        is_live = self._is_live(new)
        was_ready = self._is_ready(self._before, channel, old)
        is_ready = self._is_ready(self._after, channel, new)
        found: dict[Effect, bool] = {
            "added": not old,
            "removed": not new,
            "disabled": bool(old and new and was_live and not is_live),
            "enabled": bool(old and new and is_live and not was_live),
            "ready": is_ready and not was_ready,
            "unready": was_ready and not is_ready,
            "emptied": bool(old and new) and fields.emptied,
            "source_lost": bool(old and new) and fields.source_lost,
        }
        return [effect for effect, holds in found.items() if holds]


@lru_cache(maxsize=10_000)
def field_name(path: str) -> str:
    """The path of a field without the places in lists: `media.assets[0].url` is `media.assets[].url`."""
    return _index.sub("[]", path)


def _differing_channels(before: SharedSections | None, after: SharedSections | None) -> Iterable[str]:
    """The channels whose sections of one domain differ."""
    if before is None or after is None:
        one = before or after
        return () if one is None else one.channels.index_of
    if before.contents is after.contents:  # folded at once
        return _moved(before.channels, after.channels)
    return [
        channel
        for channel in before.channels.index_of.keys() | after.channels.index_of.keys()
        if _content(before, channel) != _content(after, channel)
    ]


@lru_cache(maxsize=10_000)
def _moved(before: ChannelMap, after: ChannelMap) -> frozenset[str]:
    """The channels that have not the same content in both maps."""
    own, other = before.index_of, after.index_of
    return frozenset([channel for channel in own.keys() | other.keys() if own.get(channel) != other.get(channel)])


def _content(own: SharedSections, channel: str) -> Content | None:
    index = own.channels.index_of.get(channel)
    return None if index is None else own.contents[index]


def _rows(sections: _Domains, channel: str) -> Rows:
    return tuple(
        [
            (domain, own.contents[own.channels.index_of[channel]])
            for domain, own in sections.items()
            if channel in own.channels.index_of
        ]
    )


def _shown(rows: Rows) -> list[tuple[str, tuple[object, ...]]]:
    """What of sections is in the page: all but when they were recorded."""
    return [(domain, content[:5]) for domain, content in rows]


def _fields_of(old: Rows, new: Rows) -> _Fields:
    """The fields of all sections that differ."""
    before, after = dict(old), dict(new)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    flat: dict[str, JSON] = {}
    other: dict[str, JSON] = {}
    for name in changed:
        leaves, others = differing_leaves(_body(before, name), _body(after, name), name)
        flat |= leaves
        other |= others
    gone = _filled({path: value for path, value in flat.items() if path not in other or other[path] != value})
    if gone := gone - _filled(other):
        for name in changed:  # what is equal counts, too: an item of a list may go while others stay
            gone -= _filled(flatten(_body(after, name), name))
    return _Fields(changes_between(flat, other), bool(gone), bool(_sources(before, changed) - _sources(after, changed)))


def _sources(contents: Mapping[str, Content], domains: Iterable[str]) -> set[str]:
    """The sources of some sections, as `domain/source`."""
    found: set[str] = set()
    for domain in domains:
        if domain in contents:
            found |= msgspec.json.decode(contents[domain][2], type=dict[str, int]).keys()
    return found


def _body(contents: Mapping[str, Content], domain: str) -> JSON:
    body = contents[domain][3] if domain in contents else None
    return None if body is None else msgspec.json.decode(body)


def _filled(fields: Mapping[str, JSON]) -> set[str]:
    """The fields with a value."""
    return {field_name(path) for path, value in fields.items() if value not in BLANK}
