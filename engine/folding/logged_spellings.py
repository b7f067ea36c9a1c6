"""The spellings of SKUs from the log, for a fold that ignores case where no consumer does, and keeps them."""

from collections.abc import Collection

from pagefold.engine.configuration.config import Config
from pagefold.engine.events import Reference
from pagefold.engine.folding.parent_reader import Spellings
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.engine.stores.store import Log, Store
from pagefold.projections.inheritance import fold_case
from pagefold.projections.streams import decode_part

CHUNK_SKUS = 10_000


def spelled_sources(counting: Config, config: Config) -> list[str]:
    """The sources that ignore case of which the store keeps the spellings of all SKUs that have any under `config`.

    `counting` is the configuration that counts. Of SKUs that only a release has that is not published, it keeps none.
    """
    if not set(config.releases) <= set(counting.releases):
        return []
    return [name for name, each in counting.sources.items() if each.inherit is not None and each.inherit.ignore_case]


def spellings_for(store: Store, ignoring_case: Collection[str], spelled: Collection[str]) -> Spellings:
    """What a fold needs whose sources ignore case: what the store keeps if it does for all of them, else from the log.

    `spelled` are those for which the store keeps them, also for SKUs that came after a moment in the past.
    """
    return store.references if set(ignoring_case) <= set(spelled) else LoggedSpellings(store.log)


class LoggedSpellings:
    """The SKUs of a log by their code in any case. All names are in memory: some 200 MB for a million SKUs."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._skus: dict[str, list[str]] | None = None

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        """As `KnownReferences.stated`, for spellings. Streams are left out."""
        skus = await self._all()
        return [StoredReference("", *each, sku) for each in references for sku in skus.get(each.id, ())]

    async def _all(self) -> dict[str, list[str]]:
        if self._skus is None:
            found: dict[str, list[str]] = {}
            after = ""
            while chunk := await self._log.skus(after, CHUNK_SKUS):
                after = chunk[-1]
                for sku in map(decode_part, chunk):
                    found.setdefault(fold_case(sku), []).append(sku)
            self._skus = found
        return self._skus
