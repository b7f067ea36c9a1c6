"""References in the payload of catalog: one form for equal ids, and what cannot be an id or a kind."""

import pytest

from pagefold.domains import InvalidPayload
from pagefold.domains.catalog import CATALOG, Catalog
from pagefold.domains.references import MAX_IDS, Ids


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("4006381333931", "4006381333931"),
        (11, "11"),
        (["a"], "a"),
        (" 11  ", "11"),
        (["b", 10, "a", "b", 9], ["10", "9", "a", "b"]),
        (2**70, str(2**70)),
    ],
)
def test_equal_ids_have_one_form(given: Ids, canonical: Ids) -> None:
    """An id is text; several are a list, in order, each once."""
    payload = CATALOG.validate(Catalog(references={"shopify:inventory_item": given}))
    assert payload.references == {"shopify:inventory_item": canonical}
    assert CATALOG.validate(payload).references == payload.references


def test_a_kind_without_ids_is_left_out() -> None:
    """It says nothing."""
    assert CATALOG.validate(Catalog(references={"gtin": []})) == Catalog()


def test_ids_are_given_by_kind() -> None:
    """One id or several: always a list."""
    assert CATALOG.references is not None
    assert CATALOG.references(Catalog(references={"a": "1", "b": ["1", "2"]})) == {"a": ["1"], "b": ["1", "2"]}
    assert CATALOG.references(Catalog()) == {}


@pytest.mark.parametrize(
    ("references", "path", "reason"),
    [
        ({"": "1"}, "references.", "is not a kind"),
        ({"with space": "1"}, "references.with space", "is not a kind"),
        ({"x" * 65: "1"}, "references." + "x" * 65, "is not a kind"),
        ({"gtin": " "}, "references.gtin", "must not be empty"),
        ({"gtin": "a\nb"}, "references.gtin", "a character that cannot be printed"),
        ({"gtin": "x" * 257}, "references.gtin", "has 257 characters; at most 256"),
        ({"gtin": list(range(MAX_IDS + 1))}, "references", f"has more than {MAX_IDS} ids"),
    ],
)
def test_what_is_no_reference_is_refused(references: dict[str, Ids], path: str, reason: str) -> None:
    """With the kind, and why."""
    with pytest.raises(InvalidPayload) as caught:
        CATALOG.validate(Catalog(references=references))
    assert caught.value.path == path
    assert reason in caught.value.reason
