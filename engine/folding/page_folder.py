"""Folds single pages from the log, as it is or as it was, without storing them."""

from collections.abc import Mapping, Sequence

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.folder import MAX_NAMED_STREAMS, MAX_ON_LOOP, Folder
from pagefold.engine.folding.logged_spellings import spelled_sources, spellings_for
from pagefold.engine.stores.past_log import HeadReader
from pagefold.engine.stores.store import Store
from pagefold.projections import SharedSections, Splicer
from pagefold.projections.streams import encode_part


class PageFolder:
    """Folds pages of one configuration. `counting` is the one that counts now.

    It `is_lasting` unless it has read the names of all SKUs, to which others may come.
    """

    def __init__(self, store: Store, config: Config, counting: Config) -> None:
        self.config = config
        self._folders = {domain.name: Folder(domain, config.resolved_channels, store.log) for domain in DOMAINS}
        spelled = spelled_sources(counting)
        self._spellings = {
            name: spellings_for(store, folder.ignoring_case, spelled) for name, folder in self._folders.items()
        }
        self.is_lasting = all(each is store.references for each in self._spellings.values())
        self._suffixes = {suffix for folder in self._folders.values() for suffix in folder.suffixes}
        self._splicer = Splicer(DOMAINS, config.resolved_channels)

    async def sections(
        self, log: HeadReader, skus: Sequence[str], *, max_bytes: int | None = None
    ) -> dict[str, dict[str, SharedSections]]:
        """The sections of some SKUs, by SKU and domain. Events that cannot be folded count as for a consumer.

        Raises `ReadTooLarge` if their heads have more than `max_bytes` together.
        """
        heads = await log.heads(await self._streams(log, list(map(encode_part, skus))), max_bytes=max_bytes)
        found: dict[str, dict[str, SharedSections]] = {}
        for name, folder in self._folders.items():
            own = [head for head in heads if head[4] == name]
            folded = folder.fold_if_valid(own) if len(own) <= MAX_ON_LOOP else None
            if folded is None:
                folded = (await folder.reading(log).sections(own, self._spellings[name])).sections
            for each in folded:
                if each.contents:
                    found.setdefault(each.sku, {})[name] = each
        return found

    async def _streams(self, log: HeadReader, skus: Sequence[str]) -> list[str]:
        """The streams that may decide the pages of SKUs (encoded as in the log). Of many names most do not exist."""
        if len(self._suffixes) <= len(self._folders) * MAX_NAMED_STREAMS:
            return [sku + suffix for sku in skus for suffix in self._suffixes]
        return [name for name in await log.streams_of(skus) if name[name.find("/") :] in self._suffixes]

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

        Disabled pages are returned only on request. `max_bytes` as in `sections`.
        """
        found: dict[str, bytes] = {}
        for sku, sections in (await self.sections(log, skus, max_bytes=max_bytes)).items():
            rows = [
                (name, *own.contents[own.channels.index_of[channel]][:5])
                for name, own in sorted(sections.items())
                if channel in own.channels.index_of
            ]
            page = self._splicer.splice(sku, channel, rows, disabled=disabled) if rows else None
            if page is not None:
                found[sku] = page
        return found
