"""Folds one domain under two configurations at once: events are decoded, and what is the same is folded, once."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pagefold.domains import AnyDomain
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader
from pagefold.projections import Channel, ChannelMap, SharedSections

_AFTER = " after"
"""The end of the names under which the second configuration's channels are folded. Names of channels have no spaces."""


class PairedSections(NamedTuple):
    """The sections of SKUs under two configurations, in the same order, and the SKUs (encoded) that it does not fold.

    Both sections of a SKU have the same `contents`: channels have equal sections exactly if they have the same index.
    """

    before: list[SharedSections]
    after: list[SharedSections]
    left: set[str]


class PairedFolder:
    """Folds one domain for the channels of two configurations, of which none reads other SKUs."""

    def __init__(self, domain: AnyDomain, before: Sequence[Channel], after: Sequence[Channel], log: HeadReader) -> None:
        self._folder = HeadFolder(domain, before, log, {channel.name + _AFTER: channel for channel in after})

    async def sections(self, heads: Sequence[StoredEvent]) -> PairedSections:
        """The sections of the SKUs of these heads. SKUs that need other events than their heads are left."""
        found, left = await self._folder.fold_without_reading(heads)
        before: list[SharedSections] = []
        after: list[SharedSections] = []
        for each in found:
            own, other = _divided(each.channels)
            before.append(each._replace(channels=own))
            after.append(before[-1] if other is own else each._replace(channels=other))
        return PairedSections(before, after, left)


@lru_cache(maxsize=1_000)
def _divided(channels: ChannelMap) -> tuple[ChannelMap, ChannelMap]:
    """The channels of the first configuration, and those of the second by their own names."""
    index_of = channels.index_of
    before = ChannelMap({name: index for name, index in index_of.items() if not name.endswith(_AFTER)})
    after = ChannelMap({name.removesuffix(_AFTER): index_of[name] for name in index_of.keys() - before.index_of.keys()})
    return before, before if after == before else after
