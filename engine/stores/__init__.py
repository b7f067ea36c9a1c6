"""Where events and pages are kept.

One contract (`pagefold.engine.stores.store`), and a package for each database that keeps it.
"""

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.store import Store


async def open_store(config: Config, *, create: bool = True, killable: bool = False) -> Store:
    """The store at `config.store.url`, its schema up to date. Whoever opens it closes it.

    A `killable` process may be killed when it is found frozen while it holds what others need.

    Raises `StoreNotFound` when there is none and `create` is false, `StoreTooNew`, `StoreUnavailable`.
    """
    if config.store.url.startswith("sqlite:"):
        from pagefold.engine.stores.sqlite import SQLiteStore  # noqa: PLC0415  # a command waits for one driver, not for both

        return await SQLiteStore.open(config, create=create, killable=killable)
    from pagefold.engine.stores.postgres import PostgresStore  # noqa: PLC0415  # likewise

    return await PostgresStore.open(config, create=create, killable=killable)
