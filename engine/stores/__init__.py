"""Where events and pages are stored: one contract (`pagefold.engine.stores.store`), one package for each database."""

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.store import Store


async def open_store(config: Config, *, create: bool = True, killable: bool = False) -> Store:
    """Opens the store at `config.store.url`, with its schema up to date. The caller closes it.

    A `killable` process may be killed if it freezes while it holds a lock that others need. Raises `StoreNotFound` if
    there is no store and `create` is false, `StoreTooNew`, `StoreUnavailable`.
    """
    if config.store.url.startswith("sqlite:"):
        from pagefold.engine.stores.sqlite import SQLiteStore  # noqa: PLC0415  # importing a driver takes time

        return await SQLiteStore.open(config, create=create, killable=killable)
    from pagefold.engine.stores.postgres import PostgresStore  # noqa: PLC0415  # as above

    return await PostgresStore.open(config, create=create, killable=killable)
