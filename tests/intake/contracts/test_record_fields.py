"""The fields of records: which the contract reads, which it does not, how they are counted, which are refused."""

import tomllib

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.field_observer import COMPLETE_RECORDS, SAMPLED, FieldObserver
from pagefold.engine.intake.contracts.record_fields import KIND_BITS, kind_of, kinds_in

HEAD = 'name = "shop"\nsku = "sku"\nsourceVersion = "rev"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'
ITEMS = 'items = "variants"\n' + HEAD.replace('"rev"', '"$.rev"') + '[catalog]\nattributes.t = "$.title"'


def contract(text: str, form: Form = "json") -> Contract:
    """The contract in a text."""
    return Contract(tomllib.loads(text), source="shop", channels=(), form=form)


def unmapped(text: str, record: object, form: Form = "json") -> list[str]:
    """What a contract does not read of a message with one record."""
    compiled = contract(text, form)
    compiled.observer = FieldObserver(compiled.fields, compiled.family, sampled=1)
    compiled.read(record)
    return sorted(path for (_, path), counts in compiled.observer.take().fields.items() if not counts.mapped)


CATALOG = HEAD + "[catalog]\n"
LOCALES = 'localized.n = { locale_columns = "n-{locale}" }'
EACH = 'each = "xs"\nsku = "$.sku"\nsourceVersion = "$.rev"\nattributes.a = "v"'
IGNORES = 'ignore = ["b", "x_*", "o.p"]\n'


@pytest.mark.parametrize(
    ("text", "record", "expected"),
    [
        (CATALOG + 'attributes.a = "a"', {"a": 1, "b": 2, "c": "", "d": None, "e": [], "f": {}}, ["b"]),
        (CATALOG + 'attributes.a = "a.b"', {"a": {"b": 1, "c": 2}, "d": {"e": 1}}, ["a.c", "d"]),
        (CATALOG + 'attributes.a = "a"', {"a": {"b": 1}, "x.y": 1}, ["x\\.y"]),
        (CATALOG + "attributes.'*' = 'all'", {"all": {"b": 1}}, []),
        (CATALOG + "attributes.'*' = '$'", {"anything": 1}, []),
        (CATALOG + 'attributes.a = "a.1.b"', {"a": [{"b": 1}, {"b": 1, "c": 2}]}, ["a.1.c", "a.b"]),
        (CATALOG + LOCALES, {"n-de": "x", "n": "y", "m-de": "z"}, ["m-de", "n"]),
        (CATALOG + 'attributes.a = { from = "xs", each = { value = "v" } }', {"xs": [{"v": 1, "w": 2}]}, []),
        (CATALOG + 'attributes.a = "a"\nonly = { state = [1] }', {"state": 1, "b": 1}, ["b"]),
        (IGNORES + CATALOG + 'attributes.a = "o.a"', {"b": 1, "x_1": 1, "bb": 1, "o": {"p": 1}}, ["bb"]),
        (CATALOG + EACH, {"xs": [{"v": 1, "w": 2}], "y": 1}, ["xs.w", "y"]),
        (ITEMS, {"title": "x", "html": "y", "variants": [{"sku": "A", "size": 1}]}, ["$.html", "$.sku", "size"]),
    ],
)
def test_what_is_not_mapped(text: str, record: dict[str, object], expected: list[str]) -> None:
    """Every field with a value that nothing reads, as a path that the contract could have."""
    assert unmapped(text, {"sku": "A", "rev": 1, **record}) == expected


def test_columns_have_any_names() -> None:
    """A dot in the name of a column is no step."""
    text = HEAD + '[catalog]\nattributes.a = "a.b"\n'
    assert unmapped(text, {"sku": "A", "rev": "1", "a.b": "x", "a.c": "y", "b": " "}, "columns") == ["a.c"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("", "text"), (1, "number"), (1.5, "number"), (True, "boolean"), ([1], "list"), ({"a": 1}, "object")],
)
def test_kinds(value: object, kind: str) -> None:
    """As in JSON."""
    assert kind_of(value) == kind
    assert kinds_in(KIND_BITS[kind]) == [kind]


