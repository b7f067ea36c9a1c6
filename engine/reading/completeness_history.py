"""When pages became complete, and when incomplete: asked of the log, and stored nowhere."""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.reading.completeness import CATALOG, is_measured, shown_channel
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.stores.past_log import PastLog
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import encode_part, normalise_sku


class CompletenessHistory:
    """Marks the events by which pages became complete or incomplete, under the configuration that counts.

    A page is complete if nothing that blocks is missing, invalid or unmapped; it is neither complete nor incomplete
    where there is none, because it is disabled or a filter hides it.
    """

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._log = store.log
        self._spellings = store.references
        self._applied = applied
        self._compiled: tuple[Config, HeadFolder | None] | None = None

    async def marked(self, sku: str, entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
        """The same events of a SKU, those of the catalog with the channels in which its page changed by them.

        Reads the heads of the SKU twice for each: as they were before the event, and with it.
        """
        folder = self._folder()
        if folder is None:
            return list(entries)
        name = encode_part(normalise_sku(sku))
        return [await self._marked(folder, name, each) if each.domain == CATALOG.name else each for each in entries]

    async def _marked(self, folder: HeadFolder, sku: str, entry: HistoryEntry) -> HistoryEntry:
        before = await self._states(folder, sku, entry.position - 1)
        after = await self._states(folder, sku, entry.position)
        changed = [channel for channel, is_complete in sorted(after.items()) if before.get(channel) is not is_complete]
        return msgspec.structs.replace(
            entry,
            became_complete=[channel for channel in changed if after[channel]],
            became_incomplete=[channel for channel in changed if not after[channel]],
        )

    async def _states(self, folder: HeadFolder, sku: str, position: int) -> Mapping[str, bool]:
        """By channel, whether the page was complete at a position; without channels that had none."""
        past = folder.reading(PastLog(self._log, position))
        folded = (await past.sections(await past.heads([sku]), self._spellings)).sections
        return {each.channel: each.ready for shared in folded for each in shared.sections() if each.enabled}

    def _folder(self) -> HeadFolder | None:
        """Folds the channels that measure pages, as if incomplete ones were shown; None if none does."""
        config = self._applied.config
        if self._compiled is None or self._compiled[0] is not config:
            channels = [shown_channel(config, name) for name in config.channels if is_measured(config, name)]
            self._compiled = (config, HeadFolder(CATALOG, channels, self._log) if channels else None)
        return self._compiled[1]
