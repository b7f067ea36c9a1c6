"""The elements of `each`: in several lists of a record, and those without a value that they must have."""

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.projections.transforms import InvalidMapping

DOCUMENT = {
    "versions": "none",
    "occurredAt": {"constant": "2026-01-01T00:00:00Z"},
    "catalog": {
        "each": ["master", "variants"],
        "only": {"sku": True},
        "whole_of": {"kind": "shop:product", "id": "$.id"},
        "sku": "sku",
        "attributes": {"name": "$.name"},
    },
}


def contract(**changes: object) -> Contract:
    """The contract with some keys of its table changed."""
    return Contract(DOCUMENT | {"catalog": DOCUMENT["catalog"] | changes}, source="pim", channels=["web"])  # type: ignore[operator]  # a table


def test_elements_of_several_lists_are_one_group() -> None:
    """Of an object, the object; one without a SKU is counted and left out, and refuses nothing."""
    found = contract().read(
        {"id": 7, "name": "Tee", "master": {"sku": "A"}, "variants": [{"sku": "B"}, {"sku": " "}, {"size": "L"}]}
    )
    assert [statement.event.sku for statement in found.statements] == ["A", "B"]
    assert (found.left_out, found.refusals) == (2, [])
    assert {whole.event.reference.id for whole in found.wholes} == {"7"}


def test_a_record_without_one_of_the_lists() -> None:
    """It has the elements of the others."""
    found = contract().read({"id": 7, "name": "Tee", "variants": [{"sku": "B"}]})
    assert [statement.event.sku for statement in found.statements] == ["B"]
    assert len(found.wholes) == 1


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"each": [1]}, "catalog.each"),
        ({"each": ["master", "a..b"]}, "catalog.each"),
    ],
)
def test_what_is_no_path(changes: dict[str, object], place: str) -> None:
    """The error names the place."""
    with pytest.raises(InvalidMapping) as caught:
        contract(**changes)
    assert caught.value.key == place
