"""Mappings: what they read, what becomes of blanks, which mistakes of a contract are found before any record."""

from contextlib import suppress
from copy import deepcopy
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold.projections.transforms import WITHDRAW, ColumnScope, InvalidMapping, InvalidValue, ValueType
from tests.support.transform_fixtures import KEY, compiler_for, made, refusal

BLANKS = ["", "  ", "\u00a0\t", None, UNSET]
RECORD = {
    "title": "Tee",
    "price": Decimal("19.90"),
    "stock": {"free": "12.0"},
    "tags": "a, b ,",
    "a.b": "dotted",
    "on": 0,
}

MISTAKES: dict[str, tuple[object, str]] = {
    "no table": (5, "payload.x: expected a path or a table, got 5"),
    "no source": ({}, "payload.x: says nowhere what it reads; give `from`"),
    "no value": ({"trim": True}, "payload.x: says nowhere what it reads; give `from`: `trim` needs a value"),
    "unknown": ({"from": "a", "tirm": True}, "payload.x: there is no transform 'tirm'; did you mean trim?"),
    "two": (
        {"from": "a", "split": ",", "trim": True},
        "payload.x: has `split` and `trim`; write several transforms in their order: steps = [{ … }, { … }]",
    ),
    "parameter": ({"from": "a", "round": {"places": "2"}}, "payload.x.round.places: expected `int`, got `str`"),
    "range": ({"from": "a", "round": {"places": 99}}, "payload.x.round.places: expected `int` <= 20"),
    "unknown parameter": (
        {"from": "a", "split": {"seperator": ","}},
        "payload.x.split: unknown parameter `seperator`; split has separator, trim, blanks",
    ),
    "missing parameter": ({"from": "a", "round": {}}, "payload.x.round: missing parameter `places`"),
    "no parameters": ({"from": "a", "direct": 5}, "payload.x.direct: expected true or a table of parameters, got 5"),
    "types": (
        {"from": "a", "steps": [{"split": ","}, {"money": "EUR"}, "html_to_text", {"parse_pairs": {}}, "join"]},
        "payload.x.join: takes list; what comes before it gives object",
    ),
    "source with value": (
        {"from": "a", "first_of": ["b"]},
        "payload.x.first_of: reads the record itself, and takes no value: remove `from`, or let it be the first step",
    ),
    "step": ({"from": "a", "steps": [{"trim": True, "text": True}]}, "payload.x.steps[0]: expected a transform's name"),
    "steps": ({"from": "a", "steps": "trim"}, "payload.x.steps: expected a list of at most 32 transforms"),
    "policy": (
        {"from": "a", "blank": "drop"},
        "payload.x.blank: expected one of skip, withdraw, refuse, null, got 'drop'",
    ),
    "contradiction": (
        {"from": "a", "required": True, "blank": "skip"},
        "payload.x.blank: 'skip' contradicts `required`",
    ),
    "blank default": ({"from": "a", "default": ""}, "payload.x.default: is blank"),
    "default and policy": (
        {"from": "a", "default": 1, "blank": "null"},
        "payload.x.blank: has no effect beside `default`",
    ),
    "required": ({"from": "a", "required": "yes"}, "payload.x.required: expected true or false, got 'yes'"),
    "path": ({"from": "a..b"}, "payload.x: the path 'a..b' has an empty name"),
    "inner policy": (
        {"first_of": [{"from": "a", "blank": "skip"}]},
        "payload.x.first_of.values[0].blank: belongs to a whole",
    ),
    "table": ({"from": "a", "lookup": "colors"}, "payload.x.lookup.table: there is no table 'colors'; there are none"),
    "rates": (
        {"from": "a", "currency": {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "d"}},
        "payload.x.currency.rates: there is no table of rates 'ecb'; there are none",
    ),
    "definition": ({"use": "name"}, "payload.x.use.name: there is no definition 'name'; there are none"),
    "currency": ({"from": "a", "money": "XXQ"}, "payload.x.money.currency: 'XXQ' is not a currency of ISO 4217"),
    "unit": (
        {"from": "a", "convert": {"unit": "kg", "to": "m"}},
        "payload.x.convert.to: KILOGRAM measures mass, and METER",
    ),
    "pattern": (
        {"from": "a", "regex": "(?=a)"},
        "payload.x.regex.pattern: is not a pattern of RE2: invalid perl operator",
    ),
    "group": (
        {"from": "a", "regex": {"pattern": "a", "group": 3}},
        "payload.x.regex.group: the pattern has no group 3",
    ),
    "replacement": (
        {"from": "a", "regex": {"pattern": "a", "replace": r"\2"}},
        "payload.x.regex.replace: '\\\\2' is not a group",
    ),
    "zone": ({"from": "a", "date": {"zone": "Berlin"}}, "payload.x.date.zone: 'Berlin' is not a time zone"),
    "format": ({"from": "a", "date": "%d. %B %Y"}, "payload.x.date.format: has '%B'; a format may have"),
    "template": ({"computed": "{{ a"}, "payload.x.computed.template: has {{ without a }} that ends it"),
    "unused variable": (
        {"computed": {"template": "{{ a }}", "with": {"b": "c"}}},
        "payload.x.computed.with.b: is not used by the template",
    ),
    "locale": (
        {"from": "a", "localized": {"locales": ["german"]}},
        "payload.x.localized.locales: 'german' is not a locale",
    ),
    "rule": (
        {"from": "a", "check": {"min": 3, "max": 2}},
        "payload.x.check.min: is greater than `max`: no value can pass",
    ),
    "separators": (
        {"from": "a", "number": {"decimal": ",", "group": ","}},
        "payload.x.number.decimal: ',' and ',' cannot be",
    ),
}


