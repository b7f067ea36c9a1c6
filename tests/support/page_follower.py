"""A follower of the pages that knows only what the feed has told it, and what it should know."""

from collections.abc import Mapping

from pagefold import Shop
from pagefold.engine.errors import FeedReset
from pagefold.engine.feed.feed_cursor import FeedCursor
from pagefold.engine.feed.feed_reader import FeedReader
from pagefold.engine.feed.page_change import EVERYTHING, FeedSelection, PageChange
from pagefold.engine.reading.page_tags import tag_of

Tags = dict[tuple[str, str], str]

MAX_STEPS = 1_000


def reader_of(shop: Shop) -> FeedReader:
    """A reader of a shop's changes."""
    return FeedReader(shop.store, shop.applied, shop.pages)


async def tags_of(shop: Shop, selection: FeedSelection = EVERYTHING) -> Tags:
    """The tags of all pages that are shown, of those that are selected."""
    found: Tags = {}
    async for sku, channel in shop.store.pages.keys():
        page = await shop.pages.get_json(sku, channel)
        if page is not None and selection.has_sku(sku) and selection.wanted([channel]):
            found[sku, channel] = tag_of(page)
    return found


class PageFollower:
    """Keeps the tags of the pages, and a cursor as text: what it has handled counts once the cursor is stored.

    `crashes` loses the cursor after the next step, as a program that ends before it was stored.
    """

    def __init__(self, shop: Shop, selection: FeedSelection = EVERYTHING, limit: int = 1_000) -> None:
        self._shop = shop
        self._reader = reader_of(shop)
        self.selection = selection
        self._limit = limit
        self.tags: Tags = {}
        self.cursor: str | None = None
        self.resets = 0
        self._named: set[tuple[str, str]] | None = None

    async def step(self, *, crashes: bool = False) -> bool:
        """Handles the next step. Returns whether it was up to date."""
        if self.cursor is None:
            self.cursor, self._named = str(await self._reader.start(replay=True)), set()
        cursor = FeedCursor.parse(self.cursor)
        try:
            step = await self._reader.step(cursor, self.selection, limit=self._limit)
        except FeedReset:
            self.cursor, self.resets = None, self.resets + 1
            return False
        self.handle(step.changes)
        if self._named is not None:
            self._named |= {(change.sku, change.channel) for change in step.changes}
            if not step.replaying and not crashes:
                self.tags = {key: tag for key, tag in self.tags.items() if key in self._named}
                self._named = None
        if not crashes:
            self.cursor = str(step.cursor)
        return step.up_to_date

    async def catch_up(self) -> Mapping[tuple[str, str], str]:
        """Handles everything, and returns the tags."""
        for _ in range(MAX_STEPS):
            if await self.step():
                return self.tags
        raise AssertionError

    def handle(self, changes: list[PageChange]) -> None:
        """Takes over the newest states."""
        for change in changes:
            if change.tag is None:
                self.tags.pop((change.sku, change.channel), None)
            else:
                self.tags[change.sku, change.channel] = change.tag
