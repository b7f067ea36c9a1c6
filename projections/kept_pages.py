"""Pages that keep an older version: what a channel shows in place of an incomplete page. Pure.

It is the newest older version of one stream that is complete by itself: without what other sources say, so that pages
do not go back and forth as those change. The stream is that of the first source that counts for the page.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from pagefold.domains import AnyDomain, ChannelContext, Contribution
from pagefold.domains.channel_view import UnknownSkus
from pagefold.domains.fold_trace import FoldTrace

MAX_OLDER_VERSIONS = 1_000
"""How many versions before the head are looked at for one that is complete."""


class Version(Protocol):
    """One version of a stream. `payload` is None if its source withdrew it."""

    occurred_at: str
    recorded_at: str
    payload: msgspec.Struct | None
    version: int


class KeptVersion(NamedTuple):
    """The content of a section that shows an older version: the fields of a `Section` from `versions` on."""

    versions: bytes
    body: bytes
    occurred_at: str
    recorded_at: str


class Gap(NamedTuple):
    """A section that is disabled unless an older version is complete.

    `place` is its place among the sections of the SKU. `suffix`, `source` and `label` are those of the stream whose
    versions are tried, `context` is the one in which they are folded.
    """

    place: int
    suffix: str
    source: str
    label: str
    context: ChannelContext

    def kept(self, domain: AnyDomain, event: Version, trace: FoldTrace | None = None) -> KeptVersion | None:
        """What the channel shows of an older version alone; None if that is not complete, or cannot be folded.

        Raises `UnknownSkus`.
        """
        try:
            body = domain.fold([Contribution[Any](self.source, event.payload)], self.context, trace)
        except UnknownSkus:
            raise
        except Exception:  # noqa: BLE001  # what cannot be folded was reported when it was the head
            return None
        if body is None:
            return None
        versions = f"{{{self.label}{event.version}}}".encode()
        return KeptVersion(versions, body.json, event.occurred_at, event.recorded_at)


class VersionSearch:
    """Finds the older versions that fill gaps: `add` those of the stream `needs`, until it is None.

    `kept` are those that were found, by the place of the gap; `gaps` are all of them.
    """

    def __init__(self, domain: AnyDomain, gaps: Sequence[Gap]) -> None:
        self._domain = domain
        self.gaps = tuple(gaps)
        self._gaps = list(gaps)
        self.kept: dict[int, KeptVersion] = {}

    @property
    def needs(self) -> str | None:
        """The suffix of the stream whose next older versions are needed."""
        return self._gaps[0].suffix if self._gaps else None

    def add(self, versions: Sequence[Version]) -> None:
        """Tries the next older versions, newest first; an empty list says that there are no more.

        What a source withdrew counts no more, nor what was before. Raises `UnknownSkus`: add them again then.
        """
        suffix = self.needs
        waiting = [gap for gap in self._gaps if gap.suffix == suffix]
        others = [gap for gap in self._gaps if gap.suffix != suffix]
        for version in versions:
            if version.payload is None:
                versions = ()
                break
            waiting = [gap for gap in waiting if not self._fills(gap, version)]
        self._gaps = [*waiting, *others] if versions else others

    def _fills(self, gap: Gap, version: Version) -> bool:
        kept = gap.kept(self._domain, version)
        if kept is not None:
            self.kept[gap.place] = kept
        return kept is not None
