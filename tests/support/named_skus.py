"""A shop whose channels ask for the SKUs that products name, and products that name some."""

from collections.abc import Sequence

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.stores.reference_records import StoredReference
from tests.support.small_shop import (
    SOURCES,
    Document,
    document,
    event,
    section,
    withdrawn,
)

RELATED: Document = {
    "name": "links",
    "requires": [{"attributes": ["name"]}],
    "checks": [
        {"attributes": ["related", "sets.parts"], "in_catalog": True, "severity": "warns"},
        {"fields": ["parent"], "in_catalog": True},
    ],
}


def asking(
    url: str, *, inherit: Document | None = None, channels: Sequence[str] = ("web-de", "web-us"), **more: object
) -> Config:
    """The small shop, with channels that ask for the SKUs that products name."""
    tables = document(url, work={"poll_seconds": 0.05, "lease_seconds": 1.0})
    for name in channels:
        tables["channels"][name] |= {"requirements": [RELATED], **more}
    if inherit is not None:
        tables["sources"] = {name: {"domains": domains} for name, domains in SOURCES.items()}
        tables["sources"]["pim"]["inherit"] = inherit
    return Config.parse(tables, store=url)


def product(
    sku: str,
    *,
    version: int = 1,
    channel: str = "*",
    source: str = "pim",
    attributes: Document | None = None,
    **payload: object,
) -> DomainEvent:
    """A product with a name, and what else a source says of it."""
    said = {"attributes": {"name": sku.lower(), **(attributes or {})}, **payload}
    return event("catalog", said, version=version, sku=sku, channel=channel, source=source)


def gone(sku: str, *, version: int, channel: str = "*", source: str = "pim") -> DomainEvent:
    """A source withdraws a product."""
    return withdrawn("catalog", sku=sku, version=version, channel=channel, source=source)


async def lacking(shop: Shop, sku: str, channel: str = "web-de") -> list[str]:
    """What of a page is invalid."""
    found: list[str] = (await section(shop, "catalog", channel, sku))["completeness"].get("invalid", [])
    return found


async def links(shop: Shop, prefix: str = "") -> list[StoredReference]:
    """What is kept to find pages that name a SKU."""
    rows = await shop.store.references.next_rows(limit=10_000)
    return [row for row in rows if row.kind.startswith("@names/") and row.sku.startswith(prefix)]
