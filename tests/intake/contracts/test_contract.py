"""A contract makes statements of records: of messages with several items, of rows, in several domains."""

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagefold import DomainEvent
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.canonical_payloads import canonical_payload
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.projections.transforms import InvalidMapping

HEAD = 'name = "shop"\nsku = "sku"\nsourceVersion = "rev"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'
PRICE = '[pricing]\ncurrency = { constant = "EUR" }\namount = "price"\n'


def contract(text: str, form: Form = "json", channels: Sequence[str] = ("web-de", "web-us")) -> Contract:
    """The contract in a text."""
    return Contract(tomllib.loads(text), source="shop", channels=channels, form=form)


def read(text: str, *messages: object, form: Form = "json") -> Reading:
    """What a contract makes of some messages."""
    compiled, reading = contract(text, form), Reading()
    for message in messages:
        compiled.read(message, reading)
    return reading


def payload(event: DomainEvent) -> Any:  # noqa: ANN401  # JSON
    """The payload of an event, as it would be stored, decoded."""
    stored = event.payload
    return msgspec.json.decode(canonical_payload(event.type, stored)) if isinstance(stored, bytes) else stored


def said(reading: Reading) -> list[tuple[str, str, Any]]:
    """Domain, SKU and payload of each statement."""
    return [(event.type, event.sku, payload(event)) for event in reading.events]


# --- records --------------------------------------------------------------------------------------


def test_records_without_sku_may_be_left_out() -> None:
    """Where the contract says so; else they are refused, as without any other value that is required."""
    text = HEAD.replace('sku = "sku"', 'sku = { from = "sku", blank = "skip" }') + PRICE
    messages = [{"sku": sku, "rev": 1, "price": "1"} for sku in ("A", "", " ", None)]
    reading = read(text, *messages, {"rev": 1, "price": "1"})
    assert ([event.sku for event in reading.events], reading.left_out, reading.refusals) == (["A"], 4, [])
    reading = read(HEAD + PRICE, *messages)
    assert (len(reading.events), reading.left_out, len(reading.refusals)) == (1, 0, 3)


def test_one_record_makes_statements_of_several_domains() -> None:
    """Every item of a message makes one of each domain; `$.` reads what is around the item."""
    text = """
        name = "shop"
        items = "variants"
        versions = "moment"
        sku = "code"
        sourceVersion = "$.changed"
        [catalog]
        attributes.title = "$.title"
        attributes.ean = "ean"
        parent = "$.handle"
        [pricing]
        currency = { constant = "USD" }
        amount = "price"
        compareAt = "was"
    """
    message = {
        "changed": "2026-02-01T10:00:00+01:00",
        "title": "Mug",
        "handle": "mug",
        "variants": [{"code": "MUG-R", "price": "7.00", "was": None, "ean": "1"}, {"code": "MUG-B", "price": "8.00"}],
    }
    reading = read(text, message)
    assert said(reading) == [
        ("catalog", "MUG-R", {"attributes": {"title": "Mug", "ean": "1"}, "parent": "mug"}),
        ("pricing", "MUG-R", {"currency": "USD", "amount": "7.00"}),
        ("catalog", "MUG-B", {"attributes": {"title": "Mug"}, "parent": "mug"}),
        ("pricing", "MUG-B", {"currency": "USD", "amount": "8.00"}),
    ]
    first = reading.events[0]
    assert (first.source, first.channel, first.source_version) == ("shop", "*", 1_769_936_400_000_000)
    assert first.occurred_at.isoformat() == "2026-02-01T09:00:00+00:00"
    assert reading.records == 2


def test_items_at_several_paths() -> None:
    """An object is one item, a list several; what is not there has none."""
    text = (
        HEAD.replace('"rev"', '"$.rev"') + 'items = ["main", "others", "gone"]\n[catalog]\nlocalized.name = "$.name"\n'
    )
    text = 'items = ["main", "others", "gone"]\n' + text.replace('items = ["main", "others", "gone"]\n', "")
    reading = read(
        text, {"rev": 3, "name": {"en": "Tee"}, "main": {"sku": "S"}, "others": [{"sku": "M"}, {"sku": "L"}]}
    )
    assert [event.sku for event in reading.events] == ["S", "M", "L"]
    assert all(payload(event) == {"localized": {"name": {"en": "Tee"}}} for event in reading.events)


