"""Channel filters: what rules accept, which rule hides a product, and a plain model of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.domains.channel_view import ShownProduct
from pagefold.projections.channel_filters import Filters, category_path
from pagefold.projections.channel_views import View
from pagefold.projections.transforms import BUILTIN_REGISTRY, InvalidMapping

Document = dict[str, Any]
FAMILIES = {"t-shirts": "clothing", "clothing": "fashion", "mugs": "kitchen"}
TEE = ShownProduct(
    {"season": ["summer", "autumn"], "sale": "true", "details": {"fit": "slim"}, "note": " ", "tags": []},
    ["Clothing > Shirts > Polo"],
    "t-shirts",
    "MODEL",
)


def shows(rule: Document, product: ShownProduct = TEE) -> bool:
    """Whether one rule shows a product."""
    return Filters({"rule": rule}, FAMILIES).shows(product)


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("@family", ["t-shirts"], True),
        ("@family", ["fashion", "mugs"], True),
        ("@family", ["kitchen"], False),
        ("@family", True, True),
        ("@parent", ["MODEL"], True),
        ("@parent", False, False),
        ("@categories", ["Clothing"], True),
        ("@categories", ["Clothing>Shirts"], True),
        ("@categories", [["Clothing", "Shirts"]], True),
        ("@categories", ["Shirts"], False),
        ("@categories", ["Cloth"], False),
        ("season", ["autumn"], True),
        ("season", ["winter"], False),
        ("sale", [True], True),
        ("details.fit", ["slim"], True),
        ("details.fit.cut", ["slim"], False),
        ("note", True, False),
        ("tags", True, False),
        ("tags", False, True),
        ("absent", False, True),
        ("absent", ["x"], False),
    ],
)
def test_a_rule_reads_the_product(path: str, values: object, expected: object) -> None:
    """`only` shows what has one of the values, `without` everything else."""
    assert shows({"only": {path: values}}) is expected
    assert shows({"without": {path: values}}) is not expected


def test_categories_may_be_one_path_together() -> None:
    """Some systems write the path of a category as a list of names."""
    product = ShownProduct({}, ["Clothing", "Shirts", "Polo"], None, None)
    assert shows({"only": {"@categories": ["Clothing > Shirts"]}}, product)
    assert shows({"only": {"@categories": ["Polo"]}}, product)
    assert not shows({"only": {"@categories": ["Shirts > Polo"]}}, product)
    assert shows(
        {"only": {"@categories": ["Clothing > Shirts"]}}, ShownProduct({}, [["Clothing", "Shirts"]], None, None)
    )


def test_every_rule_counts_and_those_that_hide_are_named() -> None:
    """A product is shown if it meets all conditions of all rules."""
    filters = Filters(
        {
            "season": {"only": {"season": ["winter"]}},
            "fashion": {"only": {"@family": ["fashion"]}, "without": {"sale": [False]}},
            "no models": {"without": {"@parent": True, "absent": True}},
        },
        FAMILIES,
    )
    assert not filters.shows(TEE)
    assert filters.hiding(TEE) == ["no models", "season"]
    other = ShownProduct({"season": "winter"}, [], "t-shirts", None)
    assert filters.shows(other)
    assert filters.hiding(other) == []


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, "filters.rule: has no condition: give `only` or `without`"),
        ({"only": {}}, "filters.rule: has no condition"),
        ({"only": {"@familly": ["x"]}}, "filters.rule.only.@familly: there is no '@familly'; there are @categories,"),
        ({"only": {"@locale": ["de"]}}, "filters.rule.only.@locale: there is no"),
        ({"without": {"size": []}}, "filters.rule.without.size: has no value"),
        ({"without": {"size": [["a"]]}}, "filters.rule.without.size: has a list as value; only a category"),
        ({"without": {"@family": [["a"]]}}, "filters.rule.without.@family: has a list as value"),
        ({"only": {"@categories": [" > "]}}, "filters.rule.only.@categories: has a category without a name"),
        ({"only": {"a..b": ["x"]}}, "filters.rule.only.a..b: the path"),
    ],
)
def test_a_rule_that_cannot_be(rule: Document, problem: str) -> None:
    """The place is named."""
    with pytest.raises(InvalidMapping) as raised:
        Filters({"rule": rule})
    assert f"{raised.value.key}: {raised.value.problem}".startswith(problem)


def view(filters: Document, **more: Any) -> View:  # noqa: ANN401  # documents
    """A German channel with a filter."""
    requirements = more.pop("requirements", [])
    contract = more.pop("contract", None)
    return View(contract, requirements, ("de",), BUILTIN_REGISTRY, incomplete="show", filters=filters)


def test_a_filter_reads_what_a_contract_leaves_out() -> None:
    """It is for the product, not for what the channel shows of it; the family tree is that of the requirements."""
    rules = {"sale": {"only": {"sale": [True], "@family": ["fashion"]}}}
    tree = {"name": "tree", "families": FAMILIES}
    filtered = view(rules, contract={"name": "web", "attributes": {"title": "name"}}, requirements=[tree])
    assert filtered.shown(TEE, dict) is not None
    assert filtered.hiding(TEE) == []
    assert view(rules).shown(TEE, dict) is None
    assert view(rules).hiding(TEE) == ["sale"]


def test_the_key_has_the_filter() -> None:
    """Channels with other rules share nothing; the key of a channel without any is as it was."""
    one, other = ({"a": {"only": {"size": [size]}}} for size in "SM")
    assert len({view({}).key, view(one).key, view(other).key}) == 3
    assert view({}).key == View(None, [], ("de",), BUILTIN_REGISTRY, incomplete="show").key


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3)
WRITTEN = PATHS | PATHS.map(" > ".join)
PRODUCTS = st.builds(
    ShownProduct,
    st.dictionaries(NAMES, NAMES | st.lists(NAMES) | st.none() | st.booleans(), max_size=3),
    st.lists(WRITTEN, max_size=3),
    st.none() | st.sampled_from([*FAMILIES, "fashion", "other"]),
    st.none() | NAMES,
)
CONDITIONS = st.dictionaries(NAMES | st.just("@parent"), st.booleans() | st.lists(NAMES, min_size=1), max_size=2)
FAMILY_CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "@family": st.booleans() | st.lists(st.sampled_from(["fashion", "t-shirts", "kitchen", "other"]), min_size=1),
        "@categories": st.booleans() | st.lists(WRITTEN, min_size=1),
    },
)
TABLES = st.builds(lambda one, other: one | other, CONDITIONS, FAMILY_CONDITIONS)
RULES = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.fixed_dictionaries({"only": TABLES, "without": TABLES}).filter(lambda rule: rule["only"] or rule["without"]),
    max_size=3,
)


@given(RULES, PRODUCTS)
def test_filters_are_a_plain_model(rules: Document, product: ShownProduct) -> None:
    """The compiled rules hide what a model of a few lines hides."""
    hiding = [
        name
        for name, rule in sorted(rules.items())
        if not all(has(product, *each) for each in rule["only"].items())
        or any(has(product, *each) for each in rule["without"].items())
    ]
    filters = Filters(rules, FAMILIES)
    assert filters.hiding(product) == hiding
    assert filters.shows(product) is not bool(hiding)


def has(product: ShownProduct, path: str, values: Any) -> bool:  # noqa: ANN401  # a list or a boolean
    """The model: whether a product has one of the values at a path."""
    value: Any = product.attributes.get(path) if path[0] != "@" else getattr(product, path[1:])
    if isinstance(values, bool):
        return (value is not None and value != []) is values
    if path == "@family":
        chain = [value, FAMILIES.get(value), FAMILIES.get(FAMILIES.get(value, ""))]
        return any(each in values for each in chain)
    if path == "@categories":
        paths = [category_path(each) for each in product.categories]
        if all(len(each) == 1 for each in paths):
            paths.append(tuple(name for each in paths for name in each))
        wanted = [category_path(each) for each in values]
        return any(each[: len(name)] == name for each in paths for name in wanted)
    return any(each in values for each in (value if isinstance(value, list) else [value]))
