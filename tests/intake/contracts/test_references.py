"""`via` in a contract: a record names its SKU by an id of its source."""

from collections.abc import Mapping

import pytest

from pagefold.engine.events import Reference, ReferencedEvent
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_examples import failed_examples
from pagefold.projections.streams import sku_error
from pagefold.projections.transforms import InvalidMapping

ITEM = "shopify:inventory_item"
STOCK: Mapping[str, object] = {
    "sku": {"from": "inventory_item_id", "via": ITEM},
    "sourceVersion": "version",
    "occurredAt": "updated_at",
    "inventory": {"available": "available"},
}
MESSAGE = {"inventory_item_id": 11, "version": 3, "updated_at": "2026-01-01T00:00:00Z", "available": 4}


def a_contract(**changes: object) -> Contract:
    """The contract of a stock source."""
    return Contract({"name": "stock", **STOCK, **changes}, source="shop", channels=["web-de"])


def test_an_id_is_kept_until_it_is_looked_up() -> None:
    """The event has a reference, and no SKU that could become a page."""
    [event] = a_contract().read(MESSAGE).events
    assert isinstance(event, ReferencedEvent)
    assert event.reference == Reference(ITEM, "11")
    assert sku_error(event.sku) is not None
    assert (event.type, event.payload, event.source_version) == ("inventory", b'{"available":4}', 3)


def test_an_id_goes_through_transforms_and_is_trimmed() -> None:
    """As a SKU does; a record without one is refused."""
    contract = a_contract(sku={"from": "gid", "regex": "([0-9]+) *$", "via": ITEM})
    [event] = contract.read({**MESSAGE, "gid": "gid://shopify/InventoryItem/11 "}).events
    assert isinstance(event, ReferencedEvent)
    assert event.reference.id == "11"
    assert len(contract.read(MESSAGE).refusals) == 1


def test_an_example_shows_the_reference() -> None:
    """In place of the SKU."""
    example = {"in": MESSAGE, "out": [{"reference": {"kind": ITEM, "id": "11"}, "type": "inventory"}]}
    assert list(failed_examples(a_contract(examples=[example]))) == []


@pytest.mark.parametrize("kind", [7, "", "with space"])
def test_what_is_no_kind_is_an_error(kind: object) -> None:
    """Of the place in the contract."""
    with pytest.raises(InvalidMapping) as caught:
        a_contract(sku={"from": "inventory_item_id", "via": kind})
    assert caught.value.key == "inventory.sku.via"
