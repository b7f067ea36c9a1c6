"""The differences between two documents are the same, whether equal parts are left out or compared."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pagefold.projections.field_changes import changes_between, differing_leaves, flatten
from tests.support.strategies import texts

names = st.sampled_from(["a", "b", "c"])  # in paths of documents, names with dots are those of other fields
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | texts(1),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(names, inside, max_size=3),
    max_leaves=20,
)


@given(before=documents, after=documents)
@settings(max_examples=500)
def test_parts_that_are_equal_have_no_differences(before: Any, after: Any) -> None:  # noqa: ANN401  # JSON
    """The differing leaves have all differences, and are leaves of the documents."""
    leaves, others = differing_leaves(before, after, "x")
    whole, other = flatten(before, "x"), flatten(after, "x")
    assert changes_between(leaves, others) == changes_between(whole, other)
    assert leaves.items() <= whole.items()
    assert others.items() <= other.items()


def test_what_is_equal_is_left_out() -> None:
    """Of a document with many fields, only those are compared that may differ."""
    before: Any = {"a": 1, "b": {"c": [1, {"d": 2}], "e": 3}}
    after: Any = {"a": 1, "b": {"c": [1, {"d": 4}], "e": 3}}
    assert differing_leaves(before, after) == ({"b.c[1].d": 2}, {"b.c[1].d": 4})
