"""What the store has of one page: the heads of the SKU's streams, the stored sections, checkpoints, dead letters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagefold.domains import DOMAINS
from pagefold.engine.stores.dead_letter_records import DeadLetterHeader
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Checkpoint, Store
from pagefold.projections.splicer import StoredSection

MAX_READS = 5
"""How often everything is read until no checkpoint moves meanwhile."""

MAX_DEAD_LETTERS = 100
OLDER_EVENTS = 5
"""Older versions of a stream that are read at a time."""

REQUESTS = ""
"""The domain of dead letters that could not be turned into events."""


class PageInputs(NamedTuple):
    """What was read of one page. `sku` is encoded as in the log, which ends at `position`.

    `heads` are those of all streams of the SKU; `stored` are the sections of the page, by domain. `steady` are the
    domains whose checkpoint did not move while they were read.
    """

    sku: str
    position: int
    heads: Sequence[StoredEvent]
    stored: Mapping[str, StoredSection]
    checkpoints: Mapping[str, Checkpoint]
    steady: frozenset[str]
    dead_letters: Sequence[DeadLetterHeader]

    def heads_of(self, domain: str) -> list[StoredEvent]:
        """The heads of a domain, by stream."""
        return [head for head in self.heads if head.topic == domain]


async def read_inputs(store: Store, sku: str, name: str, channel: str) -> PageInputs:
    """Reads what there is of a page. `sku` is encoded as in the log, `name` the same as people write it."""
    for _ in range(MAX_READS):
        before = await _positions(store)
        stored = {row[0]: row for row in await store.pages.sections(name, channel)}
        heads = await store.log.heads(await store.log.streams_of([sku]))
        checkpoints = {each.domain: each for each in await store.coordination.checkpoints()}
        position = await store.log.end()
        after = {name: each.position for name, each in checkpoints.items()}
        if before == after:
            break
    steady = frozenset(domain.name for domain in DOMAINS if before.get(domain.name) == after.get(domain.name))
    domains = [REQUESTS, *(domain.name for domain in DOMAINS)]
    dead_letters = await store.dead_letters.of_sku(sku, domains, MAX_DEAD_LETTERS)
    in_order = sorted(heads, key=lambda head: head.originator_id)
    return PageInputs(sku, position, in_order, stored, checkpoints, steady, dead_letters)


async def _positions(store: Store) -> dict[str, int]:
    return {each.domain: each.position for each in await store.coordination.checkpoints()}