def test_counts_by_family() -> None:
    """The family is that of the catalog statement; a field is counted once a record, with all its kinds."""
    text = HEAD + '[catalog]\nfamily = { from = "type", case = "lower" }\nattributes.c = "xs.c"\n'
    compiled = contract(text)
    compiled.observer = FieldObserver(compiled.fields, compiled.family)
    for type_, value in (("Shirt", 1), ("Shirt", "x"), (None, True)):
        compiled.read({"sku": "A", "rev": 1, "type": type_, "xs": [{"c": value}, {"c": "y"}]})
    taken = compiled.observer.take()
    assert (taken.families, taken.records) == ({"shirt": 2, "": 1}, 3)
    shirts, others = taken.fields["shirt", "xs.c"], taken.fields["", "xs.c"]
    assert (shirts.records, kinds_in(shirts.types), shirts.example, shirts.mapped) == (2, ["text", "number"], "1", True)
    assert (others.records, kinds_in(others.types), others.example) == (1, ["text", "boolean"], "true")
    assert compiled.observer.take().families == {}


def test_most_records_are_passed_by() -> None:
    """After a thousand, one in sixty-four is counted, and each that has a new name."""
    compiled = contract(HEAD + '[catalog]\nattributes.c = "c"\n')
    compiled.observer = FieldObserver(compiled.fields, compiled.family)
    record = {"sku": "A", "rev": 1, "c": "x"}
    for _ in range(COMPLETE_RECORDS + 10 * SAMPLED):
        compiled.read(record)
    compiled.read(record | {"new": "here"})
    taken = compiled.observer.take()
    assert COMPLETE_RECORDS + 10 <= taken.records <= COMPLETE_RECORDS + 13
    assert taken.fields["", "new"].example == "here"


def test_names_without_end_take_bounded_memory() -> None:
    """What each record names differently is counted up to a limit; what the contract reads is counted before that."""
    compiled = contract(HEAD + '[catalog]\nattributes.c = "c"\n')
    compiled.observer = FieldObserver(compiled.fields, compiled.family)
    for number in range(7_000):
        compiled.read({"sku": "A", "rev": 1, "c": "x", f"id-{number}": 1})
    taken = compiled.observer.take()
    assert len(taken.fields) == 5_000
    assert taken.fields["", "c"].records == taken.records


def test_families_without_end_are_counted_together() -> None:
    """Beyond a number of families, as where the path is that of an id."""
    compiled = contract(HEAD + '[catalog]\nfamily = "id"\n')
    compiled.observer = FieldObserver(compiled.fields, compiled.family)
    for number in range(300):
        compiled.read({"sku": "A", "rev": 1, "id": f"f{number}"})
    families = compiled.observer.take().families
    assert (len(families), families["f7"], families[""]) == (201, 1, 100)


def test_what_is_counted_can_be_stored() -> None:
    """It is short, and no text has a character that a database refuses."""
    compiled = contract(HEAD + '[catalog]\nattributes.c = "c"\n')
    compiled.observer = FieldObserver(compiled.fields, compiled.family)
    compiled.observer.note({"c": "\ud800\0" + "x" * 500, "a\0b": 1, "y" * 501: 1})
    fields = compiled.observer.take().fields
    assert fields["", "c"].example == "? " + "x" * 98
    assert [path for _, path in fields] == ["c", "a b"]


# --- levels -----------------------------------------------------------------------------------------

BOTH = (
    HEAD
    + '[catalog]\nattributes.c = { from = "c", lookup = { values = { r = "red" } } }\n'
    + '[pricing]\ncurrency = "cur"\namount = "p"\n'
)
RECORD = {"sku": "A", "rev": 1, "c": "r", "cur": "EUR", "p": "1.00"}