def test_each_makes_a_statement_of_every_element() -> None:
    """Of one record: prices by currency, each for its channel; `$.` reads the record."""
    text = """
        name = "shop"
        occurredAt = { constant = "2026-03-01T00:00:00Z" }
        [pricing]
        each = "prices"
        sku = "$.sku"
        sourceVersion = "$.rev"
        channel = { from = "currency", lookup = { values = { EUR = "web-de", USD = "web-us", GBP = "web-uk" } } }
        currency = "currency"
        amount = "value"
    """
    prices = [
        {"currency": "EUR", "value": "1.00"},
        {"currency": "USD", "value": "2.00"},
        {"currency": "GBP", "value": "3"},
    ]
    reading = read(text, {"sku": "A", "rev": 1, "prices": prices})
    assert [(event.channel, payload(event)["amount"]) for event in reading.events] == [
        ("web-de", "1.00"),
        ("web-us", "2.00"),
    ]
    assert reading.channels == {"web-uk": 1}
    assert reading.refusals == []


def test_several_statements_of_one_domain() -> None:
    """A domain may have several tables: here a price for each of two columns."""
    table = '[[pricing]]\nchannel = {{ constant = "{0}" }}\ncurrency = {{ constant = "{1}" }}\namount = "price-{1}"\n'
    reading = read(
        HEAD + table.format("web-de", "EUR") + table.format("web-us", "USD"),
        {"sku": "A", "rev": "1", "price-EUR": "19.00", "price-USD": "21.00"},
        form="columns",
    )
    assert [(event.channel, payload(event)["currency"]) for event in reading.events] == [
        ("web-de", "EUR"),
        ("web-us", "USD"),
    ]


def test_a_filter_may_ask_for_any_value_or_none() -> None:
    """`true` is any value, `false` none; what is blank is none."""
    text = HEAD + PRICE + "only = { sku = true, gone = false }\n"
    messages: list[dict[str, Any]] = [
        {"sku": "A"},
        {"sku": ""},
        {"sku": None},
        {"sku": "B", "gone": "2026-01-01"},
        {"sku": "C", "gone": ""},
    ]
    found = read(text, *({"rev": 1, "price": "1", **each} for each in messages))
    assert [event.sku for event in found.events] == ["A", "C"]
    assert (found.left_out, found.refusals) == (3, [])


def test_what_does_not_count_is_counted_and_left_out() -> None:
    """By message, and by domain."""
    text = 'only = { kind = ["product"] }\n' + HEAD + PRICE + 'only = { type = ["variant"] }\n'
    reading = read(
        text,
        {"kind": "customer", "name": "a person"},
        {"kind": "product", "type": "model", "sku": "M", "rev": 1},
        {"kind": "product", "type": "variant", "sku": "M-1", "rev": 1, "price": "9.00"},
    )
    assert said(reading) == [("pricing", "M-1", {"currency": "EUR", "amount": "9.00"})]
    assert (reading.left_out, reading.refusals) == (2, [])


def test_members_that_have_no_mapping_of_their_own() -> None:
    """`*` takes all members of an object; one that is named wins."""
    text = HEAD + '[catalog]\nattributes.color = "shown"\nattributes."*" = "all"\n'
    reading = read(text, {"sku": "A", "rev": 1, "shown": "Red", "all": {"color": "rd", "size": 3}})
    assert said(reading) == [("catalog", "A", {"attributes": {"color": "Red", "size": 3}})]


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [" A-1 ", "A-1", "\tA-1\n"])
def test_a_sku_is_trimmed(written: str) -> None:
    """White space around it is not part of it."""
    assert said(read(HEAD + PRICE, {"sku": written, "rev": 1, "price": "1.00"}))[0][1] == "A-1"


def test_a_record_that_withdraws() -> None:
    """By a value at a path, or by a blank value whose policy says so."""
    withdrawn = HEAD + PRICE + 'withdraw = { state = ["deleted"] }\n'
    assert said(read(withdrawn, {"sku": "A", "rev": 1, "state": "deleted"})) == [("pricing", "A", None)]
    blank = HEAD + PRICE.replace('"price"', '{ from = "price", blank = "withdraw" }')
    reading = read(
        blank, {"sku": "A", "rev": "1", "price": " "}, {"sku": "B", "rev": "1", "price": "1"}, form="columns"
    )
    assert [(sku, bool(given)) for _, sku, given in said(reading)] == [("A", False), ("B", True)]


