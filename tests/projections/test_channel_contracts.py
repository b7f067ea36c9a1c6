"""Channel contracts: what a channel shows, under which names, and what becomes of values that cannot be mapped."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.domains.catalog import CATALOG, Catalog
from pagefold.domains.channel_view import ShownProduct
from pagefold.domains.domain import ChannelContext, Contribution, encode
from pagefold.projections.category_trees import CategoryForest
from pagefold.projections.channel_contracts import CompiledContract, parse_contract
from pagefold.projections.channel_views import IncompletePolicy, View
from pagefold.projections.transforms import BUILTIN_REGISTRY, InvalidMapping, Registry, Transform
from pagefold.projections.transforms.transform import NoParameters
from pagefold.projections.transforms.value_types import ValueType

Document = dict[str, Any]
LOCALES = ("de-AT", "de", "en")
COLORS = {"colors": {"rows": {"1": "red", "2": "blue"}}}
LABELS = {"labels": {"rows": {"1": {"de": "rot", "en": "red"}, "2": {"en": "blue"}, "3": {"fr": "vert"}}}}


def compiled(document: Document, registry: Registry = BUILTIN_REGISTRY) -> CompiledContract:
    """A contract for an Austrian channel."""
    return CompiledContract(parse_contract({"name": "web", **document}), LOCALES, registry)


def shown(document: Document, product: Document, **fields: object) -> tuple[Document, list[str]]:
    """The attributes that a channel shows, and those that it could not map."""
    given = msgspec_product(product, **fields)
    found = compiled(document).applied(given, set())
    return found.product.attributes, found.unmapped


def msgspec_product(attributes: Document, **fields: Any) -> ShownProduct:  # noqa: ANN401  # JSON
    """A product with some attributes."""
    return ShownProduct(attributes, fields.get("categories", []), fields.get("family"), fields.get("parent"))


def test_a_channel_shows_what_is_named() -> None:
    """Under its own names; the rest is left out, or kept if it is not shown under another name."""
    attributes = {"title": "name", "sizes": "size", "height": "box.height", "weight": "weight"}
    product = {"name": "Shirt", "size": 0, "box": {"height": 3}, "color": "red", "title": "old"}
    expected = {"title": "Shirt", "sizes": 0, "height": 3}
    assert shown({"attributes": attributes}, product) == (expected, [])
    kept = shown({"attributes": attributes, "others": "keep"}, product)
    assert kept == (expected | {"color": "red"}, [])


def test_values_go_through_transforms() -> None:
    """The same as in contracts of sources, with tables, definitions, defaults and separators."""
    document = {
        "decimal": ",",
        "tables": COLORS,
        "definitions": {"brand": {"from": "maker"}},
        "attributes": {
            "color": {"from": "color", "lookup": "colors"},
            "colors": {"from": "colors", "lookup": "colors"},
            "brand": {"use": "brand", "default": "none"},
            "weight": {"from": "weight", "number": True},
            "label": {"computed": "{{ name }} ({{ color }})"},
        },
    }
    found, unmapped = shown(document, {"name": "Shirt", "color": 1, "colors": ["1", "2"], "weight": "1,5"})
    assert (found, unmapped) == (
        {"color": "red", "colors": ["red", "blue"], "brand": "none", "weight": 1.5, "label": "Shirt (1)"},
        [],
    )


def test_the_other_fields_of_a_product_can_be_read() -> None:
    """Family, parent and categories, and the locale of the channel."""
    attributes = {
        "group": "@parent",
        "kind": "@family",
        "path": "@categories",
        "in": "@locale",
    }
    found, _ = shown({"attributes": attributes}, {}, family="mugs", parent="P", categories=["a", "b"])
    assert found == {"group": "P", "kind": "mugs", "path": ["a", "b"], "in": "de-AT"}
    assert shown({"attributes": attributes}, {})[0] == {"in": "de-AT", "path": []}


def test_labels_are_in_the_language_of_the_channel() -> None:
    """Of texts by locale, the first that the channel has; a text in none of them is absent, and nothing is wrong."""
    document = {"tables": LABELS, "attributes": {"color": {"from": "color", "translate": "labels"}}}
    assert shown(document, {"color": "1"}) == ({"color": "rot"}, [])
    assert shown(document, {"color": "2"}) == ({"color": "blue"}, [])
    assert shown(document, {"color": "3"}) == ({}, [])
    assert shown(document, {"color": "9"}) == ({}, ["color"])


def test_what_was_looked_up_before_is_shown_again() -> None:
    """However many texts were between, and however long they are; a value that is not there is never mapped."""
    rows = {f"{number}": f"color {number}" for number in range(1_500)} | {"x" * 500: "long"}
    document = {
        "tables": {"colors": {"rows": rows}},
        "attributes": {"color": {"from": "code", "lookup": "colors"}, "again": {"from": "code", "lookup": "colors"}},
    }
    contract = compiled(document)
    codes = [*map(str, range(1_500)), "x" * 500, "none", 7, None, "7", "none", "x" * 500]
    for code in codes:
        found = contract.applied(msgspec_product({"code": code}), set())
        expected = rows.get(str(code))
        assert found.product.attributes == ({} if expected is None else {"color": expected, "again": expected})
        assert found.unmapped == (["color", "again"] if code == "none" else [])


@pytest.mark.parametrize("level", ["skip", "warn", "fail"])
def test_what_cannot_be_mapped_is_left_out(level: str) -> None:
    """Of a list, what can be mapped stays; other attributes are as they would be. `skip` does not report it."""
    document = {
        "unmapped": level,
        "tables": COLORS,
        "attributes": {
            "colors": {"from": "colors", "lookup": "colors"},
            "weight": {"from": "weight", "number": True},
            "gtin": {"from": "gtin", "check": {"format": "gtin"}},
            "name": "name",
        },
    }
    found = shown(document, {"colors": ["1", "9"], "weight": "heavy", "gtin": "1", "name": "Shirt"})
    refused = ["weight", "gtin"] if level == "skip" else ["colors", "weight", "gtin"]
    assert found == ({"colors": ["red"], "name": "Shirt"}, refused)


def test_a_mapping_may_say_it_itself() -> None:
    """What a transform says goes before the contract."""
    lookup = {"table": "colors", "unmapped": "skip"}
    document = {"unmapped": "fail", "tables": COLORS, "attributes": {"color": {"from": "color", "lookup": lookup}}}
    assert shown(document, {"color": "9"}) == ({}, [])
    kept = {"tables": COLORS, "attributes": {"color": {"from": "color", "lookup": {"table": "colors", "keep": True}}}}
    assert shown(kept, {"color": "9"}) == ({"color": "9"}, [])


def test_a_transform_that_breaks_stops_nothing() -> None:
    """One of a shop's own may raise anything."""

    def build(_parameters: object, _site: object) -> Any:  # noqa: ANN401  # a function of any value
        return lambda value: 1 / 0 if value else value

    broken = Transform(
        name="broken",
        summary="Divides by zero.",
        inputs=(ValueType.ANYTHING,),
        output=ValueType.ANYTHING,
        parameters=NoParameters,
        build=build,
        refusals={},
        examples=(),
    )
    contract = compiled(
        {"attributes": {"a": {"from": "a", "broken": True}, "b": "b"}}, BUILTIN_REGISTRY.extended([broken])
    )
    found = contract.applied(msgspec_product({"a": 1, "b": 2}), set())
    assert (found.product.attributes, found.unmapped) == ({"b": 2}, ["a"])


