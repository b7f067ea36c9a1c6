"""Corrupts the store: changes, removes and invents sections, without events in the log."""

from collections.abc import Sequence

from pagefold.domains import DOMAINS
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import FoldTransaction

MADE_UP_SKU = "NOT-IN-THE-LOG"
"""The SKU of an invented page."""

SECTIONS_PER_DOMAIN = 2
"""In each domain, a section of one SKU is changed, and a section of another removed."""


async def corrupt_sections(shop: Shop, skus: Sequence[str]) -> int:
    """Corrupts some sections of these SKUs in every domain, and invents one. Returns the number of wrong sections."""
    damaged = 0
    for number, domain in enumerate(DOMAINS):
        async with shop.store.coordination.fold_transaction(domain.name) as folding:
            chosen = skus[number * SECTIONS_PER_DOMAIN : number * SECTIONS_PER_DOMAIN + SECTIONS_PER_DOMAIN]
            damaged += await _corrupt(folding, chosen, ghost=domain.gives_identity)
    return damaged


async def _corrupt(folding: FoldTransaction, skus: Sequence[str], *, ghost: bool) -> int:
    one_each = {section.sku: section for section in await folding.sections(skus)}
    wrong, others = list(one_each.values())[:1], list(one_each.values())[1:]
    corrupted = [
        section._replace(ready=not section.ready, enabled=True, body=b'{"corrupted":true}') for section in wrong
    ]
    if ghost:
        corrupted += [section._replace(sku=MADE_UP_SKU) for section in corrupted]
    if corrupted:
        await folding.write(corrupted)
    if others:
        await folding.remove([(section.sku, section.channel) for section in others])
    return len(corrupted) + len(others)