@pytest.mark.parametrize(
    ("record", "key", "code", "sku"),
    [
        ({"rev": 1, "price": "1.00"}, "pricing.sku", "blank", None),
        ({"sku": "  ", "rev": 1, "price": "1.00"}, "pricing.sku", "blank", None),
        ({"sku": "A", "price": "1.00"}, "pricing.sourceVersion", "blank", "A"),
        ({"sku": "A", "rev": "x", "price": "1.00"}, "pricing.sourceVersion", "not_a_number", "A"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(record: object, key: str, code: str, sku: str | None) -> None:
    """With the place in the contract, the reason, and the SKU if it is known; the next record is not affected."""
    reading = read(HEAD + PRICE, record, {"sku": "B", "rev": 1, "price": "1.00"})
    [refusal] = reading.refusals
    assert (refusal.domain, refusal.error.key, refusal.sku) == ("pricing", key, sku)
    assert refusal.error.code in {code, "not_an_integer"}
    assert [event.sku for event in reading.events] == ["B"]


def test_numbers_and_moments_as_the_source_writes_them() -> None:
    """Separators and the zone of a contract count for every conversion."""
    text = """
        name = "shop"
        zone = "Europe/Berlin"
        decimal = ","
        group = "."
        sku = "sku"
        sourceVersion = "rev"
        occurredAt = "changed"
        [inventory]
        available = "stock"
    """
    row = {"sku": "A", "rev": "1.200", "changed": "2026-07-01 12:00:00", "stock": "1.000,0"}
    [event] = read(text, row, form="columns").events
    assert (event.source_version, payload(event)) == (1_200, {"available": 1_000})
    assert event.occurred_at.isoformat() == "2026-07-01T10:00:00+00:00"


def test_names_that_nothing_reads_are_counted() -> None:
    """Of an object of which the contract reads members, the others."""
    text = HEAD + '[catalog]\nattributes.width = "size.width"\n'
    record = {"sku": "A", "rev": 1, "size": {"width": 3, "height": 4}, "color": "red"}
    compiled = contract(text)
    assert [field.path for field in compiled.fields.unmapped(record)] == ["size.height", "color"]


def test_paths_that_no_record_has_are_known_in_the_end() -> None:
    """One record is enough; a blank value counts as there."""
    compiled = contract(HEAD + PRICE + 'compareAt = "was"\ntaxClass = "tax"\n')
    reading = compiled.watchful_reading()
    compiled.read({"sku": "A", "rev": 1, "price": "1.00"}, reading)
    assert compiled.absent_paths(reading) == [("pricing", "tax"), ("pricing", "was")]
    compiled.read({"sku": "B", "rev": 1, "tax": None}, reading)
    assert compiled.absent_paths(reading) == [("pricing", "was")]


# --- what cannot be compiled ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (HEAD, "", "says nothing of a domain"),
        (HEAD + "[prices]\n", "prices", "did you mean 'pricing'"),
        (HEAD + '[pricing]\namout = "x"\n', "pricing.amout", "did you mean 'amount'"),
        (HEAD.replace('sku = "sku"\n', "") + PRICE, "pricing.sku", "is required"),
        (HEAD + PRICE + "each = 3\n", "pricing.each", "expected a path"),
        (HEAD + PRICE + 'only = { a = "b" }\n', "pricing.only", "expected lists of values"),
        (HEAD + 'pricing = "x"\n', "pricing", "expected a table"),
        ('unmapped = "stop"\n' + HEAD + PRICE, "unmapped", "invalid enum value 'stop'"),
        (HEAD.replace('"shop"', "3") + PRICE, "name", "expected `str`"),
        (HEAD + PRICE.replace('"price"', '{ from = "price", monney = true }'), "pricing.amount", "monney"),
    ],
)
def test_a_wrong_contract_is_refused_with_its_place(text: str, key: str, problem: str) -> None:
    """And with the nearest name that exists."""
    with pytest.raises(InvalidMapping) as refused:
        contract(text)
    assert refused.value.key.startswith(key)
    assert problem in refused.value.problem


def test_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    """Also one that is no TOML, or is not there."""
    file = tmp_path / "shop.toml"
    file.write_text(HEAD + PRICE + 'compareAt = { from = "x", nope = true }\n')
    for expected in ("shop.toml:8: pricing.compareAt", "is not TOML", "cannot be read"):
        with pytest.raises(ConfigurationError, match=expected):
            Contract.load(file, source="shop", channels=[])
        file.write_text("a = = b") if expected.startswith("shop") else file.unlink(missing_ok=True)


# --- versions, ties, blanks, facts ----------------------------------------------------------------

UNVERSIONED = 'name = "shop"\nsku = "sku"\nversions = "none"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'


def test_records_without_a_version() -> None:
    """Their statements have version 0, and their content decides."""
    [event] = read(UNVERSIONED + PRICE, {"sku": "A", "price": "1.00"}).events
    assert (event.source_version, event.tie) == (0, "content")


def test_a_tie_rule() -> None:
    """A contract says whether a later statement of one version replaces the first."""
    [event] = read('tie = "replace"\n' + HEAD + PRICE, {"sku": "A", "rev": 4, "price": "1.00"}).events
    assert (event.source_version, event.tie) == (4, "replace")


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('tie = "replace"\n' + UNVERSIONED + PRICE, "tie", "has no effect"),
        ('sourceVersion = "rev"\n' + UNVERSIONED + PRICE, "pricing.sourceVersion", "contradicts"),
        (HEAD.replace('sourceVersion = "rev"\n', "") + PRICE, "pricing.sourceVersion", 'has versions = "none"'),
        ('blanks = "zero"\n' + HEAD + PRICE, "blanks", "invalid enum value"),
    ],
)
def test_contradictions_are_named(text: str, key: str, problem: str) -> None:
    """What a contract says of versions, ties and blanks must agree."""
    with pytest.raises(InvalidMapping, match=problem) as caught:
        contract(text)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("blanks", "expected"),
    [
        ("skip", [("pricing", "A", {"currency": "EUR"})]),
        ("withdraw", [("pricing", "A", None)]),
        ("refuse", []),
    ],
)
def test_blanks_of_the_whole_contract(blanks: str, expected: object) -> None:
    """What becomes of blank values is said once; a field that may be left out, such as an id, is left out."""
    reading = read(f'blanks = "{blanks}"\nid = "id"\n' + HEAD + PRICE, {"sku": "A", "rev": 1, "price": " ", "id": ""})
    assert said(reading) == expected
    assert len(reading.refusals) == (blanks == "refuse")


