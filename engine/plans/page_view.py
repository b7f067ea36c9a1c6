"""A view: the pages of a part of the log under a configuration. Plans and differences compare two."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.sent_config import SentConfig
from pagefold.engine.stores.log_records import MAX_POSITION
from pagefold.projections import Channel, SharedSections
from pagefold.projections.section_fold import ChannelMap


class PageView(NamedTuple):
    """The events up to the position `as_of`, or all, under a configuration.

    With `channel`, only its pages, under the name `shown_as`, so that they are compared with those of another channel.
    `spelled` are the sources of which the store keeps spellings: see `spelled_sources`.
    """

    config: Config
    spelled: list[str]
    as_of: int | None = None
    channel: str | None = None
    shown_as: str | None = None

    @property
    def end(self) -> int:
        """The position of the last event that counts."""
        return MAX_POSITION if self.as_of is None else self.as_of

    @property
    def channels(self) -> list[Channel]:
        """The channels that have pages in this view, by the names that they have there."""
        channels = self.config.resolved_channels
        if self.channel is None:
            return list(channels)
        name = self.shown_as or self.channel
        return [msgspec.structs.replace(each, name=name) for each in channels if each.name == self.channel]

    def shown(self, folded: Iterable[SharedSections]) -> Iterator[SharedSections]:
        """The sections that count in this view, of those that were folded; a SKU without any is left out."""
        for each in folded:
            if self.channel is None:
                if each.channels.index_of:
                    yield each
            elif (index := each.channels.index_of.get(self.channel)) is not None:
                channels = ChannelMap({self.shown_as or self.channel: 0})
                yield each._replace(channels=channels, contents=[each.contents[index]])


class SentView(msgspec.Struct, frozen=True, array_like=True):
    """A view as it is sent to another process."""

    config: SentConfig
    spelled: list[str]
    as_of: int | None
    channel: str | None
    shown_as: str | None

    @classmethod
    def of(cls, view: PageView) -> Self:
        """What is sent."""
        return cls(SentConfig.of(view.config), *view[1:])

    @property
    def view(self) -> PageView:
        """What was sent."""
        return PageView(self.config.config, self.spelled, self.as_of, self.channel, self.shown_as)
