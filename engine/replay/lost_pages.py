"""Finds the live pages that a recovery would remove, because the log has no events for their identity.

Any event for a product counts, also a withdrawal. Missing events prove nothing, since the right log may be elsewhere.
So if many pages would go, a person must confirm that this log is the right one.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import DEFAULT_ORPHANS, OrphanLimit
from pagefold.engine.errors import PagesUnfolded
from pagefold.engine.stores.page_listing import ListedPage
from pagefold.engine.stores.store import Store
from pagefold.projections import Stream, stream_id
from pagefold.projections.streams import EVERY_CHANNEL

STEP_SKUS = 1_000
"""SKUs checked at a time."""

UNCONFIRMED_LIMIT = OrphanLimit.parse(DEFAULT_ORPHANS)

_IDENTITY = next(domain.name for domain in DOMAINS if domain.gives_identity)


class LostPages(NamedTuple):
    """How many of the live pages would be removed."""

    lost: int
    shown: int

    @property
    def needs_confirmation(self) -> bool:
        """Whether all live pages would go, or more than a rebuild may withdraw unconfirmed."""
        return self.lost > UNCONFIRMED_LIMIT.limit(self.shown) or 0 < self.lost == self.shown


async def find_lost_pages(store: Store, config: Config) -> LostPages:
    """Counts the pages that a recovery would remove. 0 if pages were lost before: the rest proves nothing."""
    lost = shown = 0
    for channel in config.channels:
        try:
            found = await _of_channel(store, config, channel)
        except PagesUnfolded:
            return LostPages(0, 0)
        lost, shown = lost + found.lost, shown + found.shown
    return LostPages(lost, shown)


async def _of_channel(store: Store, config: Config, channel: str) -> LostPages:
    lost, shown, last = 0, 0, ""
    while listed := await store.pages.list_pages(channel, last, STEP_SKUS):
        last = listed[-1].sku
        streams: dict[str, str] = {}
        live = [(page.sku, domains) for page in listed if (domains := _live_domains(page))]
        for sku, domains in live:
            streams |= dict.fromkeys(_streams(config, sku, channel, domains), sku)
        known = {streams[stream] for stream in await store.log.newest_versions(streams.keys())}
        lost, shown = lost + len(live) - len(known), shown + len(live)
    return LostPages(lost, shown)


def _live_domains(page: ListedPage) -> list[str]:
    """The domains that make a page live: that of its identity, or all until that arrives. Empty if it is not live."""
    identity = [each.enabled for each in page.sections if each.domain == _IDENTITY]
    if identity:
        return [_IDENTITY] if all(identity) else []
    return [each.domain for each in page.sections]


def _streams(config: Config, sku: str, channel: str, domains: Sequence[str]) -> list[str]:
    """Every stream that may have events for a page in these domains."""
    return [
        stream_id(Stream(sku, where, domain, source))
        for domain in domains
        for source in config.counting_sources(domain)
        for where in (channel, EVERY_CHANNEL)
    ]
