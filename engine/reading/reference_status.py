"""What is known of references: how many ids of each kind, and how many of them are of several SKUs."""

import time

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.store import Store

FRESH_SECONDS = 60.0
"""How long counts are shown again: counting reads every reference."""


class ReferenceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One kind of reference: how many ids are known. `ambiguous` of them are of several SKUs; none is of a group."""

    kind: str
    ids: int
    ambiguous: int


async def reference_kinds(store: Store, config: Config) -> list[ReferenceStatus]:
    """The kinds of references that are known. Reads all of them."""
    groups = config.references.groups
    kinds = await store.references.count_kinds()
    return [ReferenceStatus(each.kind, each.ids, 0 if each.kind in groups else each.shared) for each in kinds]


class ReferenceCache:
    """The kinds of references of a store, up to a minute old."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._known: list[ReferenceStatus] = []
        self._until = 0.0

    async def kinds(self) -> list[ReferenceStatus]:
        """As `reference_kinds`. Raises `StoreUnavailable`."""
        if time.monotonic() >= self._until:
            self._known = await reference_kinds(self._store, self._config)
            self._until = time.monotonic() + FRESH_SECONDS
        return self._known