def test_requirements_ask_for_the_channels_names() -> None:
    """And for its language: of what an attribute is made of, or of the label that was chosen."""
    contract = {
        "name": "web",
        "tables": LABELS,
        "attributes": {"title": "name", "color": {"from": "color", "translate": "labels"}, "size": "size"},
    }
    requirement = {"attributes": ["title", "color", "size", "name"], "locale": "channel"}
    view = View(contract, [{"name": "r", "requires": [requirement]}], LOCALES, BUILTIN_REGISTRY, incomplete="show")

    def missing(color: str, locale: str) -> list[str]:
        found = view.shown(msgspec_product({"name": "Shirt", "color": color, "size": 7}), lambda: {"name": locale})
        assert found is not None
        product, _ = found
        return product.completeness.missing  # type: ignore[union-attr]  # it has one

    assert missing("1", "de") == ["name"]
    assert missing("1", "en") == ["name", "title"]
    assert missing("2", "de-AT") == ["color", "name"]


def test_what_fails_blocks() -> None:
    """The catalog is not ready, or hidden; with `warn` it is only listed."""
    policies: list[tuple[str, IncompletePolicy, object]] = [
        ("warn", "hide", (["a"], True)),
        ("fail", "show", (["a"], False)),
        ("fail", "hide", None),
        ("fail", "keep", (["a"], False)),
    ]
    for level, incomplete, expected in policies:
        contract = {"name": "web", "unmapped": level, "attributes": {"a": {"from": "a", "number": True}}}
        view = View(contract, [], LOCALES, BUILTIN_REGISTRY, incomplete=incomplete)
        found = view.shown(msgspec_product({"a": "x"}), dict)
        assert (None if found is None else (found[0].unmapped, found[1])) == expected


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"attributes": {"a": {"from": "b", "upper": True}}}, "attributes.a: there is no transform 'upper'"),
        ({"attributes": {"a": {"from": "b", "lookup": "c"}}}, "attributes.a.lookup.table: there is no table 'c'"),
        ({"attributes": {"a": {"from": "b", "required": True}}}, "attributes.a.required: a requirement set of the"),
        ({"attributes": {"a": {"from": "b", "blank": "withdraw"}}}, "attributes.a.blank: a requirement set of the"),
        ({"attributes": {"a": "@sku"}}, "attributes.a: there is no '@sku'; there are @family"),
        ({"attributes": {"a": ""}}, "attributes.a: the path '' has an empty name"),
        ({"attribute": {}}, "object contains unknown field `attribute`"),
        ({"others": "hide"}, "others: invalid enum value 'hide'"),
    ],
)
def test_a_contract_that_cannot_be(document: Document, problem: str) -> None:
    """The error names the place."""
    with pytest.raises(InvalidMapping, match="^" + re.escape(problem)):
        compiled(document)


