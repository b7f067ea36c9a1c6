"""Inventory: the stock that a channel can sell, by location."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains.domain import (
    ChannelContext,
    Contribution,
    Domain,
    Said,
    SectionBody,
    encode,
    fields_of,
    says_fields,
    shows_fields,
)
from pagefold.domains.fold_trace import FoldTrace, Given, Path
from pagefold.domains.values import NonNegative, SafeInteger, Timestamp, to_utc


class Inventory(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """The stock of one location. A negative `available` is an oversold item.

    `available: null` means that stock is not counted and can always be sold. The field is required: a missing one is
    not null.
    """

    available: SafeInteger | None
    """The stock; negative if oversold, null if it is not counted and can always be sold."""

    safety_stock: NonNegative = 0
    """What is held back of it."""

    backorderable: bool = False
    """Whether it can be ordered without stock."""

    restock_at: Timestamp | None = None
    """When more arrives."""


Status: TypeAlias = Literal["in_stock", "backorder", "out_of_stock"]


class Location(msgspec.Struct, gc=False):
    """The stock that one location can sell; None if it is not counted."""

    available: int | None
    """What the location can sell; null if it is not counted."""

    source: str
    """The location's source."""


class Restocked(Location, gc=False, rename="camel"):
    """A location with a restocking date."""

    restock_at: datetime
    """When more arrives there."""


class Stock(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """The inventory section of a page.

    `restock_at` is the earliest of its locations' dates. It may be past, since a page does not depend on the clock; the
    locations then have the later ones.
    """

    available: int | None
    """The sum of the locations; null if any of them does not count."""

    locations: list[Location]
    """Each source's part, in the order of their rank; with `restockAt` where it has one."""

    status: Status
    """`in_stock` if anything is available, else `backorder` if any location takes orders."""

    restock_at: datetime | None = None
    """The earliest `restockAt` of the locations, which may be past."""


def validate(payload: Inventory) -> Inventory:
    """Converts the restocking date to UTC."""
    if payload.restock_at is None:
        return payload
    return msgspec.structs.replace(payload, restock_at=to_utc("restockAt", payload.restock_at))


def fold(
    contributions: Sequence[Contribution[Inventory]], _context: ChannelContext, trace: FoldTrace | None = None
) -> SectionBody | None:
    """Sums what each location has above its safety stock.

    If any location does not count its stock, the total `available` is null and the item is in stock. Locations that
    count keep their numbers. Ready if there is any location.
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
    if trace is not None:
        _explain(contributions, trace)
    return SectionBody(encode(Stock(total, locations, status, restock_at)))


def _explain(contributions: Sequence[Contribution[Inventory]], trace: FoldTrace) -> None:
    """Every location has a part in the total, and may be the one that decides the status or the date."""
    stock = [given for each in contributions for given in _given(each, "available", "safetyStock")]
    orders = [given for each in contributions for given in _given(each, "backorderable")]
    dates = [given for each in contributions for given in _given(each, "restockAt")]
    trace.take(("available",), *stock, how="computed", rule="the sum of what the locations can sell")
    trace.take(("status",), *stock, *orders, how="computed", rule="by what is available and can be ordered")
    if dates:
        trace.take(("restockAt",), *dates, how="computed", rule="the earliest date of the locations")
    for index, each in enumerate(contributions):
        place = ("locations", index)
        sells = _given(each, "available", "safetyStock")
        trace.take((*place, "available"), *sells, how="computed", rule="available above the safety stock")
        trace.take((*place, "source"), Given(each.source, (), each.source), how="computed", rule="its source")
        for date in _given(each, "restockAt"):
            trace.take((*place, "restockAt"), date)


def _given(contribution: Contribution[Inventory], *names: str) -> list[Given]:
    fields = fields_of(contribution.payload)
    return [Given(contribution.source, (name,), fields[name]) for name in names if name in fields]


def says(payload: Inventory, context: ChannelContext, source: str) -> Mapping[Path, Said]:
    """Its stock is that of its own location, or the total that a system without stock of its own sends back."""
    said = says_fields(payload, context, source)
    shown = ("available",), ("locations", source)
    ways = tuple(((path, payload.available),) for path in shown) if not payload.safety_stock else ()
    said["available",] = Said(payload.available, ways)
    for name in ("safetyStock", "backorderable"):
        if (name,) in said:
            said[name,] = Said(said[name,].value)
    return said


def shows(section: Mapping[str, object]) -> dict[Path, object]:
    """The total, the earliest date, and what each location has."""
    found = shows_fields({name: value for name, value in section.items() if name != "locations"})
    locations = section.get("locations")
    for each in locations if isinstance(locations, list) else ():
        if isinstance(each, dict) and "available" in each:
            found["locations", str(each.get("source"))] = each["available"]
    return found


INVENTORY = Domain(
    name="inventory", payload=Inventory, validate=validate, fold=fold, says=says, shows=shows, fold_version=2
)
