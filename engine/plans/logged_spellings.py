"""The spellings of SKUs from the log, for a plan that begins to ignore case: no consumer keeps them yet."""

from collections.abc import Collection

from pagefold.engine.events import Reference
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.engine.stores.store import Log
from pagefold.projections.inheritance import fold_case
from pagefold.projections.streams import decode_part

CHUNK_SKUS = 10_000


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
