"""Folds the pages again that releases say something of: after they were published or rolled back."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from pagefold.engine.folding.folder import Folder
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction, Log
from pagefold.projections import skus_of
from pagefold.projections.releases import release_source
from pagefold.projections.streams import decode_part, encode_part

STEP_STREAMS = 20_000
"""Streams whose names are looked at in a step."""

STEP_BYTES = 16 * 1024 * 1024
"""Bytes of a release's statements that are read in a step."""

TRANSACTION_SKUS = 500
"""SKUs that are folded in a transaction, so that consumers do not wait for long."""


class ReleaseReplayResult(NamedTuple):
    """How many SKUs releases say something of, and for how many SKUs, variants too, the sections changed."""

    skus: int
    changed: int


class ReleaseReplayer:
    """Folds one domain again. `begin` starts its transactions."""

    def __init__(
        self, log: Log, domain: str, folder: Folder, begin: Callable[[], AbstractAsyncContextManager[FoldTransaction]]
    ) -> None:
        self._log = log
        self._domain = domain
        self._folder = folder
        self._begin = begin

    async def run(self, releases: Collection[str]) -> ReleaseReplayResult:
        """Folds every SKU of which these releases say something, and what inherits from it."""
        skus = changed = 0
        async for found in self._skus(releases):
            skus += len(found)
            for some in split_equal(found, -(-len(found) // TRANSACTION_SKUS)):
                async with self._begin() as transaction:
                    changed += await self._fold(transaction, some)
        return ReleaseReplayResult(skus, changed)

    async def _fold(self, transaction: FoldTransaction, skus: Sequence[str]) -> int:
        """Folds SKUs, and removes the sections of those of which only releases say something that do not count."""
        streams = [each for each in await self._log.streams_of(skus) if each.split("/")[2:3] == [self._domain]]
        counting = skus_of([each for each in streams if each[each.index("/") :] in self._folder.suffixes])
        if gone := set(skus).difference(counting):
            await transaction.remove(list(map(decode_part, gone)))
        return (await self._folder.fold(transaction, streams, again=True)).changed + len(gone)

    async def _skus(self, releases: Collection[str]) -> AsyncIterator[Sequence[str]]:
        """The SKUs of which releases say something, step by step. One may be in two steps."""
        ends = [f"/{self._domain}/{encode_part(release_source(name))}" for name in releases]
        after: str | None = ""
        while ends and after is not None:
            heads, after = await self._log.scan(ends, after=after, below="", limit=STEP_STREAMS, max_bytes=STEP_BYTES)
            if found := skus_of([head.originator_id for head in heads]):
                yield found
