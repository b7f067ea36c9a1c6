"""Rows of stores as lists have them."""

from collections.abc import Iterable, Sequence
from typing import Any

from engine.stores.store import ListedPage, SectionFlags


def listed(rows: Iterable[Sequence[Any]]) -> list[ListedPage]:
    """Pages from rows of (sku, domain, enabled, ready, occurred_at), sorted. `Any`: each driver has its own rows."""
    pages: list[ListedPage] = []
    for sku, domain, enabled, ready, occurred_at in rows:
        if not pages or pages[-1].sku != sku:
            pages.append(ListedPage(sku, []))
        if domain is not None:
            pages[-1].sections.append(SectionFlags(domain, bool(enabled), bool(ready), occurred_at))
    return pages
