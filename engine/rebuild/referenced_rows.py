"""Finds the SKUs of a snapshot's rows that name them by a reference.

A row that has to wait is kept as a dead letter, and counts as one that was refused: it cannot be known what it is of,
so that the run withdraws nothing.
"""

from collections.abc import Sequence

from pagefold.engine.configuration.reference_config import ReferencesConfig
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.dead_letters.webhook_retrier import RULE
from pagefold.engine.events import DomainEvent, ReferencedEvent
from pagefold.engine.intake.contracts.delivery_facts import TAKEN
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.references import ReferenceResolver
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import Snapshot
from pagefold.engine.stores.store import Store


class ReferencedRows:
    """Resolves the rows of one snapshot of a source. Without `keep`, what waits is not kept.

    What is kept has the rule by which it is read again; "" is the contract of the snapshot.
    """

    def __init__(
        self, store: Store, config: ReferencesConfig, source: str, snapshot: Snapshot, *, keep: bool, rule: str = ""
    ) -> None:
        self._dead_letters = store.dead_letters
        self._resolver = ReferenceResolver(store, config)
        self._source = source
        self._snapshot = snapshot
        self._keep = keep
        self._rule = rule

    async def resolve(self, rows: list[Row]) -> list[Row]:
        """The rows with SKUs in place of references, or with why they have none."""
        referenced = [row for row in rows if isinstance(row.event, ReferencedEvent)]
        if not referenced:
            return rows
        events = [row.event for row in referenced if isinstance(row.event, ReferencedEvent)]
        found = await self._resolver.resolve(events)
        pairs = list(zip(referenced, found, strict=True))
        if self._keep:
            await self._keep_waiting(pairs)
        resolved = iter([_resolved(row, each) for row, each in pairs])
        return [next(resolved) if isinstance(row.event, ReferencedEvent) else row for row in rows]

    async def _keep_waiting(self, pairs: Sequence[tuple[Row, DomainEvent | RejectedPart]]) -> None:
        records = self._snapshot.records
        taken = {RULE: self._rule} if self._rule else {}
        taken |= {} if records is None else {TAKEN: records.taken_text}
        waiting = [
            dead_letter_of_request(
                self._source, row.line, str(each.rejection), via="snapshot", headers=taken, awaited=each.awaited
            )
            for row, each in pairs
            if isinstance(each, RejectedPart) and each.awaited is not None
        ]
        if waiting:
            await self._dead_letters.add(waiting)


def _resolved(row: Row, found: DomainEvent | RejectedPart) -> Row:
    return Row(row.number, found.rejection if isinstance(found, RejectedPart) else found)