@pytest.mark.parametrize(("spec", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_when_the_contract_is_compiled(spec: object, message: str) -> None:
    """The error says what is wrong, at its place in the contract, and what would be right."""
    with pytest.raises(InvalidMapping) as caught:
        compiler_for().mapping(spec, KEY)
    assert str(caught.value).startswith(message)
    assert caught.value.key.startswith(KEY)


@pytest.mark.parametrize(
    ("spec", "expects", "result"),
    [
        ("title", ValueType.TEXT, "Tee"),
        ("price", ValueType.TEXT, "19.90"),
        ("price", ValueType.DECIMAL, "19.9"),
        ("price", ValueType.ANYTHING, 19.9),
        ("stock.free", ValueType.INTEGER, 12),
        ("stock.free", ValueType.ANYTHING, "12.0"),
        ("on", ValueType.BOOLEAN, False),
        ("title", ValueType.LIST, ["Tee"]),
        ({"from": "title", "localized": "de"}, ValueType.LOCALIZED, {"de": "Tee"}),
        ({"from": "tags", "split": ","}, ValueType.LIST, ["a", "b"]),
        (r"a\.b", ValueType.TEXT, "dotted"),
        ({"from": "tags", "steps": [{"split": ","}, {"case": "upper"}, {"join": "/"}]}, ValueType.TEXT, "A/B"),
        ({"constant": 5}, ValueType.DECIMAL, "5"),
    ],
)
def test_a_value_gets_the_type_of_its_target(spec: object, expects: ValueType, result: object) -> None:
    """What other systems mean counts: `12.0` is an integer, 0 is false, a number is text digit by digit."""
    assert made(spec, RECORD, expects) == result


@pytest.mark.parametrize(
    ("spec", "expects"),
    [
        ({"from": "a", "split": ","}, ValueType.TEXT),
        ({"from": "a", "localized": "de"}, ValueType.INTEGER),
        ({"from": "a", "metric": "kg"}, ValueType.LIST),
        ({"from": "a", "default": "x"}, ValueType.INTEGER),
    ],
)
def test_a_type_that_cannot_fit_is_refused_at_once(spec: object, expects: ValueType) -> None:
    """A target never gets a list where it wants text: the contract does not compile."""
    if expects is ValueType.TEXT:
        assert refusal(spec, {"a": "x,y"}, expects).code == "wrong_type"
        return
    if expects is ValueType.LIST:
        assert made(spec, {"a": "5"}, expects) == [{"amount": "5", "unit": "KILOGRAM"}]
        return
    with pytest.raises(InvalidMapping):
        compiler_for().mapping(spec, KEY, expects)


def test_a_contract_says_how_its_values_are_written() -> None:
    """One zone for all timestamps, one decimal separator for all numbers, unless a mapping has its own."""
    conversions = {ValueType.TIMESTAMP: {"zone": "Europe/Oslo"}, ValueType.DECIMAL: {"decimal": ","}}
    record = {"m": "2026-06-01 08:30", "p": "1,50", "q": "1.50"}
    for spec, expects, result in (
        ("m", ValueType.TIMESTAMP, "2026-06-01T06:30:00Z"),
        ("p", ValueType.DECIMAL, "1.5"),
        ({"from": "p", "money": "EUR"}, ValueType.DECIMAL, "1.50"),
        ({"from": "p", "steps": ["trim", "decimal"]}, ValueType.ANYTHING, "1.5"),
        ({"from": "q", "decimal": {"decimal": "."}}, ValueType.DECIMAL, "1.5"),
        ({"from": "q", "money": {"currency": "EUR", "decimal": "."}}, ValueType.DECIMAL, "1.50"),
    ):
        assert made(spec, record, expects, conversions=conversions) == result
    with pytest.raises(InvalidMapping, match=r"payload\.x\.date\.zone: 'Oslo' is not a time zone"):
        compiler_for(conversions={ValueType.TIMESTAMP: {"zone": "Oslo"}}).mapping("m", KEY, ValueType.TIMESTAMP)


def test_a_list_is_refused_where_one_value_is_wanted() -> None:
    """A transform of items takes a list; a target of one value does not."""
    spec = {"from": "a", "money": "EUR"}
    assert made(spec, {"a": ["1", 2]}) == ["1.00", "2.00"]
    assert made(spec, {"a": ["1", 2]}, ValueType.LIST) == ["1.00", "2.00"]
    assert made(spec, {"a": "1.5"}, ValueType.DECIMAL) == "1.50"
    assert refusal(spec, {"a": ["1", 2]}, ValueType.DECIMAL).code == "not_a_number"
    assert refusal({"from": "a", "trim": True}, {"a": ["x"]}, ValueType.TEXT).code == "wrong_type"


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("transform", [{}, {"trim": True}, {"steps": ["trim", {"case": "lower"}]}])
def test_blank_values_follow_the_policy(blank: object, transform: dict[str, object]) -> None:
    """Absent, null, empty and space alone are blank, whatever the transform: skipped, null, withdrawn, refused."""
    record = {} if blank is UNSET else {"a": blank}
    spec = {"from": "a", **transform}
    assert made(spec, record) is UNSET
    assert made({**spec, "blank": "skip"}, record) is UNSET
    assert made({**spec, "blank": "null"}, record) is None
    assert made({**spec, "blank": "withdraw"}, record) is WITHDRAW
    assert made({**spec, "default": "none"}, record) == "none"
    for required in ({"blank": "refuse"}, {"required": True}):
        error = refusal({**spec, **required}, record)
        assert (error.code, error.key, error.path) == ("blank", KEY, "a")
        assert str(error) == "payload.x of `a`: null is blank, and a value is required"


@pytest.mark.parametrize("value", [0, False, [], {}, "0"])
def test_zero_false_and_empty_lists_are_values(value: object) -> None:
    """Missing is not zero: only what is blank follows the policy for blanks."""
    assert made({"from": "a", "blank": "withdraw"}, {"a": value}) == value


def test_a_default_is_a_copy() -> None:
    """Whoever changes what a record made does not change the contract."""
    mapping = compiler_for().mapping({"from": "a", "default": ["x"]}, KEY)
    first = mapping.read({})
    assert isinstance(first, list)
    first.append("y")
    assert mapping.read({}) == ["x"]


def test_a_mapping_says_what_it_reads() -> None:
    """Every path, wherever it is in the mapping, so that what nothing reads can be found."""
    spec = {"from": "price", "money": {"currency": {"first_of": ["cur", {"from": "c.code"}]}}}
    mapping = compiler_for().mapping(spec, KEY)
    assert mapping.paths == {"price", "cur", "c.code"}
    assert mapping.output is ValueType.ANYTHING
    assert compiler_for().mapping({"constant": 1}, KEY).paths == frozenset()
    members: dict[str, object] = {"a": "inner", "b": "$.cur", "c": {"from": "deep", "each": {"value": "$.$.top"}}}
    assert compiler_for().mapping({"from": "tiers", "each": {"members": members}}, KEY).paths == {"tiers", "cur", "top"}
    columns = compiler_for().mapping({"locale_columns": "name-{locale}"}, KEY)
    assert columns.paths == frozenset()
    assert columns.patterns == {"name-{locale}"}


def test_columns_have_any_name() -> None:
    """A column's name is taken to the letter: dots and all."""
    assert made("price.net", {"price.net": "1"}, scope=ColumnScope()) == "1"
    assert made("price.net", {"price": {"net": "1"}}, scope=ColumnScope()) is UNSET


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.0.b", 1),
        ("a.1", 2),
        ("a.9", UNSET),
        ("a.b", UNSET),
        ("n.5", "five"),
        ("a.-1", UNSET),
        ("$.a.1", 2),
        ("t.0", UNSET),
    ],
)
def test_paths_go_through_objects_and_lists(path: str, value: object) -> None:
    """An index is a place in a list, and a name in an object; what is not there is absent, and no error."""
    assert made(path, {"a": [{"b": 1}, 2], "n": {"5": "five"}, "t": "text"}) == value


