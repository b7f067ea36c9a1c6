"""Records that become one: those with the same key, those of a tree, main records with those that know them."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.intake.contracts import record_groups
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.engine.intake.contracts.record_groups import RecordGroups, joined_records
from pagefold.projections.transforms import InvalidMapping
from tests.intake.contracts.test_contract import contract, payload, said

HEAD = 'versions = "none"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\nsku = "sku"\n'
STOCK = HEAD + '[join]\nby = "sku"\n[inventory]\navailable = { from = "records", total = "quantity" }\n'
TREE = HEAD.replace('sku = "sku"\n', "") + (
    '[join]\nid = "id"\nparent = "up"\n'
    '[[catalog]]\neach = "records"\nsku = "sku"\nonly = { kind = ["variant"] }\nattributes.title = "$.title"\n'
)
ROLES = HEAD + (
    '[join.keys]\nid = "id"\nsku = "sku"\n'
    '[join.with.parents]\nfrom = "records"\nid = "children"\n'
    '[join.with.german]\nfrom = "german"\nsku = "sku"\n'
    '[catalog]\nattributes.title = { first_of = ["german.0.title", "title"] }\nparent = "parents.0.sku"\n'
)


def read(text: str, message: object, form: Form = "json") -> Reading:
    """What a contract makes of one message."""
    return contract(text, form).read(message)


def joined(compiled: Contract, *parts: tuple[str, Sequence[object]]) -> Reading:
    """What a contract makes of the records of several parts of a snapshot."""
    assert compiled.join is not None
    reading = Reading()
    with RecordGroups(compiled.join) as groups:
        for part, records in parts:
            for row, record in enumerate(records, 1):
                groups.add(part, row, record)
        groups.join()
        reading.left_out += groups.left_out
        for group in groups:
            compiled.read_group(group, reading)
    return reading


# --- records with the same key --------------------------------------------------------------------

QUANTS = [
    {"sku": "A", "quantity": 5},
    {"sku": "B", "quantity": "1.50"},
    {"sku": "A", "quantity": 3},
    {"sku": "A", "quantity": None},
]


def test_records_with_one_key_are_one() -> None:
    """Each key makes one statement, in the order of its first record; a message may be the array of the records."""
    assert read(STOCK, []) == Reading()
    assert said(read(STOCK, [QUANTS[0], *QUANTS[2:]])) == [("inventory", "A", {"available": 8})]


def test_a_contract_with_items_joins_those_of_the_message() -> None:
    """Paths of the message are read as always, with `$.`."""
    text = STOCK.replace("[join]", 'items = "rows"\n[join]') + 'safetyStock = "$.reserve"\n'
    found = read(text, {"reserve": 2, "rows": QUANTS[:1] + QUANTS[2:]})
    assert said(found) == [("inventory", "A", {"available": 8, "safetyStock": 2})]


def test_the_joined_record_is_the_first_with_all_of_them() -> None:
    """Its own members are those of the first record; an order sorts the records, numbers before texts."""
    text = HEAD + '[join]\nby = ["sku", "shop"]\norder = "place"\n[catalog]\nattributes.first = "name"\n'
    text += 'attributes.names = { from = "records", each = { value = "name" } }\n'
    rows = [
        {"sku": "A", "shop": 1, "name": "z", "place": 10},
        {"sku": "A", "shop": 1, "name": "a", "place": 9},
        {"sku": "A", "shop": 2, "name": "x"},
        {"sku": "A", "shop": 1, "name": "m", "place": "text"},
        {"sku": "A", "shop": 1, "name": "n"},
    ]
    assert [event for _, _, event in said(read(text, rows))] == [
        {"attributes": {"first": "z", "names": ["a", "z", "m", "n"]}},
        {"attributes": {"first": "x", "names": ["x"]}},
    ]


def test_records_without_a_key_stand_alone_or_continue() -> None:
    """Without `continued`, two rows without a key are two; with it, they belong to the row before them."""
    text = HEAD + '[join]\nby = "sku"\n[media]\nassets = { from = "records", each = { members = { url = "url" } } }\n'
    rows = [{"sku": "A", "url": "a1"}, {"sku": "", "url": "a2"}, {"sku": "B", "url": "b1"}, {"sku": None, "url": "b2"}]
    alone = read(text, rows, "columns")
    assert [len(event["assets"]) for _, _, event in said(alone)] == [1, 1]
    assert [refusal.error.code for refusal in alone.refusals] == ["blank", "blank"]
    found = read(text.replace('by = "sku"', 'by = "sku"\ncontinued = true'), rows, "columns")
    assert [(sku, [each["url"] for each in event["assets"]]) for _, sku, event in said(found)] == [
        ("A", ["a1", "a2"]),
        ("B", ["b1", "b2"]),
    ]


def test_what_continues_a_record_that_is_left_out_is_left_out() -> None:
    """It never belongs to the record before that one."""
    text = HEAD + '[join]\nby = "sku"\ncontinued = true\nonly = { state = ["on", ""] }\n'
    text = text.replace('["on", ""]', '["on", "more"]') + "[catalog]\n"
    text += 'attributes.names = { from = "records", each = { value = "name" } }\n'
    rows = [
        {"sku": "A", "state": "on", "name": "a"},
        {"sku": "B", "state": "off", "name": "b"},
        {"sku": "", "state": "more", "name": "b2"},
    ]
    found = read(text, rows)
    assert said(found) == [("catalog", "A", {"attributes": {"names": ["a"]}})]
    assert found.left_out == 2


def test_a_key_that_is_none_refuses_the_message() -> None:
    """An object is no key: nothing of the message is stated, as the record could belong to any group."""
    found = read(STOCK, [{"sku": "A", "quantity": 1}, {"sku": {"x": 1}, "quantity": 2}])
    assert not found.statements
    [refusal] = found.refusals
    assert str(refusal.error) == "join.by of `sku`: an object of 1 is no key: expected a text or an integer"


def test_a_group_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group beyond it is refused as a whole; others are not."""
    monkeypatch.setattr(record_groups, "MAX_GROUP_RECORDS", 2)
    found = read(STOCK, QUANTS)
    assert [sku for _, sku, _ in said(found)] == []
    assert [refusal.error.code for refusal in found.refusals] == ["too_many", "not_an_integer"]


