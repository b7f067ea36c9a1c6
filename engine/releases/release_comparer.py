"""Compares pages with a release and without it: those that it says something of, and their variants."""

from collections.abc import Sequence

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.logged_spellings import spelled_sources
from pagefold.engine.folding.stored_links import variants_of
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.page_view import PageView
from pagefold.engine.plans.planner import PlannedRange, Planner
from pagefold.engine.stores.log_records import ScannedHeads
from pagefold.engine.stores.store import Log, Store
from pagefold.projections import skus_of
from pagefold.projections.inheritance import Inheritance
from pagefold.projections.releases import release_source
from pagefold.projections.streams import decode_part, encode_part

MAX_COMPARED = 100
"""SKUs with statements of a release that are compared in a step."""

STEP_STREAMS = 20_000
"""Streams whose names are looked at in a step."""

STEP_BYTES = 16 * 1024 * 1024


class ReleaseDifferences(msgspec.Struct, frozen=True):
    """The pages of some products that a release changes; `next` is the cursor of the next products, None at the end.

    `skus` are the products that the release says something of. There may be none, although there are more.
    """

    skus: list[str]
    changes: list[PageChange]
    next: str | None


async def next_statements(log: Log, name: str, after: str) -> ScannedHeads:
    """The statements of a release in some of the streams after a name, in any domain. "" starts."""
    end = "/" + encode_part(release_source(name))
    return await log.scan([end], after=after, below="", limit=STEP_STREAMS, max_bytes=STEP_BYTES)


class ReleaseComparer:
    """Compares pages under two configurations, `without` a release and `with_it`. `counting` is the one that counts."""

    def __init__(self, store: Store, counting: Config, without: Config, with_it: Config) -> None:
        self._store = store
        views = [PageView(each, spelled_sources(counting, each)) for each in (without, with_it)]
        self._planner = Planner(store, views[0], views[1], every_change=True)
        self._inheritances = [Inheritance(domain, with_it.resolved_channels) for domain in DOMAINS]

    async def next(self, name: str, after: str, limit: int) -> ReleaseDifferences:
        """The next products after a cursor of which the release says something, at most `limit`, and their variants."""
        heads, end = await next_statements(self._store.log, name, after)
        found = skus_of([head.originator_id for head in heads])
        skus = found[:limit]
        if skus and (len(found) > limit or (end or "").startswith(f"{skus[-1]}/")):
            end = f"{skus[-1]}0"  # which follows all of its streams
        changes: list[PageChange] = []

        def keep(part: PlannedRange) -> None:
            changes.extend(part.changes)

        if skus:
            await self._planner.plan_skus(await self._with_variants(skus), keep)
        return ReleaseDifferences(list(map(decode_part, skus)), changes, end)

    async def _with_variants(self, skus: Sequence[str]) -> list[str]:
        """SKUs, and those that inherit from them."""
        found = set(skus)
        for inheritance in self._inheritances:
            codes = inheritance.all_codes(skus)
            found |= await variants_of(self._store.references, inheritance, codes)
        return sorted(found)