def test_an_error_names_its_place_and_transform() -> None:
    """The place in the contract, the path, a short part of the value, the reason, the transform."""
    error = refusal({"from": "p", "steps": ["trim", {"money": "EUR"}]}, {"p": "12,50 " + "x" * 100})
    assert (error.key, error.path, error.transform, error.code) == (KEY, "p", "money", "not_a_number")
    assert len(str(error)) < 250
    assert str(error).startswith("payload.x of `p`: '12,50 xxx")


def test_definitions_are_used_by_name() -> None:
    """A definition may use another one, and is compiled in its place."""
    definitions = {"name": {"first_of": ["title", {"use": "code"}]}, "code": {"from": "sku", "case": "lower"}}
    assert made({"use": "name"}, {"sku": "TEE"}, definitions=definitions) == "tee"


@pytest.mark.parametrize(
    ("definitions", "cycle"),
    [
        ({"a": {"use": "a"}}, "a -> a"),
        (
            {
                "a": {"use": "b"},
                "b": {"first_of": ["x", {"use": "c"}]},
                "c": {"computed": {"template": "{{ v }}", "with": {"v": {"use": "a"}}}},
            },
            "a -> b -> c -> a",
        ),
    ],
)
def test_definitions_do_not_use_themselves(definitions: dict[str, object], cycle: str) -> None:
    """A circle is found when the contract is compiled, and shown."""
    with pytest.raises(InvalidMapping, match=f"the definition uses itself: {cycle}"):
        compiler_for(definitions=definitions).mapping({"use": "a"}, KEY)


