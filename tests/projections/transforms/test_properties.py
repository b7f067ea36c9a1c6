"""What holds for every transform, whatever the value: types, declared refusals, same result twice, nothing changed."""

import json
import math
import sys
from collections.abc import Collection
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold.projections.transforms import AnyTransform, Example, InvalidValue, ValueType
from pagefold.projections.transforms.builtin import BUILTIN
from pagefold.projections.transforms.mapping import WRITTEN_REFUSALS
from pagefold.projections.transforms.value_types import has_type
from tests.support.shared_data import data_file
from tests.support.transform_fixtures import KEY, compiler_for, example_spec

BUILT = [
    pytest.param(transform, example, id=f"{transform.name}-{index}")
    for transform in BUILTIN
    for index, example in enumerate(transform.examples)
]

tricky_texts = st.sampled_from(
    [
        "NaN", "Infinity", "1e400", "1_000", "١٢٣", "+-1", "0x10", "-0", "--1", ".", "1.", "9" * 50,
        "\ud800", "a\ud800b", "\x00", "\ufeff1", "<" * 200, "{{ 7*7 }}", "%s%n", "a=b,=c", "e\u0301", "\u202eabc",
        "😀" * 50, "1,234.50", "1.234,50", "2026-02-30", "2026-01-01T25:00:00Z", "9999-12-31", "0000-00-00", "infinity",
        "24:00", "2026-10-25 02:30:00", "2026-03-29T02:30", "0001-01-01T00:00:00+14:00", "5 kg", "5,5 kg", "1 ’ m",
        "kg", "°C", "4006381333931", "0" * 14, "true", "TRUE ", "ﬁ", "ß", "İ", "de_DE", "zh-Hant-TW", "x" * 3_000,
    ]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**60, max_value=10**90)
    | st.floats()
    | st.decimals()
    | st.text(max_size=30)
    | tricky_texts
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
    | st.dates()
    | st.uuids()
)
records = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["amount", "unit", "locale", "data", "scope", "name", "value", "de", "en_US", "xx!", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def plain(value: object) -> object:
    """A value that is compared by what it is: nan equals nan, and UNSET itself."""
    if value is UNSET:
        return "UNSET"
    return repr(value)


@pytest.mark.parametrize(("transform", "declared"), BUILT)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=records, other=records)
def test_any_value_is_transformed_or_refused(
    transform: AnyTransform, declared: Example, value: object, other: object
) -> None:
    """No other error than a declared refusal; the declared type; JSON; the same twice; the record unchanged."""
    spec, record = example_spec(transform, declared)
    given_record = dict.fromkeys(record, other) | ({} if transform.reads_record else {"value": value})
    before = deepcopy(given_record)
    mapping = compiler_for(declared).mapping(spec, KEY)
    results = [outcome(mapping.read, given_record) for _ in range(2)]
    assert plain(results[0]) == plain(results[1])
    assert repr(given_record) == repr(before)
    result = results[0]
    if isinstance(result, Refused):
        assert result.code in {*refusals_of(result, transform), *WRITTEN_REFUSALS}
        assert len(result.text) < 600
    elif result is not UNSET:
        assert fits(result, transform)
        assert has_surrogates(result) or msgspec.json.decode(msgspec.json.encode(result)) == result


class Refused(msgspec.Struct, frozen=True):
    """A refusal, compared by its words."""

    code: str
    text: str
    transform: str = ""


def outcome(read: object, record: object) -> object:
    """What a mapping made, or how it refused."""
    try:
        return read(record)  # type: ignore[operator]  # it is a reader
    except InvalidValue as error:
        return Refused(error.code, str(error), error.transform)


def refusals_of(refused: Refused, transform: AnyTransform) -> Collection[str]:
    """What the transform that refused has declared: a part of the parameters may be another one."""
    names = {each.name: each.refusals for each in BUILTIN}
    return names.get(refused.transform, transform.refusals)


