"""Corrupts the store: changes, removes and invents sections, without events in the log."""

from collections.abc import Sequence

from pagefold.domains import DOMAINS
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import FoldTransaction
from pagefold.projections import sections_of, shared_sections

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
    sections = sections_of(await folding.sections(skus))
    if not sections:
        return 0
    [wrong, *others] = {section.sku: section for section in sections}.values()
    corrupted = [wrong._replace(ready=not wrong.ready, enabled=True, body=b'{"corrupted":true}')]
    if ghost:
        corrupted.append(corrupted[0]._replace(sku=MADE_UP_SKU))
    left = corrupted + [section for section in sections if section not in (wrong, *others)]
    await folding.write(shared_sections(left))
    await folding.remove({section.sku for section in others}.difference(section.sku for section in left))
    return len(corrupted) + len(others)
