"""Withdraws what a source said of a record that is not there any more: its address answers 404 or 410.

It is withdrawn as a rebuild withdraws an orphan: what the source says later, if only the same again, counts.
"""

from collections.abc import Sequence

from pagefold.engine.events import NULL, Reference
from pagefold.engine.intake.canonical_payloads import content_of
from pagefold.engine.intake.contracts.source_contracts import fetch_contract
from pagefold.engine.intake.references import REFERENCING
from pagefold.engine.rebuild.row_comparer import RepairContext, withdrawal_of
from pagefold.engine.runtime.clock import now
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.projections.streams import encode_part, normalise_sku


class NotFoldedError(Exception):
    """The table of references does not have everything yet that is in the log."""

    def __init__(self) -> None:
        super().__init__("waits until what was said before is folded")


class TooManyMissingError(Exception):
    """A person must confirm the withdrawal of so many SKUs, or one after so many `what` else."""

    def __init__(self, number: int, allowed: int, what: str = "SKUs of it") -> None:
        limit = f"more than references.max_withdrawn = {allowed}"
        super().__init__(f"{number:,} {what} would be withdrawn, {limit}; retry the dead letter to do it")


class MissingRecords:
    """Withdraws what the contract of a fetch has made of records that are missing. Raises `ConfigurationError`."""

    def __init__(self, shop: Shop, source: str, rule: str) -> None:
        self._shop = shop
        self._source = source
        contract = fetch_contract(shop.config, source, rule)
        self._coverage = Coverage.of_contract(shop.config, source, contract)

    async def withdraw(self, gone: Reference | str, position: int, *, confirmed: bool, folds: bool) -> int:
        """Withdraws what was said of the SKUs of a reference, or of a SKU, up to a position of the log.

        Returns of how many streams. If nobody else `folds` the log, it is folded here. Raises `NotFoldedError`, and
        `TooManyMissingError` unless it is `confirmed`.
        """
        skus = [normalise_sku(gone)] if isinstance(gone, str) else await self._skus_of(gone, folds=folds)
        allowed = self._shop.config.references.max_withdrawn
        if len(skus) > allowed and not confirmed:
            raise TooManyMissingError(len(skus), allowed)
        heads = await self._heads(skus, position)
        context = RepairContext(f"fetch-{self._source}", now())
        corrections = [withdrawal_of(head, context.recorded_at, context) for head in heads]
        positions = await self._shop.store.log.correct(corrections) if corrections else []
        return len([each for each in positions if each is not None])

    async def _skus_of(self, reference: Reference, *, folds: bool) -> Sequence[str]:
        if not folds:
            await self._shop.catch_up([REFERENCING])
        if not await self._shop.references.is_folded():
            raise NotFoldedError
        known = await self._shop.references.look_up([reference], waited=True)
        return known[reference].skus

    async def _heads(self, skus: Sequence[str], position: int) -> list[StoredEvent]:
        """What the contract can have said of SKUs, if nothing was said since."""
        log = self._shop.store.log
        names = await log.streams_of([encode_part(sku) for sku in skus]) if skus else []
        streams = sorted(name for name in names if self._coverage.has(name.encode()))
        heads = await log.heads(streams) if streams else []
        return [head for head in heads if head.notification_id <= position and content_of(head) != NULL]