def test_a_mapping_has_the_last_word_on_blanks() -> None:
    """A mapping's own policy counts."""
    text = 'blanks = "withdraw"\n' + HEAD + PRICE + 'compareAt = { from = "old", blank = "skip" }\n'
    reading = read(text, {"sku": "A", "rev": 1, "price": "1.00", "old": ""})
    assert said(reading) == [("pricing", "A", {"currency": "EUR", "amount": "1.00"})]


def test_facts_of_the_delivery() -> None:
    """A contract reads headers and other facts beside the record; in items, too; and filters by them."""
    text = """
        items = "items"
        sku = "sku"
        sourceVersion = "@lsn"
        occurredAt = { first_of = ["changed", "@taken"] }
        correlationId = "@header.X-Request-ID"
        only = { "@table" = ["public.items"] }
        [catalog]
        attributes.lsn = "@lsn"
        attributes."@id" = "@id"
    """
    facts = {"@lsn": 77, "@taken": "2026-03-01T00:00:00Z", "@header.x-request-id": "r-1", "@table": "public.items"}
    compiled, message = contract(text), {"items": [{"sku": "A", "@id": "own"}]}
    [event] = compiled.read(message, facts=facts).events
    assert (event.source_version, event.correlation_id, event.occurred_at.year) == (77, "r-1", 2026)
    assert payload(event) == {"attributes": {"lsn": 77, "@id": "own"}}
    assert compiled.read(message, facts=facts | {"@table": "public.others"}).left_out == 1
    assert "@lsn" not in compiled.paths
    [refusal] = compiled.read(message, facts={"@table": "public.items"}).refusals
    assert "sourceVersion" in str(refusal.error)


@pytest.mark.parametrize(
    ("price", "amount"),
    [
        ("1.299,00", "1299.00"),
        (",99", "0.99"),
        ("019,90", "19.90"),
        (Decimal("19.90"), "19.90"),
        (20, "20.00"),
    ],
)
def test_amounts_are_decimals(price: object, amount: str) -> None:
    """An amount has the separators of the contract, at any place; digits that mean nothing are left out."""
    text = 'decimal = ","\ngroup = "."\n' + HEAD + PRICE + 'compareAt = "price"\ncustomerGroups.trade = "price"\n'
    [(_, _, said_price)] = said(read(text, {"sku": "A", "rev": 1, "price": price}))
    assert said_price == {
        "currency": "EUR",
        "amount": amount,
        "compareAt": amount,
        "customerGroups": {"trade": amount},
    }


def test_what_is_no_amount_is_refused() -> None:
    """With its place, before the event is checked."""
    [refusal] = read(HEAD + PRICE, {"sku": "A", "rev": 1, "price": "on request"}).refusals
    assert "pricing.amount of `price`: 'on request' is not a number" in str(refusal.error)


def test_a_statement_for_each_of_several_channels() -> None:
    """A constant channel may be a list, in a table or for all of them."""
    text = (
        'channel = { constant = ["web-de", "web-us"] }\n' + HEAD + PRICE + '[catalog]\nchannel = { constant = "*" }\n'
    )
    found = [(event.type, event.channel) for event in read(text, {"sku": "A", "rev": 1, "price": "1.00"}).events]
    assert found == [("catalog", "*"), ("pricing", "web-de"), ("pricing", "web-us")]
