"""Inventory: what can be sold from the places that a channel sells from."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from domains.domain import JSON, Body, Contribution, Domain, View, encode
from domains.values import Count, Integer, Moment, in_utc


class Inventory(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """What one place may state of its stock. `available` below zero is an oversold item."""

    available: Integer
    safety_stock: Count = 0
    backorderable: bool = False
    restock_at: Moment | None = None


def admit(payload: Inventory) -> Inventory:
    """The moment of restocking is kept in UTC."""
    if payload.restock_at is None:
        return payload
    return msgspec.structs.replace(payload, restock_at=in_utc("restockAt", payload.restock_at))


def fold(contributions: Sequence[Contribution[Inventory]], _view: View) -> Body | None:
    """The sum over the places of what each can spare beyond its safety stock."""
    locations: list[JSON] = []
    total = 0
    for contribution in contributions:
        available = max(contribution.payload.available - contribution.payload.safety_stock, 0)
        total += available
        locations.append({"available": available, "source": contribution.source})
    section: dict[str, JSON] = {
        "available": total,
        "locations": locations,
        "status": _status(total, contributions),
    }
    restocks = [each.payload.restock_at for each in contributions if each.payload.restock_at is not None]
    if restocks:
        section["restockAt"] = msgspec.to_builtins(min(restocks))
    return Body(encode(section))


def _status(
    total: int, contributions: Sequence[Contribution[Inventory]]
) -> Literal["in_stock", "backorder", "out_of_stock"]:
    if total > 0:
        return "in_stock"
    return "backorder" if any(each.payload.backorderable for each in contributions) else "out_of_stock"


INVENTORY = Domain(name="inventory", payload=Inventory, admit=admit, fold=fold)