CATEGORIES = st.lists(st.sampled_from(["master", "tvs", "led", "print", "phones"]), max_size=4)


@given(
    st.dictionaries(st.sampled_from("pqr"), st.sampled_from("abcd"), max_size=3),
    st.sampled_from(["drop", "keep"]),
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(1, 3), st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=3), CATEGORIES
        ),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_a_section_is_that_of_a_plain_model(
    attributes: Document,
    others: str,
    has_tree: bool,  # noqa: FBT001  # hypothesis
    events: list[tuple[int, Document, list[str]]],
    data: st.DataObject,
) -> None:
    """Whatever the contract, and in whatever order sources state a product: ranks decide, not arrival."""
    contract = {"name": "web", "attributes": attributes, "others": others, "fields": {"family": "a"}}
    tree = TREE.document(["master"], LOCALES) if has_tree else None
    view = View(contract, [], LOCALES, BUILTIN_REGISTRY, tree=tree)
    context = ChannelContext(LOCALES, "EUR", view)
    newest = {rank: (stated, categories) for rank, stated, categories in events}
    arrived = data.draw(st.permutations(sorted(newest)))
    by_rank = {
        rank: Contribution(str(rank), Catalog(attributes=newest[rank][0], categories=newest[rank][1]))
        for rank in arrived
    }
    found = CATALOG.fold([by_rank[rank] for rank in sorted(by_rank)], context, None)
    assert found is not None
    assert json.loads(found.json) == _plain_section(
        attributes, others, [newest[rank] for rank in sorted(newest)], has_tree
    )


def _plain_section(
    attributes: Document,
    others: str,
    ranked: list[tuple[Document, list[str]]],
    has_tree: bool,  # noqa: FBT001  # as above
) -> Document:
    """What the documentation says, written as plainly as can be."""
    stated: Document = {}
    for own, _ in reversed(ranked):
        stated |= own
    codes = next((categories for _, categories in ranked if categories), [])
    shown = {name: stated[path] for name, path in attributes.items() if path in stated}
    if others == "keep":
        read = {*attributes.values(), "a"}
        shown |= {name: value for name, value in stated.items() if name not in read}
    section: Document = {"attributes": shown, "contract": "web@1", "family": stated.get("a"), "parent": None}
    if not has_tree:
        return section | {"categories": codes}
    paths = {"master": ["master"], "tvs": ["master", "tvs"], "led": ["master", "tvs", "led"]}
    mine = [paths[code] for code in dict.fromkeys(codes) if code in paths]
    ends = [path for path in mine if not any(other[: len(path)] == path != other for other in mine)]
    texts = {"master": "Katalog", "tvs": "tvs", "led": "LED"}
    section |= {"categories": mine, "breadcrumb": [texts[code] for code in ends[0]] if ends else []}
    return section | ({"unmapped": ["categories"]} if "phones" in codes else {})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", " ", "1", "9", "1.5", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
specs = st.sampled_from(
    [
        "a",
        "b.a",
        {"from": "a", "number": True},
        {"from": "a", "lookup": "colors"},
        {"from": "b", "translate": "labels"},
        {"first_of": ["c", "b"]},
        {"from": "a", "check": {"max": 3}},
        {"from": "a", "default": 7},
    ]
)


@given(
    st.dictionaries(st.sampled_from("pqabc"), specs, max_size=4),
    st.sampled_from(["drop", "keep"]),
    st.sampled_from(["skip", "warn", "fail"]),
    st.dictionaries(st.sampled_from("abcd"), values, max_size=4),
)
def test_a_view_is_a_function(attributes: Document, others: str, level: str, product: Document) -> None:
    """It never raises, changes nothing that it gets, and gives the same bytes each time it is compiled."""
    contract = {
        "name": "web",
        "tables": COLORS | LABELS,
        "attributes": attributes,
        "others": others,
        "unmapped": level,
    }
    before = encode(product)
    made = []
    for _ in range(2):
        view = View(contract, [], LOCALES, BUILTIN_REGISTRY, incomplete="show")
        found = view.shown(msgspec_product(product), dict)
        assert found is not None
        made.append((view.key, encode(found[0]), found[1]))
        assert others == "keep" or found[0].attributes.keys() <= attributes.keys()
    assert made[0] == made[1]
    assert encode(product) == before


