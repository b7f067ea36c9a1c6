"""The splice: from the stored bytes of a page's sections to the page's JSON, without parsing any of them. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import orjson

from domains import AnyDomain
from projections.channels import Channel

Status: TypeAlias = Literal["live", "disabled"]

StoredSection: TypeAlias = Sequence[Any]
"""A row: domain, enabled, ready, versions, body, occurred_at. `Any`, because each driver has a row type of its own."""

_FLAGS = (b"false", b"true")
_ABSENT: StoredSection = ("", False, False, b"{}", None, None)


class Splicer:
    """Splices the pages of one configuration.

    The result is compact JSON with its keys in a fixed order; equal sections give equal bytes.
    """

    def __init__(self, domains: Sequence[AnyDomain], channels: Iterable[Channel]) -> None:
        self._domains = tuple(domain.name for domain in domains)
        self._prefixes = tuple(f'"{name}/'.encode() for name in self._domains)
        self._identity = next(domain.name for domain in domains if domain.gives_identity)
        self._templates = {channel.name: self._template(channel.name) for channel in channels}
        self._requires = {channel.name: channel.requires for channel in channels}

    def __contains__(self, channel: object) -> bool:
        """Whether the channel is one of the configuration's."""
        return channel in self._templates

    def splice(self, sku: str, channel: str, rows: Iterable[StoredSection], updated_at: str, *, disabled: bool) -> bytes | None:
        """The page made of these section rows, in whatever order they come. There must be at least one.

        None when the page is disabled, unless disabled pages are asked for.
        """
        sections = {row[0]: row for row in rows}
        identity = sections.get(self._identity)
        live = identity is None or identity[1]
        if not (live or disabled):
            return None
        ready = True
        requires = self._requires[channel]
        flags, versions, bodies = [], [], []
        for domain, prefix in zip(self._domains, self._prefixes, strict=True):
            row = sections.get(domain, _ABSENT)
            if not row[2] and domain in requires:
                ready = False
            flags.append(_FLAGS[row[2]])
            bodies.append(b"null" if row[4] is None else row[4])
            if row[0]:
                versions.append(prefix + row[3][2:-1].replace(b',"', b"," + prefix))
        return self._templates[channel] % (
            orjson.dumps(sku),
            b"live" if live else b"disabled",
            _FLAGS[ready],
            *flags,
            b",".join(versions),
            updated_at.encode(),
            *bodies,
        )

    def _template(self, channel: str) -> bytes:
        flags = ",".join(f'"{name}":%b' for name in self._domains)
        head = f'{{"sku":%b,"channel":"{channel}","status":"%b","ready":%b,"readiness":{{{flags}}},'
        return (head + f'"sourceVersions":{{%b}},"updatedAt":"%b",{flags}}}').encode()