def test_definitions_do_not_explode() -> None:
    """Definitions that use each other twice, thirty deep, are refused in bounded time."""
    definitions = {f"d{n}": {"first_of": [{"use": f"d{n + 1}"}, {"use": f"d{n + 1}"}]} for n in range(30)}
    with pytest.raises(InvalidMapping, match="nested deeper than 48 levels"):
        compiler_for(definitions={**definitions, "d30": "x"}).mapping({"use": "d0"}, KEY)
    wide = {f"d{n}": {"first_of": [{"use": f"d{n + 1}"}] * 40} for n in range(4)}
    with pytest.raises(InvalidMapping, match="more than 100,000 expressions"):
        compiler_for(definitions={**wide, "d4": "x"}).mapping({"use": "d0"}, KEY)


def test_what_is_not_mapped_is_reported() -> None:
    """Values that a table lacks, and names that are not locales, reach the signal with their place."""
    seen: list[tuple[str, str, str]] = []
    compiler = compiler_for(signal=lambda *what: seen.append(what))
    compiler.mapping({"from": "c", "lookup": {"values": {"a": "b"}}}, "payload.c").read({"c": "z"})
    compiler.mapping({"from": "t", "localized": {}}, "payload.t").read({"t": {"german": "x", "de": "y"}})
    compiler.mapping({"from": "c", "lookup": {"values": {"a": "b"}, "unmapped": "skip"}}, "payload.c").read({"c": "z"})
    assert seen == [("lookup", "payload.c.lookup", "z"), ("locale", "payload.t.localized", "german")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values)
def test_a_direct_value_is_json_or_refused(value: object) -> None:
    """A value comes through as JSON and twice the same, or is refused; the record is never changed."""
    record = {"a": value}
    before = deepcopy(record)
    mapping = compiler_for().mapping("a", KEY)
    with suppress(InvalidValue):
        first = mapping.read(record)
        assert mapping.read(record) == first
        assert not _has_decimal(first)
    assert record == before


def _has_decimal(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_has_decimal, value))
    return any(map(_has_decimal, value.values())) if isinstance(value, dict) else isinstance(value, Decimal)