TREE = CategoryForest(
    {"master": None, "tvs": "master", "led": "tvs", "print": None}, {"master": {"de": "Katalog"}, "led": {"de": "LED"}}
)


def in_tree(
    contract: Document | None, categories: list[object], requirements: Sequence[Document] = ()
) -> tuple[Document, bool]:
    """The section of a product in a channel with a tree, and whether its catalog is ready."""
    tree = TREE.document(["master"], LOCALES)
    view = View(contract, requirements, LOCALES, BUILTIN_REGISTRY, tree=tree)
    found = view.shown(msgspec_product({"name": "TV"}, categories=categories), dict)
    assert found is not None
    return json.loads(encode(found[0])), found[1]


def test_categories_are_shown_as_paths_in_a_channel_with_a_tree() -> None:
    """With or without a contract; what the tree lacks is not mapped, what another root has is not shown."""
    section, ready = in_tree(None, ["led", "print"])
    assert (section["categories"], section["breadcrumb"], ready) == (
        [["master", "tvs", "led"]],
        ["Katalog", "tvs", "LED"],
        True,
    )
    assert "unmapped" not in section
    section, ready = in_tree(None, ["phones"])
    assert (section["categories"], section["breadcrumb"], section["unmapped"], ready) == ([], [], ["categories"], True)
    kind = {"name": "web", "attributes": {"kind": {"from": "@breadcrumb", "join": " > "}, "paths": "@paths"}}
    section, ready = in_tree(kind, ["led"])
    assert section["attributes"] == {"kind": "Katalog > tvs > LED", "paths": [["master", "tvs", "led"]]}
    assert section["categories"] == [["master", "tvs", "led"]]


@pytest.mark.parametrize(
    ("level", "unmapped", "ready"),
    [("skip", None, True), ("warn", ["categories"], True), ("fail", ["categories"], False)],
)
def test_a_category_that_the_tree_lacks(level: str, unmapped: list[str] | None, *, ready: bool) -> None:
    """The contract says what becomes of it, as of attributes; a requirement sees it in any case."""
    contract = {"name": "web", "unmapped": level}
    section, is_ready = in_tree(contract, ["led", "phones"])
    assert (section.get("unmapped"), is_ready) == (unmapped, ready)
    asked = {"name": "r", "checks": [{"fields": ["categories"], "in_tree": True}]}
    for categories, invalid in ((["led", "phones"], ["categories"]), (["phones"], ["categories"]), (["led"], None)):
        section, is_ready = in_tree(contract, [*categories], requirements=[asked])
        assert section["completeness"].get("invalid") == invalid
        assert is_ready == (invalid is None)


def test_a_contract_maps_categories_family_and_parent() -> None:
    """By tables and transforms, as attributes; a value that is no category, or no text, is not mapped."""
    tables = {"kinds": {"rows": {"tv": "4", "radio": "5"}}, "labels": {"rows": {"tv": {"de": "Fernseher"}}}}
    fields = {
        "categories": {"from": "@categories", "lookup": "kinds"},
        "family": {"from": "@family", "translate": "labels"},
        "parent": {"computed": "X-{{ name }}"},
    }
    found = compiled({"tables": tables, "fields": fields}).applied(
        msgspec_product({"name": "TV"}, categories=["tv", "phone"], family="tv", parent="P"), set()
    )
    assert (found.product.categories, found.product.family, found.product.parent) == (["4"], "Fernseher", "X-TV")
    assert (found.product.attributes, found.unmapped) == ({}, ["categories"])
    numbers = {"categories": "sizes", "family": "size", "parent": "none"}
    found = compiled({"fields": numbers, "others": "keep"}).applied(
        msgspec_product({"sizes": ["a", 1, ["b", "c"]], "size": 2, "x": 1}, family="f", parent="p"), set()
    )
    assert (found.product.categories, found.product.family, found.product.parent) == (["a", ["b", "c"]], None, None)
    assert (found.product.attributes, found.unmapped) == ({"x": 1}, ["categories", "family"])
    one = compiled({"fields": {"categories": "size"}}).applied(msgspec_product({"size": "M"}), set())
    assert one.product.categories == ["M"]


def test_only_the_three_fields_can_be_mapped() -> None:
    """Others are an error with the place, and so is a mapping that cannot be."""
    with pytest.raises(InvalidMapping) as raised:
        compiled({"fields": {"brand": "brand"}})
    assert raised.value.key.startswith("fields")
    with pytest.raises(InvalidMapping) as raised:
        compiled({"fields": {"family": {"from": "@family", "upper": True}}})
    assert raised.value.key == "fields.family"
