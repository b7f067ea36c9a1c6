"""What a change of the configuration does to pages: compares the pages of one SKU under two configurations. Pure."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import JSON
from pagefold.projections import Channel, SharedSections, Splicer
from pagefold.projections.field_changes import FieldChange, changes_between, flatten
from pagefold.projections.section_fold import Content

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
        self._channels = sorted({*self._before.requires, *self._after.requires})
        self._identity = next(domain.name for domain in DOMAINS if domain.gives_identity)
        self._fields: dict[tuple[Rows, Rows], _Fields] = {}

    def compare(self, sku: str, before: _Domains, after: _Domains) -> ComparedPages:
        """Compares the pages of one SKU, which its sections under the two configurations give."""
        self._fields = {}  # channels of one SKU often share contents
        live: list[str] = []
        changes: list[PageChange] = []
        before, after = dict(sorted(before.items())), dict(sorted(after.items()))
        differing = [(before.get(name), after.get(name)) for name in {**before, **after}]
        differing = [(own, other) for own, other in differing if own is not other]
        for channel in self._channels:
            if self._stays(channel, differing):
                if self._is_live(_rows(before, channel)):
                    live.append(channel)
                continue
            old = _rows(before, channel) if channel in self._before.requires else ()
            new = _rows(after, channel) if channel in self._after.requires else ()
            was_live = self._is_live(old)
            if was_live:
                live.append(channel)
            if _shown(old) == _shown(new) and self._has_same_requirements(channel):
                continue
            pages = self._page(self._before, sku, channel, old), self._page(self._after, sku, channel, new)
            if pages[0] != pages[1]:
                changes.append(self._change(sku, channel, old, new, was_live=was_live))
        return ComparedPages(live, changes)

    def _stays(self, channel: str, differing: Sequence[tuple[SharedSections | None, SharedSections | None]]) -> bool:
        """Whether a channel has the same sections under both, in the domains that differ in any channel."""
        return self._has_same_requirements(channel) and all(
            own is not None and other is not None and _content(own, channel) == _content(other, channel)
            for own, other in differing
        )

    def _has_same_requirements(self, channel: str) -> bool:
        return channel in self._before.requires and self._before.requires[channel] == self._after.requires.get(channel)

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

    def _change(self, sku: str, channel: str, old: Rows, new: Rows, *, was_live: bool) -> PageChange:
        contents, others = dict(_shown(old)), dict(_shown(new))
        domains = sorted(name for name in contents.keys() | others.keys() if contents.get(name) != others.get(name))
        fields = self._fields.get((old, new))
        if fields is None:
            fields = self._fields[old, new] = _fields_of(old, new)
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
    flat, other = _flat(before, changed), _flat(after, changed)
    gone = _filled({path: value for path, value in flat.items() if path not in other or other[path] != value})
    emptied = bool(gone and gone - _filled(other))
    return _Fields(changes_between(flat, other), emptied, bool(_sources(before) - _sources(after)))


def _sources(contents: Mapping[str, Content]) -> set[str]:
    """The sources of a page, as `domain/source`."""
    return {source for content in contents.values() for source in msgspec.json.decode(content[2], type=dict[str, int])}


def _flat(contents: Mapping[str, Content], domains: Sequence[str]) -> dict[str, JSON]:
    fields: dict[str, JSON] = {}
    for domain in domains:
        body = contents[domain][3] if domain in contents else None
        if body is not None:
            fields |= flatten(msgspec.json.decode(body), domain)
    return fields


def _filled(fields: Mapping[str, JSON]) -> set[str]:
    """The fields with a value. An item of a list may go while others stay."""
    return {field_name(path) for path, value in fields.items() if value not in BLANK}
