"""What a follower gets: a page that changed, in its newest state, and the pages that it wants."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import msgspec

from pagefold.engine.feed.feed_cursor import FeedCursor


class PageChange(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A page that changed, or may have.

    `status` is `disabled`, and `tag` None, where nothing is shown: who has the page removes it. `tag` is the page's
    entity tag, without quotes. `position` is that of the log up to which changes were looked for, `domains` are those
    that changed it; all, where that is not known. `updated_at` is None where there is no page at all. `page` is the
    page as it is served, if it was asked for.
    """

    sku: str
    channel: str
    status: Literal["live", "disabled"]
    ready: bool
    tag: str | None
    position: int
    domains: tuple[str, ...]
    updated_at: str | None
    page: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET


class FeedSelection(msgspec.Struct, frozen=True):
    """The pages that a follower wants: of some channels and SKUs, when some domains have changed. By default, all."""

    channels: frozenset[str] | None = None
    prefix: str = ""
    domains: frozenset[str] | None = None

    def has_sku(self, sku: str) -> bool:
        """Whether a SKU is wanted."""
        return sku.startswith(self.prefix)

    def wanted(self, channels: Collection[str]) -> list[str]:
        """Those of some channels that are wanted."""
        return [each for each in channels if self.channels is None or each in self.channels]

    def has(self, change: PageChange) -> bool:
        """Whether a change is wanted."""
        return (
            (self.channels is None or change.channel in self.channels)
            and change.sku.startswith(self.prefix)
            and (self.domains is None or not self.domains.isdisjoint(change.domains))
        )


EVERYTHING = FeedSelection()


class FeedStep(NamedTuple):
    """Changes, and the cursor after them, which counts once they were handled.

    `up_to_date`: there was nothing more to read. `replaying`: after this step, a replay from 0 is still going on.
    `folding`: the consumers are far behind the log, so that the same pages may soon change again.
    """

    changes: list[PageChange]
    cursor: FeedCursor
    up_to_date: bool
    replaying: bool
    folding: bool = False
