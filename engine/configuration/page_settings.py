"""The part of a configuration that pages depend on: channels, and the sources of each domain. The rest may differ.

What was decided since the file was written belongs to it: published releases, and the day whose requirement sets count.
It has no secrets, no addresses, and no limits of processes, so that it can be kept in the log.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, Self

import msgspec

from pagefold.engine.configuration.channel_config import ChannelConfig, FilterConfig
from pagefold.engine.configuration.inherit_config import InheritConfig
from pagefold.projections import Channel


class ChannelSettings(msgspec.Struct, frozen=True, rename="camel"):
    """What the pages of a channel depend on, with every default filled in.

    Locales are canonical. `sources` ranks the sources of each domain, highest first. `contract`, `requirements` and
    `tree` are documents: they need no files. Settings of earlier releases have none.
    """

    locale: str
    currency: str
    fallbacks: list[str]
    requires: list[str]
    sources: dict[str, list[str]]
    contract: str | dict[str, object] | None = None
    requirements: list[str | dict[str, object]] = []
    incomplete: Literal["show", "hide", "keep"] = "show"
    tree: str | dict[str, object] | None = None
    filters: dict[str, FilterConfig] = {}


class PageSettings(msgspec.Struct, frozen=True, rename="camel"):
    """What pages depend on. `sources` has the domains of each source, in the order of the file; channels are by name.

    `inherit` says how sources inherit, by name. `releases` are those that are published, the highest rank first. `day`
    is the newest day from which a requirement set counts (`2027-01-31`), empty before the first such day. Equal
    settings and equal code give a log the same pages.
    """

    sources: dict[str, list[str]]
    channels: dict[str, ChannelSettings]
    inherit: dict[str, InheritConfig] = {}
    releases: list[str] = []
    day: str = ""

    @classmethod
    def of(
        cls,
        sources: Mapping[str, Sequence[str]],
        tables: Mapping[str, ChannelConfig],
        channels: Sequence[Channel],
        inherit: Mapping[str, InheritConfig],
    ) -> Self:
        """The settings of sources, and of channels, given as their tables and with every default filled in."""
        by_name = {channel.name: _settings(channel, tables[channel.name]) for channel in channels}
        by_source = {name: list(domains) for name, domains in sources.items()}
        return cls(by_source, dict(sorted(by_name.items())), dict(sorted(inherit.items())))

    @property
    def digest(self) -> str:
        """Equal for settings that say the same."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def written(self) -> Self:
        """What of it is in a file."""
        return msgspec.structs.replace(self, releases=[], day="")

    def on(self, today: str) -> Self:
        """The settings with the requirement sets that count today, a day such as `2027-01-31`."""
        documents = (each for channel in self.channels.values() for each in channel.requirements)
        days = (str(each["valid_from"]) for each in documents if isinstance(each, dict) and "valid_from" in each)
        return msgspec.structs.replace(self, day=max((day for day in days if day <= today), default=""))


def _settings(channel: Channel, table: ChannelConfig) -> ChannelSettings:
    return ChannelSettings(
        channel.locale,
        channel.currency,
        list(channel.fallbacks),
        sorted(channel.requires),
        {domain: list(names) for domain, names in sorted(channel.sources.items())},
        table.contract,
        table.requirements,
        table.incomplete,
        table.tree,
        table.filters,
    )
