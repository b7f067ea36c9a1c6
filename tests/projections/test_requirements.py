"""Requirement sets: what counts as filled, what is asked of which product, and what a product lacks."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.domains.channel_view import Completeness, ShownProduct, UnknownSkus
from pagefold.projections.channel_views import View
from pagefold.projections.explanations import RecordedFold
from pagefold.projections.requirement_needs import is_filled
from pagefold.projections.requirements import Requirements, parse_requirements
from pagefold.projections.transforms import BUILTIN_REGISTRY, InvalidMapping

Document = dict[str, Any]


def measured(
    document: Document | list[Document],
    attributes: Document | None = None,
    *,
    foreign: set[str] | None = None,
    **fields: Any,  # noqa: ANN401  # JSON
) -> tuple[Completeness, bool]:
    """The completeness of a product, and whether something blocks."""
    sets = [
        parse_requirements({"name": "test", **each})
        for each in ([document] if isinstance(document, dict) else document)
    ]
    product = ShownProduct(attributes or {}, fields.pop("categories", []), fields.pop("family", None), None)
    return Requirements(sets).measure(product, foreign or set())


@pytest.mark.parametrize("value", [0, 0.0, False, True, "x", [0], [None, ""], {"a": {"b": False}}, ["", ["x"]]])
def test_what_counts_as_filled(value: object) -> None:
    """Numbers and booleans do, whatever they are; so does what has anything in it that does."""
    assert is_filled(value) is (value != [None, ""])


@pytest.mark.parametrize("value", [None, "", " \t", [], {}, [None, "", []], {"a": {"b": " "}}])
def test_what_does_not_count_as_filled(value: object) -> None:
    """Null, blank text, and what is empty at every level."""
    assert not is_filled(value)
    found, blocked = measured({"requires": [{"attributes": ["a"]}]}, {"a": value})
    assert (found, blocked) == (Completeness(0, ["a"]), True)


def test_a_product_that_lacks_something() -> None:
    """The share is of what is required, rounded down; what only warns does not block."""
    requires = [{"attributes": ["name", "gtin"]}, {"attributes": ["care"], "severity": "warns"}]
    assert measured({"requires": requires}, {"name": "Shirt", "gtin": 1, "care": "cold"}) == (
        Completeness(100, []),
        False,
    )
    found = measured({"requires": requires}, {"name": "Shirt", "gtin": 1})
    assert found == (Completeness(66, ["care"], warns=["care"]), False)
    found = measured({"requires": requires})
    assert found == (Completeness(0, ["care", "gtin", "name"], warns=["care"]), True)
    assert measured({}) == (Completeness(100, []), False)


def test_a_requirement_of_families_counts_below_them() -> None:
    """The trees of several sets are one, so that a shop's own families get what a set in the box asks."""
    box = {"families": {"clothing": "apparel"}, "requires": [{"attributes": ["size"], "family": ["apparel"]}]}
    own = {"families": {"t-shirts": "clothing"}}
    for family, asked in (("t-shirts", True), ("apparel", True), ("mugs", False), (None, False)):
        assert measured([box, own], family=family)[1] is asked, family


def test_a_condition_is_of_other_attributes() -> None:
    """The requirement counts for products that have one of the values, however it is written."""
    requires = [{"attributes": ["un_number"], "only": {"hazard": [True], "kind": ["a", "b"]}}]
    assert measured({"requires": requires}, {"hazard": "true", "kind": "b"})[1]
    assert measured({"requires": requires}, {"hazard": False, "kind": "b"}) == (Completeness(100, []), False)
    assert not measured({"requires": requires}, {"hazard": True})[1]


def test_one_of_several_is_enough() -> None:
    """Attributes in a list are needed together."""
    document = {"requires": [{"any_of": ["gtin", ["brand", "mpn"]]}]}
    label = "gtin or brand and mpn"
    assert measured(document, {"brand": "B"})[0] == Completeness(0, [label])
    assert measured(document, {"brand": "B", "mpn": "7"})[0] == Completeness(100, [])
    assert measured(document, {"gtin": "7"})[0] == Completeness(100, [])


def test_a_text_of_a_fallback_is_missing() -> None:
    """Where the channel's language is required."""
    document = {"requires": [{"attributes": ["name", "size"], "locale": "channel"}]}
    product = {"name": "Shirt", "size": 7}
    assert measured(document, product, foreign={"gtin"})[0] == Completeness(100, [])
    assert measured(document, product, foreign={"name"})[0] == Completeness(50, ["name"])
    anyhow = {"requires": [{"attributes": ["name", "size"]}]}
    assert measured(anyhow, product, foreign={"name"})[0] == Completeness(100, [])


def test_the_other_fields_of_a_product() -> None:
    """Categories and family can be required, too."""
    document = {"requires": [{"fields": ["categories", "family"]}]}
    assert measured(document, family="mugs")[0] == Completeness(50, ["categories"])
    assert measured(document, family="mugs", categories=["a"])[0] == Completeness(100, [])


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"min": 1, "max": "9.5"}, "9.50", 10),
        ({"min_length": 3}, "abc", "ab"),
        ({"max_items": 1}, ["x"], ["x", "y"]),
        ({"one_of": ["new", "used"]}, "used", "Used"),
        ({"format": "gtin"}, "4006381333931", "4006381333932"),
        ({"pattern": "[A-Z]+"}, "AB", "Ab"),
    ],
)
def test_a_rule_for_a_value(check: Document, good: object, bad: object) -> None:
    """A value that breaks it is invalid, as bad as a missing one; without a value, only a requirement counts."""
    assert measured({"checks": [{"attributes": ["a"], "check": check}]}, {"a": good}) == (Completeness(100, []), False)
    invalid = Completeness(0, [], ["a"])
    assert measured({"checks": [{"attributes": ["a"], "check": check}]}, {"a": bad}) == (invalid, True)
    assert measured({"checks": [{"attributes": ["a"], "check": check}]}) == (Completeness(100, []), False)
    assert measured({"requires": [{"attributes": ["a"], "check": check}]}) == (Completeness(0, ["a"]), True)