@pytest.mark.parametrize("level", ['unmapped = "fail"\n', 'unmapped = { attribute = "fail" }\n'])
def test_a_record_with_an_unmapped_attribute_is_refused(level: str) -> None:
    """All its statements, with the field; others are not, and a blank field is none. What is ignored is not meant."""
    compiled = contract(level + 'ignore = ["internal*"]\n' + BOTH)
    reading = compiled.read(RECORD | {"size": "XL"})
    assert [(each.domain, each.sku, each.error.code, each.error.path) for each in reading.refusals] == [
        ("catalog", "A", "unmapped", "size"),
        ("pricing", "A", "unmapped", "size"),
    ]
    assert (
        str(reading.refusals[0].error) == "unmapped.attribute of `size`: 'XL' is not mapped, and `unmapped` is `fail`"
    )
    reading = compiled.read(RECORD | {"size": " ", "internal_id": 7})
    assert (len(reading.statements), reading.refusals) == (2, [])


def test_what_is_left_out_inside_an_object_counts_outside_of_it() -> None:
    """A path is ignored, and not every field of that name."""
    text = 'unmapped = { attribute = "fail" }\nignore = ["o.p"]\n' + CATALOG + 'attributes.a = "o.a"\n'
    compiled = contract(text)
    assert compiled.read({"sku": "A", "rev": 1, "o": {"a": 1, "p": 1}}).refusals == []
    [refusal] = compiled.read({"sku": "A", "rev": 1, "p": 1}).refusals
    assert refusal.error.path == "p"


def test_a_value_of_another_kind_is_refused() -> None:
    """Where the contract says so, and only if it is known what the field had so far."""
    compiled = contract('unmapped = { type = "fail", attribute = "skip" }\n' + BOTH)
    assert len(compiled.read(RECORD | {"p": 1.5, "x": 1}).statements) == 2
    compiled.known_kinds = {"p": KIND_BITS["text"], "x": KIND_BITS["number"] | KIND_BITS["text"]}
    assert len(compiled.read(RECORD | {"x": 1}).statements) == 2
    reading = compiled.read(RECORD | {"p": 2})
    assert [(each.domain, each.error.code) for each in reading.refusals] == [
        ("catalog", "other_type"),
        ("pricing", "other_type"),
    ]
    assert "unmapped.type of `p`: 2 is number; so far it was text" in str(reading.refusals[0].error)
    warned = contract(BOTH)
    warned.known_kinds = compiled.known_kinds
    assert len(warned.read(RECORD | {"p": 2}).statements) == 2


@pytest.mark.parametrize(
    ("head", "mapping", "refused", "signals"),
    [
        ("", "", 0, 1),
        ('unmapped = "fail"\n', "", 1, 0),
        ('unmapped = { lookup = "fail" }\n', "", 1, 0),
        ('unmapped = { locale = "fail" }\n', "", 0, 1),
        ('unmapped = "skip"\n', "", 0, 0),
        ('unmapped = "skip"\n', ', unmapped = "fail"', 1, 0),
        ('unmapped = "fail"\n', ', unmapped = "skip"', 0, 0),
        ('unmapped = "fail"\n', ", keep = true", 0, 1),
    ],
)
def test_the_level_of_lookups(head: str, mapping: str, refused: int, signals: int) -> None:
    """The mapping's own counts, then the contract's; a mapping that keeps such values refuses none."""
    text = BOTH.replace('"red" }', '"red" }' + mapping)
    compiled = contract(head + text)
    reading = compiled.read(RECORD | {"c": "blue"})
    assert (len(reading.refusals), len(compiled.signals)) == (refused, signals)


@pytest.mark.parametrize(
    ("head", "refused"), [("", 0), ('unmapped = { locale = "fail" }\n', 1), ('unmapped = "warn"\n', 0)]
)
def test_the_level_of_locales(head: str, refused: int) -> None:
    """A name that is no locale."""
    compiled = contract(head + HEAD + '[catalog]\nlocalized.n = { from = "n", localized = true }\n')
    assert len(compiled.read({"sku": "A", "rev": 1, "n": {"de": "Hemd", "german": "Hemd"}}).refusals) == refused