def fits(result: object, transform: AnyTransform) -> bool:
    """Whether a result has the declared type; of a transform of items, also a list of them."""
    if has_type(result, transform.output):
        return True
    return transform.per_item and isinstance(result, list) and all(has_type(each, transform.output) for each in result)


def has_surrogates(result: object) -> bool:
    """Whether a text came with half a surrogate pair, which the validator of events refuses."""
    return "\\ud" in repr(result)


@given(
    st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False)
)
@example(Decimal("1E+400"))
@example(Decimal("-0.0"))
def test_numbers_are_exact_or_refused(number: Decimal | float) -> None:
    """A number as text, as a decimal and as JSON is what it was, or is refused: nothing is rounded in silence."""
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    for name, back in (("decimal", Decimal), ("text", Decimal), ("number", lambda made: Decimal(repr(made)))):
        result = outcome(compiler_for().mapping({"from": "x", name: {}}, KEY).read, {"x": number})
        if not isinstance(result, Refused):
            assert back(result) == exact  # type: ignore[arg-type]  # each has its own kind of result


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6))
def test_a_number_is_the_same_whichever_way_it_comes(number: Decimal) -> None:
    """As text of CSV, as a number of JSON, as a decimal of a database: one result, and one refusal."""
    ways: list[object] = [format(number, "f"), number, f"+{number}" if number >= 0 else f"{number}", f" {number} "]
    if number == number.to_integral_value():
        ways.append(int(number))
    for spec in (
        {"from": "x", "decimal": {}},
        {"from": "x", "integer": {}},
        {"from": "x", "round": 2},
        {"from": "x", "money": "EUR"},
        {"from": "x", "convert": {"unit": "g", "to": "kg"}},
    ):
        read = compiler_for().mapping(spec, KEY).read
        results = [outcome(read, {"x": way}) for way in ways]
        assert len({each.code if isinstance(each, Refused) else repr(each) for each in results}) == 1


@pytest.mark.parametrize("transform", [each for each in BUILTIN if each.inputs], ids=lambda transform: transform.name)
def test_naughty_strings_are_transformed_or_refused(transform: AnyTransform) -> None:
    """Whatever breaks other software is a text like any: a result, or a declared refusal."""
    strings = json.loads(data_file("naughty", "blns.json").read_text("utf-8"))
    assert len(strings) > 500
    for declared in transform.examples:
        spec, record = example_spec(transform, declared)
        read = compiler_for(declared).mapping(spec, KEY).read
        for text in strings:
            result = outcome(read, {**record, "value": text})
            if isinstance(result, Refused):
                assert result.code in {*refusals_of(result, transform), *WRITTEN_REFUSALS}
            else:
                assert result is UNSET or fits(result, transform)


def test_the_types_of_databases_are_understood() -> None:
    """Decimals, dates, moments and ids of a driver have one form in JSON."""
    record = {
        "decimal": Decimal("1.50"),
        "date": date(2026, 1, 31),
        "moment": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "id": UUID(int=7),
    }
    assert [compiler_for().mapping(name, KEY).read(record) for name in record] == [
        1.5,
        "2026-01-31",
        "2026-01-31T12:00:00Z",
        "00000000-0000-0000-0000-000000000007",
    ]
    assert outcome(compiler_for().mapping("x", KEY).read, {"x": {1, 2}}) == Refused(
        "not_json", "payload.x of `x`: a value of type set has no JSON form"
    )


def test_every_type_has_a_meaning() -> None:
    """Each type is explained, and no value of another one has it."""
    assert {each for each in ValueType if not has_type({"x": math.inf}, each)} == set(ValueType) - {
        ValueType.ANYTHING,
        ValueType.OBJECT,
    }
    assert not has_type(sys.maxsize, ValueType.INTEGER)
    assert not has_type(True, ValueType.NUMBER)  # noqa: FBT003  # the value is the point
