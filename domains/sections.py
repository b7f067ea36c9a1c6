"""The sections of a page as types, for programs that read pages: what `fold` of each domain encodes, as decoded JSON.

Timestamps are RFC 3339 text in UTC, amounts decimal strings. A key that is not required is absent where its value is
not known.
"""

from typing import Literal, NotRequired, TypedDict


class ProductCompleteness(TypedDict):
    """What a product has of what its channel requires: attributes that are missing, break a rule, or only warn."""

    percent: int
    missing: list[str]
    invalid: NotRequired[list[str]]
    warns: NotRequired[list[str]]


class CatalogSection(TypedDict):
    """What the product is. Texts are resolved into `attributes`, in the channel's language."""

    attributes: dict[str, object]
    categories: list[str]
    family: str | None
    parent: str | None
    contract: NotRequired[str]
    unmapped: NotRequired[list[str]]
    completeness: NotRequired[ProductCompleteness]


class PriceTier(TypedDict):
    """The price of one piece when at least `minQuantity` are bought."""

    minQuantity: int
    amount: str


_Duration = TypedDict("_Duration", {"from": NotRequired[str], "until": NotRequired[str]})


class ScheduledPrice(_Duration):
    """A price for a time: `from` inclusive, `until` exclusive; open where absent."""

    amount: str


class PricingSection(TypedDict):
    """What the product costs. All amounts are in `currency`."""

    currency: str
    amount: str
    compareAt: NotRequired[str]
    taxIncluded: NotRequired[bool]
    taxClass: NotRequired[str]
    tiers: NotRequired[list[PriceTier]]
    customerGroups: NotRequired[dict[str, str]]
    scheduled: NotRequired[list[ScheduledPrice]]


class InventoryLocation(TypedDict):
    """What one place can spare; None where it does not count its stock."""

    source: str
    available: int | None
    restockAt: NotRequired[str]


class InventorySection(TypedDict):
    """What can be sold; `available` is None where a place does not count its stock."""

    available: int | None
    status: Literal["in_stock", "backorder", "out_of_stock"]
    locations: list[InventoryLocation]
    restockAt: NotRequired[str]


class MediaAsset(TypedDict):
    """One picture, film or document; `alt` is in the channel's language. Sizes are in pixels."""

    position: int
    url: str
    alt: NotRequired[str]
    height: NotRequired[int]
    mimeType: NotRequired[str]
    role: NotRequired[str]
    width: NotRequired[int]


class MediaSection(TypedDict):
    """What the product looks like: assets in the order in which to show them."""

    assets: list[MediaAsset]


class PageSections(TypedDict):
    """The section of each domain; None where there is nothing to show."""

    catalog: CatalogSection | None
    pricing: PricingSection | None
    inventory: InventorySection | None
    media: MediaSection | None


class PageDocument(PageSections):
    """A page as `get_json` and the HTTP server give it, decoded."""

    sku: str
    channel: str
    status: Literal["live", "disabled"]
    ready: bool
    readiness: dict[str, bool]
    sourceVersions: dict[str, int]
    updatedAt: str
