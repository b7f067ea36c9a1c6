"""Somebody with a key to the store: sections are changed, removed and made up, and the log knows nothing of it."""

from collections.abc import Sequence

from pagefold.domains import DOMAINS
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import FoldTransaction

GHOST = "NOBODY-EVER-SAID-THIS"
"""The SKU of a page that somebody made up."""

HURT = 2
"""In each domain, one section of one SKU is changed, and one of another removed."""


async def damage(shop: Shop, skus: Sequence[str]) -> int:
    """Spoils some sections of those SKUs in every domain, and makes one up. Gives how many are wrong now."""
    damaged = 0
    for number, domain in enumerate(DOMAINS):
        async with shop.store.coordination.fold_transaction(domain.name) as folding:
            chosen = skus[number * HURT : number * HURT + HURT]
            damaged += await _spoil(folding, chosen, ghost=domain.gives_identity)
    return damaged


async def _spoil(folding: FoldTransaction, skus: Sequence[str], *, ghost: bool) -> int:
    one_each = {section.sku: section for section in await folding.sections(skus)}
    wrong, others = list(one_each.values())[:1], list(one_each.values())[1:]
    corrupted = [
        section._replace(ready=not section.ready, enabled=True, body=b'{"corrupted":true}') for section in wrong
    ]
    if ghost:
        corrupted += [section._replace(sku=GHOST) for section in corrupted]
    if corrupted:
        await folding.write(corrupted)
    if others:
        await folding.remove([(section.sku, section.channel) for section in others])
    return len(corrupted) + len(others)
