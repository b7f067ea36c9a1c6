"""Paths that no record has stop a run, unless the contract says that they may be blank."""

import tomllib

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.missing_paths import missing_problem

HEAD = 'name = "shop"\nsku = "sku"\nsourceVersion = "rev"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'
CATALOG = HEAD + "[catalog]\n"
WHEN = 'attributes.n = { when = { value = "titel", filled = true, then = ? } }'
RECORD = {"sku": "A", "rev": 1, "titel": "Tee", "size": {"width": 3}}


def missing(text: str, *records: object, form: Form = "json") -> tuple[list[str], list[str]]:
    """The paths that none of the records has: those that stop a run, and the others."""
    compiled = Contract(tomllib.loads(text), source="shop", channels=(), form=form)
    reading = compiled.watchful_reading()
    for record in records:
        compiled.read(record, reading)
    found = compiled.missing_paths(reading)
    assert compiled.absent_paths(reading) == [(each.domain, each.path) for each in found if each.needed]
    return [each.path for each in found if each.needed], [each.path for each in found if not each.needed]


@pytest.mark.parametrize(
    ("mapping", "stops", "others"),
    [
        ('attributes.n = "titel"', [], []),
        ('attributes.n = "title"', ["title"], []),
        ('attributes.n = { from = "title", required = true }', ["title"], []),
        ('attributes.n = { from = "title", blank = "refuse" }', ["title"], []),
        ('attributes.n = { from = "title", default = "x" }', [], ["title"]),
        ('attributes.n = { from = "title", blank = "skip" }', [], ["title"]),
        ('attributes.n = { from = "title", blank = "withdraw" }', ["title"], []),
        ('attributes.n = { first_of = ["titel", "title"] }', [], ["title"]),
        ('attributes.n = { first_of = ["title", "name"] }', ["name", "title"], []),
        ('attributes.n = { first_of = ["title", { constant = "x" }] }', [], ["title"]),
        ('attributes.n = { first_of = ["title", "@taken"] }', [], ["title"]),
        ('attributes.n = { first_of = ["title", { from = "name", default = "x" }] }', [], ["name", "title"]),
        ('attributes.n = { first_of = ["title", { first_of = ["name", "titel"] }] }', [], ["name", "title"]),
        (WHEN.replace("?", '"title"'), ["title"], []),
        (WHEN.replace("?", '{ from = "title", default = 1 }'), [], ["title"]),
        ('attributes.w = "size.width"', [], []),
        ('attributes.h = "size.height"', [], ["size.height"]),
        ('attributes.h = "dimensions.height"', ["dimensions.height"], []),
        ('attributes.n = "titel"\nsku = "size.code"', ["size.code"], []),
        ('attributes.n = "titel"\nonly = { "size.unit" = ["cm"] }', ["size.unit"], []),
        ('attributes.n = "titel"\nwithdraw = { deleted = [true] }', [], ["deleted"]),
        ('each = "parts"\nsku = "$.sku"\nsourceVersion = "$.rev"\nattributes.c = "color"', [], []),
    ],
)
def test_a_path_that_no_record_has(mapping: str, stops: list[str], others: list[str]) -> None:
    """It stops a run unless something else stands in, blanks are provided for, or it is a member of what there is."""
    assert missing(CATALOG + mapping + "\n", RECORD, RECORD) == (stops, others)


def test_one_record_is_enough() -> None:
    """If only with a blank value."""
    text = CATALOG + 'attributes.n = "title"\n'
    assert missing(text, RECORD, RECORD | {"title": None}, RECORD) == ([], [])


def test_columns_are_no_members() -> None:
    """A dot in a column's name does not make it one."""
    text = CATALOG + 'attributes.n = "size.height"\n'
    assert missing(text, {"sku": "A", "rev": "1", "size.width": "2"}, form="columns") == (["size.height"], [])


def test_items_and_what_is_around_them() -> None:
    """Paths of both are looked for where they are."""
    text = (
        'items = "items"\n' + CATALOG.replace('"rev"', '"$.rev"') + 'attributes.a = "$.title"\nattributes.b = "color"\n'
    )
    message = {"rev": 1, "color": "not of the item", "items": [{"sku": "A", "title": "not of the message"}]}
    assert missing(text, message) == (["$.title", "color"], [])
    assert missing(text, {"rev": 1, "title": "x", "items": [{"sku": "A", "color": "y"}]}) == ([], [])


def test_elements_of_a_list() -> None:
    """A table of elements asks for its paths once an element was there."""
    text = (
        HEAD
        + '[pricing]\neach = "prices"\nsku = "$.sku"\nsourceVersion = "$.rev"\ncurrency = "cur"\namount = "price"\n'
    )
    assert missing(text, {"sku": "A", "rev": 1, "prices": []}) == ([], [])
    assert missing(text, {"sku": "A", "rev": 1, "prices": [{"cur": "EUR", "value": "1"}]}) == (["price"], [])


def test_the_problem_in_words() -> None:
    """Which path, for what, what is similar, what records have."""
    assert missing_problem([("catalog", "title")], ["code", "rev", "titel"]) == (
        "no record has `title`, which the contract reads for catalog; did you mean `titel`? "
        "records have code, rev, titel"
    )
    many = [f"c{number}" for number in range(30)]
    problem = missing_problem([("catalog", "x"), ("pricing", "x"), ("pricing", "y")], many)
    assert problem.startswith(
        "no record has `x` and `y`, which the contract reads for catalog and pricing; records have c0, c1"
    )
    assert problem.endswith("c19 and 10 more")
    assert missing_problem([("catalog", "x")], []).endswith("records have no names")


def test_a_pattern_that_no_column_fits() -> None:
    """Columns by locale that are named otherwise now stop a run, as a column does."""
    text = CATALOG + 'localized.name = { locale_columns = "name-{locale}" }\n'
    compiled = Contract(tomllib.loads(text), source="shop", channels=(), form="columns")
    assert compiled.absent_columns(["sku", "rev", "title-de"]) == [("catalog", "name-{locale}")]
    assert compiled.absent_columns(["sku", "rev", "name-de"]) == []
