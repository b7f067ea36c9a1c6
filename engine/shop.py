"""The front door for programs: a shop whose changes are appended, folded and read."""

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import anyio

from domains import DOMAINS
from engine.appending import Appender
from engine.config import Config
from engine.consuming import Consumer
from engine.dead_letters import DeadLetterOffice
from engine.door import Door
from engine.errors import ConfigurationError
from engine.events import AppendResult, DomainEvent
from engine.history import HistoryEntry, history_of
from engine.reading import PageReader
from engine.status import Status, status_of
from engine.stores import open_store
from engine.stores.store import Store
from engine.tasks import together


class Shop:
    """One open store under one configuration. Made by `engine.open`.

    `pages` reads pages; `dead_letters` is what needs a person; `store` is what all of it stands on.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self.config = config
        self.store = store
        self.pages = PageReader(store.pages, config)
        self.dead_letters = DeadLetterOffice(store, config, self.append)
        self._appender = Appender(store, Door(config), config.append)

    async def append(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """Appends events and tells what became of each, in order. Every `appended` is durable when this returns.

        Concurrent callers share transactions. Sending the same events again is safe. Raises `StoreUnavailable`, after
        which any of them may or may not be in the log.
        """
        return await self._appender.append(events)

    async def catch_up(self, domains: Collection[str] | None = None) -> None:
        """Folds what is in the log by now, in all domains or in some; waits where another worker is at it."""
        await self._publish_layout()
        await together(*(consumer.catch_up for consumer in self._consumers(domains)))

    async def work(self, domains: Collection[str] | None = None) -> None:
        """Folds what comes, in all domains or in some, until it is cancelled.

        A cancellation waits for the current batch.
        """
        await self._publish_layout()
        await together(*(consumer.run for consumer in self._consumers(domains)))

    def history(
        self, sku: str, *, channel: str | None = None, domain: str | None = None
    ) -> AsyncIterator[HistoryEntry]:
        """What each source said about a SKU, by stream and version."""
        return history_of(self.store, sku, channel=channel, domain=domain)

    async def status(self) -> Status:
        """How far each domain is, and how far behind."""
        return await status_of(self.store, self.config)

    async def close(self) -> None:
        """Commits what was appended and gives the store back. `engine.open` does it."""
        await self._appender.close()
        await self.store.close()

    def _consumers(self, names: Collection[str] | None) -> list[Consumer]:
        known = {domain.name for domain in DOMAINS}
        for name in names or ():
            if name not in known:
                raise ConfigurationError("", f"{name!r} is no domain; there are {', '.join(sorted(known))}")
        return [
            Consumer(self.store, domain, self.config) for domain in DOMAINS if names is None or domain.name in names
        ]

    async def _publish_layout(self) -> None:
        identity = next(domain.name for domain in DOMAINS if domain.gives_identity)
        requires = {channel.name: channel.requires for channel in self.config.made_for}
        await self.store.pages.publish_layout([domain.name for domain in DOMAINS], identity, requires)


@asynccontextmanager
async def open(  # noqa: A001  # `engine.open` is the name that reads well where it is used
    config: Config | str | os.PathLike[str] | None = None, *, create: bool = True, disposable: bool = False
) -> AsyncIterator[Shop]:
    """A shop, for the length of an `async with`.

    `config` is a `Config`, or the path of a TOML file, or None for `PAGEFOLD_CONFIG` or `pagefold.toml`. Its store is
    made, or brought up to date, unless `create` is false. `disposable` allows a standby on the same machine to kill
    this process should it find it frozen inside a transaction (SQLite); leave it false where the process does
    anything else.

    Raises `ConfigurationError`, `StoreMissing`, `StoreTooNew`, `StoreUnavailable`.
    """
    settings = config if isinstance(config, Config) else Config.load(config)
    store = await open_store(settings, create=create, disposable=disposable)
    shop = Shop(store, settings)
    try:
        yield shop
    finally:
        with anyio.CancelScope(shield=True):
            await shop.close()
