"""Where events and pages are kept.

One contract (`engine.stores.store`), and a package for each database that keeps it.
"""

from engine.config import Config
from engine.stores.postgres import PostgresStore
from engine.stores.sqlite import SQLiteStore
from engine.stores.store import Store


async def open_store(config: Config, *, create: bool = True, disposable: bool = False) -> Store:
    """The store at `config.store.url`, its schema up to date. Whoever opens it closes it.

    A `disposable` process may be killed when it is found frozen while it holds what others need.

    Raises `StoreMissing` when there is none and `create` is false, `StoreTooNew`, `StoreUnavailable`.
    """
    kind = SQLiteStore if config.store.url.startswith("sqlite:") else PostgresStore
    return await kind.open(config, create=create, disposable=disposable)
