"""What a filter or a condition accepts, however a system writes it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.projections.transforms.accepted_values import AcceptedValues


@pytest.mark.parametrize(
    ("accepted", "value", "expected"),
    [
        (True, "true", True),
        (True, "1", True),
        (True, 1, True),
        (True, "yes", False),
        (False, "0", True),
        (False, "", False),
        (False, None, False),
        (2, "2", True),
        (2, "2.00", True),
        (2, Decimal("2.0"), True),
        (2, "two", False),
        (1, True, False),
        ("1", 1, True),
        ("1", Decimal("1.00"), True),
        ("true", True, True),
        ("new", "new       ", True),
        ("new", "New", False),
        ("", " ", False),
        ("a", ["a"], False),
        ("a", {"a": 1}, False),
        (2**53, str(2**53), True),
    ],
)
def test_a_value_is_what_it_means(accepted: object, value: object, *, expected: bool) -> None:
    """Text, number or boolean: what the contract writes says which it is."""
    assert AcceptedValues([accepted]).has(value) is expected


@given(
    value=st.text() | st.integers() | st.booleans() | st.floats() | st.decimals() | st.lists(st.integers(), max_size=2)
)
def test_no_value_is_an_error(value: object) -> None:
    """Whatever a record has, also what is no number."""
    assert AcceptedValues(["a", 1, True]).has(value) in {True, False}
