"""Pages as they were at a moment: folded from the log up to there, under the configuration that counted then."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.applied.applied_history import AppliedHistory
from pagefold.engine.configuration.config import Config
from pagefold.engine.folding.page_folder import PageFolder
from pagefold.engine.reading.moments import At, Moment, MomentFinder
from pagefold.engine.reading.page_reader import ProductPage, decode_page, was_live
from pagefold.engine.stores.past_log import PastLog
from pagefold.engine.stores.store import Store
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku

END_SECONDS = 1.0
"""How long the end of the log is trusted."""

MAX_FOLDERS = 4
"""Configurations whose folders are kept."""

MAX_MOMENTS = 1_000
"""Times whose positions are kept."""


class View(NamedTuple):
    """What pages are folded from and under: the events up to `moment`, and a configuration.

    `number` is that of the applied one, None if it was given, or if none was ever applied.
    """

    moment: Moment
    config: Config
    number: int | None


class PastPages:
    """Reads pages of one store as they were. Each is folded when it is read, and not stored."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._store = store
        self._applied = applied
        self._history = AppliedHistory(applied.log, applied.file)
        self._moments = MomentFinder(store)
        self._known: dict[At, Moment] = {}
        self._folders: dict[int, PageFolder] = {}
        self._end, self._trusted_until = -1, 0.0
        applied.on_change(self._forget)

    def _forget(self, _: Config) -> None:
        self._history.forget()
        self._known.clear()
        self._folders.clear()
        self._trusted_until = 0.0

    async def view(self, at: At | None, under: Config | None = None) -> View:
        """The events up to a moment, and the configuration that counted then, unless another is given.

        None is the end of the log, and so is a position or time beyond it. Raises `ValueError` for a time without a
        zone or outside the years 1 to 9999.
        """
        moment = await self._moment(at)
        if under is not None:
            return View(moment, under, None)
        number = self._history.number_at(moment.position)
        return View(moment, await self._history.config(number), number)

    async def _moment(self, at: At | None) -> Moment:
        if at is not None and (known := self._known.get(at)) is not None:
            return known
        clock = time.monotonic()
        if at is None or not isinstance(at, int) or at > self._end or clock > self._trusted_until:
            self._end = await self._store.log.end()
            await self._history.refresh()
            self._trusted_until = clock + END_SECONDS
        if at is None:
            return Moment(self._end, settled=False)
        moment = await self._moments.find(at, self._end)
        if moment.settled and not isinstance(at, int):
            if len(self._known) >= MAX_MOMENTS:
                self._known.clear()
            self._known[at] = moment
        return moment

    async def config(self, number: int) -> Config | None:
        """The configuration that was applied with a number; None if there is none."""
        await self._moment(None)
        return await self._history.config(number) if 0 <= number < len(self._history) else None

    async def get_json(
        self, sku: str, channel: str, at: At, *, disabled: bool = False, under: Config | None = None
    ) -> bytes | None:
        """The page at a moment, as it was served; None when there was none, or it was disabled.

        At the end of the log, those are the bytes of `PageReader.get_json` once workers are up to date. Disabled pages
        are returned only on request. `under` is a configuration instead of the one that counted then. Raises as `view`,
        and `StoreUnavailable`.
        """
        return (await self.get_many_json([sku], channel, await self.view(at, under), disabled=disabled)).get(sku)

    async def get_many_json(
        self, skus: Sequence[str], channel: str, view: View, *, disabled: bool = False, max_bytes: int | None = None
    ) -> dict[str, bytes]:
        """The pages of some SKUs in a view, by SKU as requested; without those that were not shown.

        Raises `ReadTooLarge` if the events that decide them have more than `max_bytes` together.
        """
        if channel not in view.config.channels:
            return {}
        wanted = {sku: normalise_sku(sku) for sku in skus}
        names = sorted({name for name in wanted.values() if is_storable_sku(name)})
        log = PastLog(self._store.log, view.moment.position)
        folder = self._folder(view.config)
        pages = await folder.pages(log, names, channel, disabled=disabled, max_bytes=max_bytes)
        return {sku: pages[name] for sku, name in wanted.items() if name in pages}

    async def get(
        self, sku: str, channel: str, at: At, *, disabled: bool = False, under: Config | None = None
    ) -> ProductPage | None:
        """As `get_json`, decoded."""
        text = await self.get_json(sku, channel, at, disabled=disabled, under=under)
        return None if text is None else decode_page(text)

    async def first_position(self) -> int | None:
        """The position of the first event in the log; None if it is empty."""
        return next((event.position for event in await self._store.log.next_events(0, 1)), None)

    async def was_live(self, sku: str, channel: str, view: View) -> bool:
        """Whether a page that is disabled in a view had ever been live until then."""
        return await was_live(PastLog(self._store.log, view.moment.position), view.config, sku, channel)

    def _folder(self, config: Config) -> PageFolder:
        key = id(config)
        if (known := self._folders.get(key)) is None or known.config is not config:
            known = PageFolder(self._store, config, self._applied.config)
            if not known.is_lasting:
                return known
            if len(self._folders) >= MAX_FOLDERS:
                del self._folders[next(iter(self._folders))]
            self._folders[key] = known
        return known