# --- trees ----------------------------------------------------------------------------------------

LINES: list[dict[str, Any]] = [
    {"id": "p1", "kind": "product", "title": "Tee"},
    {"id": "g1", "up": "p1", "kind": "group"},
    {"id": "v1", "up": "g1", "kind": "variant", "sku": "TEE-S"},
    {"id": "v2", "up": "p1", "kind": "variant", "sku": "TEE-M"},
    {"id": "p2", "kind": "product", "title": "Mug"},
    {"id": "v3", "up": "p2", "kind": "variant", "sku": "MUG"},
    {"up": "p2", "kind": "variant", "sku": "MUG-2"},
]
TITLES = {"TEE-S": "Tee", "TEE-M": "Tee", "MUG": "Mug", "MUG-2": "Mug"}


@given(st.permutations(LINES))
def test_a_tree_is_one_record_whatever_the_order_of_its_lines(lines: list[dict[str, Any]]) -> None:
    """The root is found over several levels, before or after its children."""
    found = read(TREE, lines)
    assert {sku: event["attributes"]["title"] for _, sku, event in said(found)} == TITLES
    assert not found.refusals


def test_lines_without_a_root_are_refused() -> None:
    """A parent that is nowhere, and lines in a circle, are refused; the other trees are stated."""
    lost = [
        {"id": "x", "up": "nowhere", "sku": "X", "kind": "variant"},
        {"id": "a", "up": "b", "sku": "Y", "kind": "variant"},
        {"id": "b", "up": "a", "sku": "Z", "kind": "variant"},
        {"id": "c", "up": "c", "sku": "C", "kind": "variant"},
    ]
    found = read(TREE, [*lost, *LINES])
    assert {sku for _, sku, _ in said(found)} == TITLES.keys()
    assert [str(each.error) for each in found.refusals][:2] == [
        "join.parent: 'nowhere' is the parent that it names, and no root is above it",
        "join.parent: 'b' is the parent that it names, and no root is above it",
    ]
    assert len(found.refusals) == 4


def test_what_is_below_a_record_that_is_left_out_is_left_out() -> None:
    """It has no root any more, which is no error."""
    text = TREE.replace('parent = "up"\n', 'parent = "up"\nonly = { state = ["on"] }\n')
    lines = [{"state": "off" if each["id"] == "p1" else "on", **each} for each in LINES[:6]]
    found = read(text, lines)
    assert [sku for _, sku, _ in said(found)] == ["MUG"]
    assert (found.left_out, found.refusals) == (4 + 1, [])  # and the root, which is no variant


# --- main records, and those that know them -------------------------------------------------------

MAIN: list[dict[str, Any]] = [
    {"id": 1, "sku": "P", "title": "Jacket", "children": [2, 3, 99]},
    {"id": 2, "sku": "P-S", "title": "Jacket S"},
    {"id": "3", "sku": "P-M", "title": "Jacket M"},
]
GERMAN: list[dict[str, Any]] = [{"sku": "P-M", "title": "Jacke M"}, {"sku": "GONE", "title": "Weg"}, {"title": "x"}]


