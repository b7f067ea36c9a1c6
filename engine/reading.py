"""Reading pages: one local read, spliced from stored bytes."""

from datetime import datetime
from typing import Literal

import msgspec
import orjson

from domains import DOMAINS
from domains.domain import JSON
from engine.config import Config
from engine.stores.store import Pages
from projections import Splicer, normalise_sku
from projections.streams import fault_of_sku


class ProductPage(msgspec.Struct, frozen=True):
    """One ready-made page. `sections` has every domain, None where there is nothing to show.

    `source_versions` maps `domain/source` to the version that is shown; `updated_at` is when the newest change of the
    page occurred, in UTC.
    """

    sku: str
    channel: str
    status: Literal["live", "disabled"]
    ready: bool
    readiness: dict[str, bool]
    source_versions: dict[str, int]
    updated_at: datetime
    sections: dict[str, JSON]

    def __getitem__(self, domain: str) -> JSON:
        """A section by its domain. Raises `KeyError` for what is no domain."""
        return self.sections[domain]


class PageReader:
    """Reads the pages of one store under one configuration."""

    def __init__(self, pages: Pages, config: Config) -> None:
        self._sections = pages.sections
        self._channels = frozenset(config.channels)
        self._splice = Splicer(DOMAINS, config.made_for).splice

    async def get_json(self, sku: str, channel: str, *, disabled: bool = False) -> bytes | None:
        """The page as it is served, or None when there is none, or none to show.

        A disabled page is given only when asked for. Raises `StoreUnavailable`.
        """
        if channel not in self._channels:
            return None
        if not (sku.isascii() and sku.isprintable()):
            sku = normalise_sku(sku)
            if fault_of_sku(sku) is not None:
                return None
        rows = await self._sections(sku, channel)
        if not rows:
            return None
        return self._splice(sku, channel, rows, disabled=disabled)

    async def get(self, sku: str, channel: str, *, disabled: bool = False) -> ProductPage | None:
        """The page, decoded, or None when there is none, or none to show."""
        text = await self.get_json(sku, channel, disabled=disabled)
        return None if text is None else decode_page(text)


def decode_page(text: bytes) -> ProductPage:
    """A page from its JSON."""
    page = orjson.loads(text)
    return ProductPage(
        sku=page["sku"],
        channel=page["channel"],
        status=page["status"],
        ready=page["ready"],
        readiness=page["readiness"],
        source_versions=page["sourceVersions"],
        updated_at=datetime.fromisoformat(page["updatedAt"]),
        sections={domain.name: page[domain.name] for domain in DOMAINS},
    )