def test_several_requirements_of_one_attribute_are_one() -> None:
    """The attribute counts once, missing before invalid, and blocks if any of those that it breaks does."""
    rule = {"attributes": ["a"], "check": {"min_length": 3}}
    document = {"requires": [{"attributes": ["a"], "severity": "warns"}], "checks": [rule]}
    assert measured(document) == (Completeness(0, ["a"], warns=["a"]), False)
    assert measured(document, {"a": "ab"}) == (Completeness(0, [], ["a"]), True)
    assert measured([document, {"requires": [{"attributes": ["a"]}]}]) == (Completeness(0, ["a"]), True)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"requires": [{}]}, "requires[0]: names nothing: give `attributes`, `fields` or `any_of`"),
        ({"checks": [{"attributes": ["a"]}]}, "checks[0].check: is required: which rules a value must keep"),
        (
            {"requires": [{"attributes": ["a"], "check": {"min": 3, "max": 2}}]},
            "requires[0].check.min: is greater than",
        ),
        (
            {"requires": [{"attributes": ["a"], "severity": "stops"}]},
            "requires[0].severity: invalid enum value 'stops'",
        ),
        ({"requires": [{"any_of": [[]]}]}, "requires[0].any_of: has an empty list"),
        ({"families": {"a": "b", "b": "a"}}, "families.a: is below itself"),
        ({"require": []}, "object contains unknown field `require`"),
        ({"version": 0}, "version: expected `int` >= 1"),
    ],
)
def test_a_set_that_cannot_be(document: Document, problem: str) -> None:
    """The error names the place."""
    with pytest.raises(InvalidMapping, match="^" + re.escape(problem)):
        parse_requirements({"name": "test", **document})


def test_a_family_with_two_parents() -> None:
    """Two sets must agree."""
    with pytest.raises(InvalidMapping, match=r"^families\.a: is below 'b' and, in second@1, below 'c'"):
        Requirements(
            [
                parse_requirements({"name": "first", "families": {"a": "b"}}),
                parse_requirements({"name": "second", "families": {"a": "c"}}),
            ]
        )


names = st.sampled_from("abcd")
requirements = st.fixed_dictionaries(
    {"attributes": st.lists(names, min_size=1, max_size=4)},
    optional={
        "severity": st.sampled_from(["blocks", "warns"]),
        "family": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "only": st.dictionaries(names, st.just([1]), max_size=1),
        "check": st.just({"max": 1}),
    },
)


@given(st.lists(requirements, max_size=5), st.dictionaries(names, st.sampled_from([None, "", 0, 1, 2])), st.randoms())
def test_a_measure_does_not_depend_on_order(written: list[Document], attributes: Document, random: Any) -> None:  # noqa: ANN401
    """Nor is anything in two lists, and 100 % means that nothing lacks; a measure that warns of all does not block."""
    found, blocked = measured({"requires": written}, attributes, family="x")
    assert not set(found.missing) & set(found.invalid)
    lacking = [*found.missing, *found.invalid]
    assert set(found.warns) <= set(lacking)
    assert (found.percent == 100) == (not lacking)
    assert blocked == bool(set(lacking) - set(found.warns))
    shuffled = random.sample(written, len(written))
    assert measured({"requires": shuffled}, attributes, family="x") == (found, blocked)


@pytest.mark.parametrize(
    "written",
    [{"fields": ["categories"]}, {"any_of": ["a", "b"]}, {"fields": ["parent", "family"]}, {"fields": ["sku"]}],
)
def test_only_attributes_and_the_parent_name_skus(written: Document) -> None:
    """Anything else is an error, with its place; so is a path that no product has."""
    document = {"name": "test", "checks": [{**written, "in_catalog": True}]}
    with pytest.raises(InvalidMapping, match=r"^checks\[0\]\.in_catalog: is of SKUs: give `attributes`"):
        parse_requirements(document)
    with pytest.raises(InvalidMapping, match=r"^checks\[0\]\.attributes: the path 'a\.\.b' has an empty name"):
        parse_requirements({"name": "test", "checks": [{"attributes": ["a..b"], "in_catalog": True}]})


def test_skus_are_read_before_the_contract_and_explained() -> None:
    """A contract may show them under another name; a view without answers takes every SKU as there."""
    asked = {"name": "r", "checks": [{"attributes": ["related"], "in_catalog": True}]}
    contract = {"name": "c", "attributes": {"similar": {"from": "related"}}}
    view = View(contract, [asked], ["de"], BUILTIN_REGISTRY)
    product = ShownProduct({"related": ["A", "B", "C", "D", "E", "F", "G"]}, [], None, None)
    shown = view.shown(product, dict)
    assert shown is not None
    assert shown[1]
    answers = view.answered_by({"A": True}.get)
    with pytest.raises(UnknownSkus, match=r"^B, C, D, E, F, G$"):
        answers.shown(product, dict)
    trace = RecordedFold()
    shown = view.answered_by(lambda name: name == "A").shown(product, dict, trace)
    assert shown is not None
    assert (shown[1], shown[0].completeness) == (False, Completeness(0, [], ["related"]))
    assert [each.detail for each in trace.lacks] == ["r@1: the catalog does not have B, C, D, E, F and 1 more"]
