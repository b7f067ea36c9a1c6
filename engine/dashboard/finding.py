"""Where a word from the search field leads: to a product, a dead letter, a run, or the products that begin with it."""

import re

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.errors import UnknownDeadLetter
from pagefold.engine.events import Reference
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import Store
from pagefold.projections import normalise_sku
from pagefold.projections.streams import encode_part, is_storable_sku, parse_stream_id

MAX_KINDS = 50
"""Kinds of references in which an id is sought."""

LAST = "\U0010ffff"
"""Follows every id of a kind."""

_dead_letter = re.compile(r"(ingest|projection|waiting)-[0-9]{1,18}", re.ASCII)
_run = re.compile(r"[A-Za-z0-9._-]{1,64}-[0-9]{8}T[0-9]{6}-[0-9a-f]{4}", re.ASCII)


async def exact_address(shop: Shop, text: str, channel: str) -> str | None:
    """The address of what has exactly this name; None if nothing has.

    A SKU is also found in other letters, and by a reference. Its page is shown in `channel` if it has one there, else
    in the first channel that has one.
    """
    if _dead_letter.fullmatch(text) is not None and await _has_letter(shop, text):
        return href("dead-letters", letter=text)
    if _run.fullmatch(text) is not None:
        return href("runs", text)
    if text in shop.targets.configs:
        return href("targets", text)
    for sku in dict.fromkeys(map(normalise_sku, (text, text.upper(), text.lower()))):
        if is_storable_sku(sku) and await shop.store.log.streams_of([encode_part(sku)]):
            return await product_address(shop, sku, channel)
    skus = await skus_of_reference(shop.store, text)
    return await product_address(shop, skus[0], channel) if len(skus) == 1 else None


async def product_address(shop: Shop, sku: str, channel: str) -> str:
    """The address of a product in a channel, or in the first one that has a page of it."""
    for each in dict.fromkeys([channel, *shop.applied.config.channels]):
        if await shop.pages.get_json(sku, each, disabled=True) is not None:
            return href("pages", each, sku)
    return href("pages", channel, sku)


async def skus_of_reference(store: Store, text: str) -> list[str]:
    """The SKUs that have an id, of any kind, sorted."""
    kinds: list[str] = []
    after = Reference("", "")
    while len(kinds) < MAX_KINDS and (found := await store.references.list_ids(after=after, limit=1)):
        kinds.append(found[0].kind)
        after = Reference(found[0].kind, LAST)
    rows = await store.references.stated([Reference(kind, text) for kind in kinds])
    return sorted({row.sku or parse_stream_id(row.stream).sku for row in rows})


async def _has_letter(shop: Shop, text: str) -> bool:
    try:
        await shop.dead_letters.get(text)
    except UnknownDeadLetter:
        return False
    return True