@pytest.mark.parametrize("seed", range(5))
def test_main_records_have_what_knows_them(seed: int) -> None:
    """A parent that lists ids joins to each; a record of another part by its SKU, and to none that is not there."""
    shuffle = random.Random(seed).shuffle
    main, german = MAIN[:], GERMAN[:]
    shuffle(main)
    shuffle(german)
    found = joined(contract(ROLES), ("records", main), ("german", german))
    assert {sku: payload(event) for sku, event in ((event.sku, event) for event in found.events)} == {
        "P": {"attributes": {"title": "Jacket"}},
        "P-S": {"attributes": {"title": "Jacket S"}, "parent": "P"},
        "P-M": {"attributes": {"title": "Jacke M"}, "parent": "P"},
    }
    assert found.left_out == 2


def test_a_message_brings_its_roles_itself() -> None:
    """A record that was kept with what it was joined to is the same when it is read again."""
    kept = {**MAIN[1], "parents": [MAIN[0]], "german": [{"title": "Jacke S"}]}
    assert said(read(ROLES, kept)) == [("catalog", "P-S", {"attributes": {"title": "Jacke S"}, "parent": "P"})]


def test_a_record_without_any_key_is_no_main_record() -> None:
    """It only joins to others: rows of an export that have what differs in a language."""
    text = HEAD + '[join]\nkeys.sku = { when = { value = "view", filled = false, then = "sku" } }\n'
    text += 'with.views = { from = "records", sku = "sku" }\n[catalog]\n'
    text += 'attributes.german = { from = "views", pick = { where = { view = "de" }, value = "name" } }\n'
    rows = [
        {"sku": "A", "view": "", "name": "Tee"},
        {"sku": "A", "view": "de", "name": "Hemd"},
        {"sku": "B", "view": "de", "name": "x"},
    ]
    found = read(text, rows, "columns")
    assert said(found) == [("catalog", "A", {"attributes": {"german": "Hemd"}})]
    assert found.left_out == 1


# --- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "join: needs one of `by`, `id` with `parent`, and `keys` with `with`"),
        ({"by": "a", "id": "b", "parent": "c"}, "join: needs one of .* not several"),
        ({"id": "b"}, "join.parent: is required"),
        ({"keys": {"id": "id"}}, "join.with: is required"),
        ({"id": "b", "parent": "c", "continued": True}, "join.continued: goes with `by`"),
        ({"keys": {"id": "id"}, "with": {"x": {"from": "y", "id": "i"}}, "order": "a"}, "join.order: goes with"),
        ({"keys": {"id": "id"}, "with": {"x": {"id": "i"}}}, "join.with.x.from: expected"),
        ({"keys": {"id": "id"}, "with": {"x": {"from": "y"}}}, "join.with.x: needs one of join.keys: id"),
        ({"keys": {"id": "id"}, "with": {"x": {"from": "y", "sku": "s"}}}, "join.with.x.sku: is not among join.keys"),
        ({"by": {"from": "a", "nonsense": 1}}, "join.by"),
    ],
)
def test_a_join_that_cannot_be_is_an_error_with_its_place(table: dict[str, object], problem: str) -> None:
    """Each form needs its keys, and no others."""
    document = {"sku": "sku", "versions": "none", "occurredAt": "@taken", "catalog": {}, "join": table}
    with pytest.raises(InvalidMapping, match=f"^{problem}"):
        Contract(document, source="shop", channels=())


def test_fields_of_joined_records_are_those_of_each() -> None:
    """Those that are read in the whole list count as read; the list itself, and roles, are no fields."""
    fields = contract(TREE).fields
    assert {field.path: field.mapped for field in fields.of({**LINES[2], "records": [1], "note": "x"})} == {
        "id": True,
        "up": True,
        "kind": True,
        "sku": True,
        "note": False,
    }
    assert [field.mapped for field in contract(STOCK).fields.of({"sku": "A", "quantity": 1})] == [True, True]
    german = {"sku": "A", "german": [{"other": 1}], "parents": []}
    assert [field.path for field in contract(ROLES).fields.of(german)] == ["sku"]


def test_groups_come_in_the_order_of_their_first_records() -> None:
    """So a report reads as the export does."""
    join = contract(STOCK).join
    assert join is not None
    groups, left_out = joined_records(join, QUANTS)
    assert [len(group.records) for group in groups] == [3, 1]
    assert left_out == 0
