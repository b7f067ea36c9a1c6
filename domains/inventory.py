"""Inventory: what can be sold from the places that a channel sells from."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains.domain import ChannelContext, Contribution, Domain, SectionBody, encode
from pagefold.domains.values import NonNegative, SafeInteger, Timestamp, to_utc


class Inventory(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """What one place may state of its stock. `available` below zero is an oversold item.

    `available` of null: nobody counts it, and it can always be sold. It must be said: what is missing is not null.
    """

    available: SafeInteger | None
    safety_stock: NonNegative = 0
    backorderable: bool = False
    restock_at: Timestamp | None = None


Status: TypeAlias = Literal["in_stock", "backorder", "out_of_stock"]


class Location(msgspec.Struct, gc=False):
    """What one place can spare, None where it does not count."""

    available: int | None
    source: str


class Restocked(Location, gc=False, rename="camel"):
    """A place that says when it gets more."""

    restock_at: datetime


class Stock(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """What a page shows.

    `restock_at` is the first of its places' moments. A page knows no clock: where that is over, theirs tell the next.
    """

    available: int | None
    locations: list[Location]
    status: Status
    restock_at: datetime | None = None


def admit(payload: Inventory) -> Inventory:
    """The moment of restocking is kept in UTC."""
    if payload.restock_at is None:
        return payload
    return msgspec.structs.replace(payload, restock_at=to_utc("restockAt", payload.restock_at))


def fold(contributions: Sequence[Contribution[Inventory]], _view: ChannelContext) -> SectionBody | None:
    """The sum over the places of what each can spare beyond its safety stock.

    Where one of them does not count its stock there is no sum: `available` is null, and the item in stock. The places
    that do count still say theirs.
    """
    locations: list[Location] = []
    restock_at: datetime | None = None
    total: int | None = 0
    backorderable = False
    for contribution in contributions:
        payload = contribution.payload
        available = payload.available
        if available is None:
            total = None
        else:
            available -= payload.safety_stock
            if available < 0:  # noqa: PLR1730  # max() takes three times as long
                available = 0
            if total is not None:
                total += available
        backorderable = backorderable or payload.backorderable
        if payload.restock_at is None:
            locations.append(Location(available, contribution.source))
            continue
        locations.append(Restocked(available, contribution.source, payload.restock_at))
        if restock_at is None or payload.restock_at < restock_at:
            restock_at = payload.restock_at
    in_stock = total is None or total > 0
    status: Status = "in_stock" if in_stock else "backorder" if backorderable else "out_of_stock"
    return SectionBody(encode(Stock(total, locations, status, restock_at)))


INVENTORY = Domain(name="inventory", payload=Inventory, admit=admit, fold=fold, fold_version=2)
