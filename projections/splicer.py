"""The splice: joins the stored bytes of a page's sections into the page's JSON, without parsing them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from pagefold.domains import AnyDomain
from pagefold.projections.channels import Channel

StoredSection: TypeAlias = Sequence[Any]
"""A row: domain, enabled, ready, versions, body, occurred_at. `Any`, because each driver has its own row type.

The timestamp is fixed-width UTC text, which sorts by time.
"""

_Flags: TypeAlias = tuple[bool, ...]


class PageFlags(NamedTuple):
    """Whether a page is shown, and whether it is ready."""

    live: bool
    ready: bool


class _Shape(NamedTuple):
    """What pages with the same sections in the same state share: everything but the sections' bytes."""

    template: bytes
    live: bool


class Splicer:
    """Splices the pages of one configuration.

    A page is ready if every domain that its channel requires is, and always the one that gives pages their identity.
    `requires` has both, by channel.

    The result is compact JSON with its keys in a fixed order; equal sections give equal bytes.
    """

    def __init__(self, domains: Sequence[AnyDomain], channels: Iterable[Channel]) -> None:
        self._domains = tuple(domain.name for domain in domains)
        self._identity = next(domain.name for domain in domains if domain.gives_identity)
        self.requires = {channel.name: channel.requires | {self._identity} for channel in channels}
        by_name = sorted(self._domains)
        self._in_order = itemgetter(*(by_name.index(name) for name in self._domains))
        self._shapes: dict[tuple[str, tuple[str, ...], _Flags, _Flags], _Shape] = {}

    def splice(self, sku: str, channel: str, rows: Sequence[StoredSection], *, disabled: bool) -> bytes | None:
        """The page made of these rows. There must be at least one, sorted by domain.

        Returns None if the page is disabled, unless `disabled` is True.
        """
        columns = list(zip(*self._in_order(rows), strict=False)) if len(rows) == len(self._domains) else None
        if columns is None or columns[0] != self._domains:
            rows = [row for name in self._domains for row in rows if row[0] == name]
            if not rows:  # all rows are of domains that no longer exist
                return None
            columns = list(zip(*rows, strict=True))
        names, enabled, ready, versions, bodies, moments = columns
        shape = self._shapes.get((channel, names, enabled, ready)) or self._shape(channel, names, enabled, ready)
        if not (shape.live or disabled):
            return None
        if None in bodies:
            bodies = tuple(body for body in bodies if body is not None)
        return shape.template % (
            orjson.dumps(sku),
            b"".join(versions).replace(b"}{", b","),
            max(moments).encode(),
            *bodies,
        )

    def flags(self, channel: str, sections: Mapping[str, tuple[bool, bool]]) -> PageFlags | None:
        """The flags of a page whose sections are (enabled, ready), by domain.

        None if there is no page: it has no section, or only of domains that no longer exist.
        """
        return None if sections.keys().isdisjoint(self._domains) else self._flags(channel, sections)

    def _flags(self, channel: str, sections: Mapping[str, tuple[bool, bool]]) -> PageFlags:
        absent = (True, False)
        live, _ = sections.get(self._identity, absent)
        return PageFlags(live, all(sections.get(name, absent)[1] for name in self.requires[channel]))

    def _shape(self, channel: str, names: tuple[str, ...], enabled: _Flags, ready: _Flags) -> _Shape:
        """Makes a template, once for each combination that occurs."""
        is_enabled = dict(zip(names, enabled, strict=True))
        is_ready = dict(zip(names, ready, strict=True))
        live, is_page_ready = self._flags(channel, {name: (is_enabled[name], is_ready[name]) for name in names})
        fields = {
            "sku": "%b",
            "channel": f'"{channel}"',
            "status": '"live"' if live else '"disabled"',
            "ready": _json(is_page_ready),
            "readiness": _object({name: _json(is_ready.get(name)) for name in self._domains}),
            "sourceVersions": "%b",
            "updatedAt": '"%b"',
        }
        bodies = {name: "%b" if is_enabled.get(name) else "null" for name in self._domains}
        shape = _Shape(_object(fields | bodies).encode(), live)
        self._shapes[channel, names, enabled, ready] = shape
        return shape


def _object(fields: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


def _json(flag: object) -> str:
    return "true" if flag else "false"
