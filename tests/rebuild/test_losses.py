"""Finding the values that corrections would remove, for single payloads and for whole chunks."""

import string
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.domains.domain import encode
from pagefold.engine.rebuild.losses import MAX_PATHS, MAX_SAMPLES, SUSPECTS_ROWS, Losses, find_suspects, lost_values
from pagefold.engine.rebuild.row_comparer import PendingRepair


def pending(before: object, content: object, *, topic: str = "catalog", number: int = 1) -> PendingRepair:
    """A correction of one payload by another."""
    had = b"" if before is None else encode(before)
    return PendingRepair(f"{number}/*/{topic}/pim", 1, 1, topic, b"", number, "changed", had, encode(content))


@pytest.mark.parametrize(
    ("before", "content", "lost"),
    [
        ({"attributes": {"a": 1}}, {"attributes": {"a": 0}}, []),
        ({"attributes": {"a": True}}, {"attributes": {"a": False}}, []),
        ({"attributes": {"a": "x"}}, {"attributes": {"a": " "}}, []),
        ({"attributes": {"a": "x"}}, {"attributes": {"a": ""}}, ["", "attributes", "attributes.a"]),
        ({"attributes": {"a": "x"}, "family": "f"}, {"family": "f"}, ["attributes", "attributes.a"]),
        ({"attributes": {"a": ""}}, {}, []),
        ({"attributes": {"a": [[], {}]}}, {}, []),
        ({"attributes": {"a": [1]}}, {"attributes": {"a": []}}, ["", "attributes", "attributes.a"]),
        ({"attributes": {"a": {"b": 1}}}, {"attributes": {"a": 1}}, []),
        ({"attributes": {"a": {"b": 1, "c": 2}}}, {"attributes": {"a": {"c": 2}}}, ["attributes.a.b"]),
        ({"attributes": {"a1": 1}}, {"attributes": {"a2": 1}}, ["attributes.a1"]),
        ({"attributes": {"a.b": 1}}, {"attributes": {"c": 1}}, ["attributes.a.b"]),
        ({"family": "f"}, None, ["", "family"]),
        (None, {"family": "f"}, []),
        ({"enabled": False, "family": "f"}, {"family": "f"}, []),
        ({"family": "f"}, {"enabled": False, "family": "f"}, [""]),
        ({"enabled": False, "family": "f"}, {"enabled": False, "family": "g"}, []),
    ],
)
def test_what_a_payload_loses(before: object, content: object, lost: list[str]) -> None:
    """A path is lost if its value becomes absent, null or empty. Zero, false and blanks are values."""
    assert [path for path, _ in lost_values("catalog", encode(before) if before else b"", encode(content))] == lost


def test_what_is_left_out_because_it_is_usual_is_no_loss() -> None:
    """An omitted default is a value: a safety stock of two becomes zero, and backorderable becomes false."""
    before = {"available": 3, "safetyStock": 2, "backorderable": True, "restockAt": "2026-01-01T00:00:00Z"}
    assert [path for path, _ in lost_values("inventory", encode(before), encode({"available": 3}))] == ["restockAt"]


names = st.text(string.ascii_letters + string.digits + '.-":\\ ', min_size=1, max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text('ab12.-":\\ ', max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
payloads = st.dictionaries(names, values, max_size=3)


@given(st.lists(st.tuples(payloads, payloads | st.none(), st.booleans()), max_size=6))
def test_a_page_is_told_as_its_rows_are(pairs: list[tuple[object, Mapping[str, object] | None, bool]]) -> None:
    """Corrections that are cleared by their bytes remove nothing, whatever their payloads are."""
    page = [
        pending(before, before if same else content, number=number)
        for number, (before, content, same) in enumerate(pairs)
    ]
    harmless, removing = Losses().split(page)
    assert removing == [each for each in page if lost_values("catalog", each.before, each.content)]
    assert harmless == [each for each in page if each not in removing]


@given(st.lists(st.tuples(names, st.integers(0, 99), names, st.integers(0, 99)), min_size=1, max_size=4))
def test_digits_in_names_are_seen(rows: list[tuple[str, int, str, int]]) -> None:
    """Field names that differ only in digits are different names."""
    page = [pending({"a": {old: one}}, {"a": {new: other}}) for old, one, new, other in rows]
    _, removing = Losses().split(page)
    assert removing == [each for each, (old, _, new, _) in zip(page, rows, strict=True) if old != new]


def test_one_odd_payload_makes_few_others_suspect() -> None:
    """A payload with a removal makes only the corrections of its own group suspects."""
    page = [pending({"a": {"b": number}}, {"a": {"b": number + 1}}, number=number) for number in range(1_000)]
    assert find_suspects(page) == []
    page[500] = pending({"a": {"b": "x"}}, {"a": {"b": ""}}, number=500)
    suspects = find_suspects(page)
    assert page[500] in suspects
    assert len(suspects) <= SUSPECTS_ROWS
    assert Losses().split(page, suspects) == Losses().split(page) == ([*page[:500], *page[501:]], [page[500]])


def test_very_many_paths_are_bounded() -> None:
    """Paths are counted up to a limit; the object that contains them is counted in full."""
    losses = Losses()
    losses.split([pending({"attributes": {f"a{number}": 1}}, {}, number=number) for number in range(3 * MAX_PATHS)])
    found = losses.above(0, 0)
    assert len(found) == MAX_PATHS
    assert [(loss.path, loss.streams, len(loss.samples)) for loss in found[:2]] == [
        ("", 3 * MAX_PATHS, MAX_SAMPLES),
        ("attributes", 3 * MAX_PATHS, MAX_SAMPLES),
    ]


def test_orphans_add_to_what_loses_everything() -> None:
    """Orphans are added to the root path, and to no other."""
    losses = Losses()
    losses.split([pending({"attributes": {"a": 1}, "family": "f"}, {}, number=number) for number in range(3)])
    assert [loss.path for loss in losses.above(3, 0)] == []
    assert [loss.path for loss in losses.above(3, 1)] == [""]
    assert Losses().above(0, 100) == []
