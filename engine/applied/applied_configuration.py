"""The configuration that counts in this process: the file's, with what pages depend on from the newest in the log."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import anyio
import msgspec

from pagefold.engine.applied.applied_log import Applied, AppliedLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.clock import today
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.store import Store

FOLLOW_SECONDS = 1.0
"""How often a running process looks whether another configuration was applied."""

LOOKS_AT_NUMBER = 60
"""How often it looks only at the number before it reads all: another log may be in place, with others of that number.
"""

OnChange: TypeAlias = Callable[[Config], None]

log = Logger(__name__)


class AppliedStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The configuration that counts, and whether the file is `held`: says something else that pages depend on.

    `number` counts what was applied, from 0, and is None before the first.
    """

    number: int | None
    position: int
    digest: str
    by: str
    reason: str
    applied_at: str
    held: bool


class AppliedConfiguration:
    """What pages of a store are folded and read under. Until something is applied, that is the `file`.

    `newest` is what was applied, as far as this process knows; `config` is what counts.
    """

    def __init__(self, store: Store, file: Config) -> None:
        self.file = file
        self.config = file
        self.newest: Applied | None = None
        self.log = AppliedLog(store)
        self._on_change: list[OnChange] = []
        self._changed = anyio.Event()

    @property
    def number(self) -> int:
        """The number of the newest one, -1 before the first."""
        return -1 if self.newest is None else self.newest.number

    @property
    def is_held(self) -> bool:
        """Whether the file says something else than what counts."""
        newest = self.newest
        return newest is not None and newest.record.settings.written.digest != self.file.page_settings.digest

    def wanted(self, config: Config | None = None) -> PageSettings:
        """What a configuration says, by default the file, with the releases that are published and today's sets."""
        settings = (config or self.file).page_settings.on(today())
        releases = [] if self.newest is None else self.newest.record.settings.releases
        return msgspec.structs.replace(settings, releases=releases)

    def on_change(self, do: OnChange) -> None:
        """From now on, calls a function with each configuration that begins to count."""
        self._on_change.append(do)

    async def refresh(self) -> None:
        """Reads which configuration counts now."""
        newest = await self.log.newest()
        known = None if self.newest is None else self.newest.record
        if (None if newest is None else newest.record) == known:
            return
        self.newest = newest
        self.config = self.file if newest is None else self.file.under(newest.record.settings)
        if newest is not None:
            log.info("a configuration counts", number=newest.number, by=newest.record.by, reason=newest.record.reason)
        for do in self._on_change:
            do(self.config)
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self, known: Config) -> None:
        """Waits until another configuration counts than a known one."""
        while self.config is known:
            await self._changed.wait()

    async def follow(self) -> None:
        """Looks for another configuration at intervals, until it is cancelled."""
        while True:
            for _ in range(LOOKS_AT_NUMBER):
                await anyio.sleep(FOLLOW_SECONDS)
                with suppress(StoreError):  # others of this process report it
                    if await self.log.newest_number() != self.number:
                        await self.refresh()
            with suppress(StoreError):  # as above
                await self.refresh()

    def status(self) -> AppliedStatus:
        """What counts, for people."""
        digest = self.config.page_settings.digest
        if self.newest is None:
            return AppliedStatus(None, 0, digest, "", "", "", held=False)
        number, position, record = self.newest
        return AppliedStatus(number, position, digest, record.by, record.reason, record.recorded_at, held=self.is_held)
