"""`via` in a contract: a record names its SKU by an id of its source."""

from collections.abc import Mapping

import pytest

from pagefold import Config
from pagefold.engine.events import Reference, ReferencedEvent
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_examples import failed_examples
from pagefold.engine.intake.contracts.source_contracts import invalid_contracts
from pagefold.engine.intake.statement import Whole
from pagefold.projections.streams import sku_error
from pagefold.projections.transforms import InvalidMapping
from tests.support.small_shop import document

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


TABLE: Mapping[str, object] = {
    "each": "variants",
    "sku": "sku",
    "whole_of": {"kind": "shopify:product", "id": "$.id"},
}
PRODUCTS: Mapping[str, object] = {"sourceVersion": "$.version", "occurredAt": "$.at", "catalog": TABLE}
VARIANTS = {"id": 9, "version": 2, "at": "2026-01-01T00:00:00Z", "variants": [{"sku": "A"}]}


def wholes(message: Mapping[str, object], **catalog: object) -> list[Whole]:
    """The groups that a message has all of."""
    table = {name: value for name, value in {**TABLE, **catalog}.items() if value is not None}
    contract = {"name": "products", **PRODUCTS, "catalog": table}
    return Contract(contract, source="shop", channels=["web-de"]).read(message).wholes


def test_a_record_has_all_of_a_group_in_its_list() -> None:
    """Also if that is empty; a record without it says nothing of the group, nor does one that does not count."""
    for variants in ([{"sku": "A"}], []):
        [whole] = wholes({**VARIANTS, "variants": variants})
        assert (whole.event.reference, whole.event.payload) == (Reference("shopify:product", "9"), None)
        assert (whole.event.source_version, whole.event.source, whole.ends) == (2, "shop", False)
    assert wholes({name: value for name, value in VARIANTS.items() if name != "variants"}) == []
    assert wholes(VARIANTS, only={"$.id": [8]}) == []
    assert len(wholes(VARIANTS, only={"sku": ["B"]})) == 1


def test_a_group_may_be_withdrawn_in_other_domains_too() -> None:
    """One table says it for all of them; and a list that is as long as a source's lists may be proves nothing."""
    group = {"kind": "shopify:product", "id": "$.id", "domains": ["catalog", "pricing"], "below": 2}
    assert [whole.event.type for whole in wholes(VARIANTS, whole_of=group)] == ["catalog", "pricing"]
    assert wholes({**VARIANTS, "variants": [{"sku": "A"}, {"sku": "B"}]}, whole_of=group) == []


def test_a_filter_by_what_no_item_has_is_refused() -> None:
    """A member of the record around it, written without `$.`, would make every item none of the group."""
    contract = {"name": "products", **PRODUCTS, "catalog": {**TABLE, "only": {"version": [2]}}}
    reading = Contract(contract, source="shop", channels=["web-de"]).read(VARIANTS)
    assert reading.wholes == []
    assert [refusal.error.key for refusal in reading.refusals] == ["catalog.only"]
    assert "`$.` reads the record around" in str(reading.refusals[0].error)


def test_a_group_without_an_id_or_a_version_is_refused() -> None:
    """Nothing could be withdrawn."""
    contract = Contract({"name": "products", **PRODUCTS}, source="shop", channels=["web-de"])
    for name in ("id", "version"):
        reading = contract.read({**VARIANTS, name: None, "variants": []})
        assert (len(reading.refusals), reading.wholes) == (1, [])


@pytest.mark.parametrize(
    ("whole_of", "key"),
    [
        ("shopify:product", "catalog.whole_of"),
        ({"kind": "shopify:product"}, "catalog.whole_of"),
        ({"kind": "a b", "id": "$.id"}, "catalog.whole_of.kind"),
        ({"kind": "shopify:product", "id": "id"}, "catalog.whole_of.id"),
        ({"kind": "shopify:product", "id": "$.id", "domains": ["prices"]}, "catalog.whole_of.domains"),
        ({"kind": "shopify:product", "id": "$.id", "below": 0}, "catalog.whole_of.below"),
        ({"kind": "shopify:product", "id": "$.id", "below": True}, "catalog.whole_of.below"),
    ],
)
def test_what_is_no_group_is_an_error(whole_of: object, key: str) -> None:
    """Of the place in the contract."""
    with pytest.raises(InvalidMapping) as caught:
        wholes(VARIANTS, whole_of=whole_of)
    assert caught.value.key == key


def test_a_group_needs_its_list() -> None:
    """Without `each`, a record is one member."""
    with pytest.raises(InvalidMapping, match="needs `each`"):
        wholes(VARIANTS, each=None)


def test_the_configuration_has_to_know_the_group() -> None:
    """Otherwise its ids would be reported as ambiguous."""
    parsed = document()
    parsed["sources"]["pim"] |= {"webhook": {"secret_variables": ["X"]}, "contract": PRODUCTS}
    [problem] = invalid_contracts(Config.parse(parsed))
    assert str(problem).endswith("is not among references.groups of the configuration")
    assert invalid_contracts(Config.parse(parsed | {"references": {"groups": ["shopify:product"]}})) == []
