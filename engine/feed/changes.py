"""The changes of pages for programs: one at a time, or step by step."""

from collections.abc import AsyncIterator, Collection

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.feed.change_feed import ChangeFeed, Follower
from pagefold.engine.feed.page_change import FeedSelection, FeedStep, PageChange
from pagefold.projections import normalise_sku

WAIT_SECONDS = 60.0

NAMES = [domain.name for domain in DOMAINS]


def selection_of(
    config: Config, channels: Collection[str] | None, prefix: str, domains: Collection[str] | None
) -> FeedSelection:
    """The selection of pages by names. Raises `ConfigurationError` for unknown ones."""
    for name in channels or ():
        if name not in config.channels:
            raise ConfigurationError("", f"unknown channel {name!r}; {suggestion(name, config.channels, 'channels')}")
    for name in domains or ():
        if name not in NAMES:
            raise ConfigurationError("", f"unknown domain {name!r}; {suggestion(name, NAMES, 'domains')}")
    return FeedSelection(
        None if channels is None else frozenset(channels),
        normalise_sku(prefix),
        None if domains is None else frozenset(domains),
    )


class Changes:
    """Pages that change, each in its newest state: `async for change in changes`. Made by `Shop.changes`.

    `cursor` is where to go on later. Store it after a change was handled, never before: it then covers every change
    that was handled for good. Whoever stops without storing it gets the last ones again.
    """

    def __init__(
        self, feed: ChangeFeed, after: str, selection: FeedSelection, *, documents: bool, follow: bool
    ) -> None:
        self._feed = feed
        self._selection = selection
        self._documents = documents
        self._follow = follow
        self.cursor = after
        self.is_replaying = after == "0"

    def __aiter__(self) -> AsyncIterator[PageChange]:
        return self._each()

    async def _each(self) -> AsyncIterator[PageChange]:
        async for step in self._steps():
            for change in step.changes[:-1]:
                yield change
            self._reach(step)  # it counts once the last one was handled
            for change in step.changes[-1:]:
                yield change

    async def steps(self) -> AsyncIterator[FeedStep]:
        """The same changes, as many at a time as were read together, each with the cursor to store after them."""
        async for step in self._steps():
            self._reach(step)
            yield step

    async def _steps(self) -> AsyncIterator[FeedStep]:
        await self._feed.reader.refresh()
        cursor = await self._feed.resolve(self.cursor)
        follower = Follower(self._feed, cursor, self._selection, documents=self._documents)
        while True:
            step = await follower.step()
            yield step
            if step.up_to_date:
                if not self._follow:
                    return
                await follower.wait(WAIT_SECONDS)

    def _reach(self, step: FeedStep) -> None:
        self.cursor, self.is_replaying = str(step.cursor), step.replaying
