"""Values by which a source says that there is nothing: blank everywhere, except where a boolean is meant."""

import tomllib
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.field_observer import FieldObserver
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.projections.transforms import InvalidMapping

HEAD = 'name = "odoo"\nsku = "code"\nsourceVersion = "rev"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'
FALSE = "nulls = [false]\n"


def read(text: str, record: object) -> Reading:
    """What a contract makes of a record."""
    return Contract(tomllib.loads(text), source="odoo", channels=()).read(record)


def payload(text: str, **record: object) -> Any:  # noqa: ANN401  # JSON
    """The payload of the one statement of a record."""
    [event] = read(text, {"code": "A", "rev": 1, **record}).events
    assert isinstance(event.payload, bytes)
    return msgspec.json.decode(event.payload)


CATALOG = HEAD + "[catalog]\nenabled = 'active'\nfamily = 'family'\ncategories = 'tags'\nattributes.color = 'color'\n"


def test_false_is_no_value_where_no_boolean_is_taken() -> None:
    """As Odoo writes that a text, a number, a list or a record is not there; a boolean field keeps it."""
    record = {"active": False, "family": False, "tags": False, "color": False}
    assert payload(FALSE + CATALOG, **record) == {"enabled": False}
    assert payload(CATALOG, **{**record, "family": None, "tags": None}) == {
        "enabled": False,
        "attributes": {"color": False},
    }
    whole = {"active": True, "family": "shoes", "tags": ["new"], "color": "red"}
    assert payload(FALSE + CATALOG, **whole)["attributes"] == {"color": "red"}


def test_a_mapping_may_say_that_its_value_is_a_boolean() -> None:
    """Where the place takes anything: by the transform that makes one, alone or as a step."""
    text = FALSE + HEAD + "[catalog]\nattributes.a = { from = 'x', boolean = true }\n"
    assert payload(text, x=False) == {"attributes": {"a": False}}
    text = FALSE + HEAD + "[catalog]\nattributes.a = { from = 'x', steps = ['boolean'] }\nattributes.b = 'x'\n"
    assert payload(text, x=False) == {"attributes": {"a": False}}


def test_the_next_of_several_paths_is_taken() -> None:
    """What is blank is passed over, inside of a mapping as well; a default counts."""
    text = (
        FALSE + HEAD + '[catalog]\nattributes.a = { first_of = ["x", "y"] }\nfamily = { from = "x", default = "z" }\n'
    )
    assert payload(text, x=False, y="found") == {"attributes": {"a": "found"}, "family": "z"}


def test_each_value_is_compared_as_its_own_type() -> None:
    """0 and "false" are values where false is none; numbers and texts may be nulls, too."""
    text = HEAD + "[catalog]\n" + "".join(f"attributes.{name} = '{name}'\n" for name in "abcde")
    record = {"a": 0, "b": "false", "c": "N/A", "d": -1, "e": Decimal("-1.0")}
    assert payload(FALSE + text, **record)["attributes"].keys() == set("abcde")
    assert payload('nulls = ["N/A", -1]\n' + text, **record) == {"attributes": {"a": 0, "b": "false"}}
    assert payload('nulls = ["N/A", -1]\n' + text, c=" N/A ", a=True, b=1) == {"attributes": {"a": True, "b": 1}}


def test_filters_and_conditions_that_name_it_see_it() -> None:
    """Both say what they mean by it; a condition that does not name it finds it blank."""
    text = FALSE + HEAD + "[catalog]\nonly = { sold = [true] }\nwithdraw = { active = [false] }\nfamily = 'f'\n"
    assert read(text, {"code": "A", "rev": 1, "sold": False}).left_out == 1
    [event] = read(text, {"code": "A", "rev": 1, "sold": True, "active": False}).events
    assert event.payload is None
    when = "attributes.a = { when = { value = 'x', one_of = [false], then = { constant = 'no' }, otherwise = 'y' } }\n"
    text = FALSE + HEAD + "[catalog]\n" + when
    assert payload(text, x=False, y=False) == {"attributes": {"a": "no"}}
    assert payload(text, x=True, y=False) == {}
    filled = when.replace("one_of = [false]", "filled = false")
    assert payload(FALSE + HEAD + "[catalog]\n" + filled, x=False) == {"attributes": {"a": "no"}}


def test_a_field_of_the_event_is_refused_as_blank() -> None:
    """An article without an SKU is no statement of the SKU `False`."""
    reading = read(FALSE + CATALOG, {"code": False, "rev": 1})
    assert (reading.events, [refusal.error.code for refusal in reading.refusals]) == ([], ["blank"])


def test_items_of_lists_are_read_alike() -> None:
    """A path of an item is a path."""
    text = (
        FALSE
        + HEAD
        + "items = 'lines'\n[pricing]\ncurrency = { constant = 'EUR' }\namount = 'price'\ntaxClass = 'tax'\n"
    )
    text = text.replace('"code"', '"$.code"').replace('"rev"', '"$.rev"')
    assert payload(text, lines=[{"price": 5, "tax": False}]) == {"currency": "EUR", "amount": "5"}


def test_a_field_that_is_always_null_is_not_in_the_ledger() -> None:
    """So that its type does not seem to change when it has a value."""
    compiled = Contract(tomllib.loads(FALSE + CATALOG), source="odoo", channels=())
    compiled.observer = FieldObserver(compiled.fields, compiled.family, sampled=1)
    compiled.read({"code": "A", "rev": 1, "color": False, "size": False, "name": "x"})
    assert sorted(path for _, path in compiled.observer.take().fields) == ["code", "name", "rev"]


def test_lists_are_no_nulls() -> None:
    """A null is a text, a number or a boolean."""
    with pytest.raises(InvalidMapping, match="nulls"):
        read("nulls = [[]]\n" + CATALOG, {})
