"""Folds single pages from the log, as it is or as it was, without storing them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, Self

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.head_folder import MAX_NAMED_STREAMS, HeadFolder
from pagefold.engine.folding.logged_spellings import spelled_sources, spellings_for
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader
from pagefold.engine.stores.store import Store
from pagefold.projections import Channel, SharedSections, Splicer
from pagefold.projections.streams import decode_part, encode_part

MAX_CHANNELS = 50
"""Channels whose folders are kept."""


class _Folders(NamedTuple):
    """The folder of each domain, and the suffixes of the streams that decide its sections."""

    by_domain: Mapping[str, HeadFolder]
    suffixes: Collection[str]

    @classmethod
    def of(cls, channels: Sequence[Channel], log: HeadReader) -> Self:
        """Those of some channels."""
        by_domain = {domain.name: HeadFolder(domain, channels, log) for domain in DOMAINS}
        return cls(by_domain, dict.fromkeys(chain.from_iterable(folder.suffixes for folder in by_domain.values())))

    async def heads(self, log: HeadReader, skus: Sequence[str], max_bytes: int | None) -> dict[str, list[StoredEvent]]:
        """The heads that may decide the pages of SKUs (encoded), by domain.

        They are read by name, unless most names do not exist.
        """
        if len(self.suffixes) <= len(self.by_domain) * MAX_NAMED_STREAMS:
            names = [sku + suffix for sku in skus for suffix in self.suffixes]
        else:
            names = [name for name in await log.streams_of(skus) if name[name.find("/") :] in self.suffixes]
        found: dict[str, list[StoredEvent]] = {}
        for head in await log.heads(names, max_bytes=max_bytes):
            found.setdefault(head[4], []).append(head)
        return found


class PageFolder:
    """Folds pages of one configuration. `counting` is the one that counts now.

    It `is_lasting` unless it has read the names of all SKUs, to which others may come.
    """

    def __init__(self, store: Store, config: Config, counting: Config) -> None:
        self.config = config
        self._log = store.log
        self._folders = _Folders.of(config.resolved_channels, store.log)
        self._reads_others = any(folder.reads_others for folder in self._folders.by_domain.values())
        self._channels: dict[str, _Folders] = {}
        spelled = spelled_sources(counting, config)
        self._spellings = {
            name: spellings_for(store, folder.ignoring_case, spelled)
            for name, folder in self._folders.by_domain.items()
        }
        self.is_lasting = all(each is store.references for each in self._spellings.values())
        self._splicer = Splicer(DOMAINS, config.resolved_channels)

    def _of_channel(self, name: str) -> _Folders:
        """The folders of one channel alone."""
        if (known := self._channels.get(name)) is None:
            if len(self._channels) >= MAX_CHANNELS:
                self._channels.clear()
            alone = [channel for channel in self.config.resolved_channels if channel.name == name]
            known = self._channels[name] = _Folders.of(alone, self._log)
        return known

    async def _sections(
        self, log: HeadReader, skus: Sequence[str], channel: str, max_bytes: int | None
    ) -> dict[str, dict[str, SharedSections]]:
        """The sections of SKUs (encoded as in the log) by SKU and domain, at least those of a channel."""
        if self._reads_others:
            return await self._as_consumers(log, skus, max_bytes)
        folders = self._of_channel(channel)
        found: dict[str, dict[str, SharedSections]] = {}
        left: set[str] = set()
        for name, own in (await folders.heads(log, skus, max_bytes)).items():
            sections, others = await folders.by_domain[name].fold_without_reading(own)
            left |= others
            for each in sections:
                if each.contents:
                    found.setdefault(each.sku, {})[name] = each
        if left:
            found |= await self._as_consumers(log, sorted(left), max_bytes)
        return found

    async def _as_consumers(
        self, log: HeadReader, skus: Sequence[str], max_bytes: int | None
    ) -> dict[str, dict[str, SharedSections]]:
        """The sections in all channels. Events that cannot be folded count as for a consumer."""
        found: dict[str, dict[str, SharedSections]] = {decode_part(sku): {} for sku in skus}
        for name, own in (await self._folders.heads(log, skus, max_bytes)).items():
            folded = await self._folders.by_domain[name].reading(log).sections(own, self._spellings[name])
            for each in folded.sections:
                if each.contents:
                    found[each.sku][name] = each
        return found

    async def pages(
        self,
        log: HeadReader,
        skus: Sequence[str],
        channel: str,
        *,
        disabled: bool = False,
        max_bytes: int | None = None,
    ) -> Mapping[str, bytes]:
        """The pages of some SKUs in a channel as they are served, by SKU; without those that are not shown.

        Disabled pages are returned only on request. Raises `ReadTooLarge` if their heads have more than `max_bytes`
        together.
        """
        found: dict[str, bytes] = {}
        for sku, sections in (await self._sections(log, list(map(encode_part, skus)), channel, max_bytes)).items():
            rows = [
                (name, *own.contents[own.channels.index_of[channel]][:5])
                for name, own in sorted(sections.items())
                if channel in own.channels.index_of
            ]
            page = self._splicer.splice(sku, channel, rows, disabled=disabled) if rows else None
            if page is not None:
                found[sku] = page
        return found
