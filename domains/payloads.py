"""The payload of each domain as a type, for programs that send events: the same fields as the structs that check it.

Amounts are decimal strings; a timestamp is RFC 3339 text with its offset, or a `datetime` that has one. What may be
left out is not required.
"""

from datetime import datetime
from typing import NotRequired, TypedDict


class CatalogPayload(TypedDict, total=False):
    """What the product is: attributes by code, some of them texts by locale, and its place among others."""

    attributes: dict[str, object]
    localized: dict[str, dict[str, str | list[str] | None]]
    categories: list[str]
    family: str | None
    parent: str | None
    enabled: bool
    references: dict[str, str | int | list[str | int]]


class TierPayload(TypedDict):
    """The price of one piece when at least `minQuantity` are bought."""

    minQuantity: int
    amount: str


_Duration = TypedDict(
    "_Duration", {"from": NotRequired[str | datetime | None], "until": NotRequired[str | datetime | None]}
)


class ScheduledPayload(_Duration):
    """A price for a time: `from` inclusive, `until` exclusive; open where absent."""

    amount: str


class PricingPayload(TypedDict):
    """What the product costs. All amounts are in `currency`."""

    currency: str
    amount: str
    compareAt: NotRequired[str | None]
    taxIncluded: NotRequired[bool | None]
    taxClass: NotRequired[str | None]
    tiers: NotRequired[list[TierPayload]]
    customerGroups: NotRequired[dict[str, str]]
    scheduled: NotRequired[list[ScheduledPayload]]


class InventoryPayload(TypedDict):
    """What one place has; `available` is None if it is not counted: it can always be sold."""

    available: int | None
    safetyStock: NotRequired[int]
    backorderable: NotRequired[bool]
    restockAt: NotRequired[str | datetime | None]


class AssetPayload(TypedDict):
    """One picture, film or document; `alt` is a text by locale. Sizes are in pixels."""

    url: str
    role: NotRequired[str | None]
    position: NotRequired[int]
    alt: NotRequired[dict[str, str | None]]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    mimeType: NotRequired[str | None]


class MediaPayload(TypedDict, total=False):
    """What the product looks like: all assets that the source has of it."""

    assets: list[AssetPayload]
