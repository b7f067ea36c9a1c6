"""What records of well-known systems become, by contract alone."""

import tomllib
from typing import Any, NamedTuple

import msgspec
import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.reading import Reading

HEAD = 'sku = "sku"\nsourceVersion = { constant = 1 }\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'


class Case(NamedTuple):
    """A contract, the records, and what is wanted: channel and payload of each statement."""

    contract: str
    records: list[dict[str, Any]]
    wanted: list[tuple[str, dict[str, Any] | None]]
    form: Form = "json"


MONEY = '{ from = "price.cents", money = { currency = { from = "price.cur" }, unit = "minor" } }'

CASES = {
    "cents, and tiers of them": Case(
        f"""
        channel = {{ from = "country", lookup = {{ values = {{ DE = "web-de", US = "web-us" }} }} }}
        [pricing]
        currency = "price.cur"
        amount = {MONEY}
        tiers = {{ from = "steps", each = {{ members = {{ minQuantity = "from", amount = {MONEY} }} }} }}
        """,
        [
            {
                "sku": "A",
                "country": "DE",
                "price": {"cur": "EUR", "cents": 12345},
                "steps": [{"from": 5, "price": {"cur": "EUR", "cents": 999}}],
            },
            {"sku": "B", "country": "US", "price": {"cur": "JPY", "cents": 800}},
        ],
        [
            ("web-de", {"currency": "EUR", "amount": "123.45", "tiers": [{"minQuantity": 5, "amount": "9.99"}]}),
            ("web-us", {"currency": "JPY", "amount": "800"}),
        ],
    ),
    "the currency decides the channel": Case(
        """
        channel = { from = "cur", lookup = { values = { USD = "web-us", EUR = "web-de" } } }
        [pricing]
        currency = "cur"
        amount = "price"
        """,
        [{"sku": "A", "price": "8.99", "cur": "USD"}, {"sku": "A", "price": "7.99", "cur": "EUR"}],
        [("web-us", {"currency": "USD", "amount": "8.99"}), ("web-de", {"currency": "EUR", "amount": "7.99"})],
        "columns",
    ),
    "a metric with its unit in another column": Case(
        """
        [catalog]
        attributes.weight = { from = "weight", metric = { unit = { from = "weight-unit" } } }
        """,
        [{"sku": "A", "weight": "350", "weight-unit": "GRAM"}],
        [("*", {"attributes": {"weight": {"amount": "350", "unit": "GRAM"}}})],
        "columns",
    ),
    "codes in a cell, each with its label": Case(
        """
        tables.functions.rows = { print = "Print", scan = "Scan" }
        [catalog]
        categories = { from = "cats", steps = [{ split = "," }, "trim"] }
        attributes.functions = { from = "functions", steps = [{ split = "," }, { lookup = "functions" }] }
        """,
        [{"sku": "A", "cats": "tvs, sales ,", "functions": "print,scan"}],
        [("*", {"categories": ["tvs", "sales"], "attributes": {"functions": ["Print", "Scan"]}})],
        "columns",
    ),
    "codes in a cell, with their labels by locale": Case(
        """
        [tables.jobs.rows]
        print = { de = "Drucken", fr = "Imprimer" }
        scan = { de = "Scannen" }
        [catalog]
        [catalog.localized.jobs]
        from = "jobs"
        steps = [{ split = "," }, { translate = { table = "jobs", as_list = true } }]
        """,
        [{"sku": "A", "jobs": "print,scan"}],
        [("*", {"localized": {"jobs": {"de": ["Drucken", "Scannen"], "fr": ["Imprimer"]}}})],
        "columns",
    ),
    "stock that is partly allocated": Case(
        """
        [inventory]
        available = { difference = ["quantity", "allocated"] }
        """,
        [{"sku": "A", "quantity": 50, "allocated": 8}],
        [("*", {"available": 42})],
    ),
    "the lesser of two prices": Case(
        """
        [pricing]
        currency = "cur"
        amount = { least = ["price", "sale"] }
        """,
        [{"sku": "A", "price": "40.00", "sale": "36.50", "cur": "PLN"}],
        [("*", {"currency": "PLN", "amount": "36.5"})],
    ),
    "a blank translation is left out": Case(
        '[catalog]\nlocalized.name = { locale_columns = { texts = { fr = "name_fr", en = "name_en" } } }\n',
        [{"sku": "A", "name_fr": " ", "name_en": "Mints"}],
        [("*", {"localized": {"name": {"en": "Mints"}}})],
        "columns",
    ),
    "locales as others write them": Case(
        '[catalog]\nlocalized.name = "labels"\n',
        [{"sku": "A", "labels": {"en_US": "Blue", "de_DE": "Blau"}}],
        [("*", {"localized": {"name": {"en-US": "Blue", "de-DE": "Blau"}}})],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_record_becomes_what_is_wanted(name: str) -> None:
    """Nothing is refused."""
    case = CASES[name]
    text = 'name = "a"\n' + HEAD + case.contract
    compiled = Contract(tomllib.loads(text), source="a", channels=["web-de", "web-us"], form=case.form)
    reading = Reading()
    for record in case.records:
        compiled.read(record, reading)
    assert [str(refusal.error) for refusal in reading.refusals] == []
    assert [
        (event.channel, msgspec.json.decode(event.payload) if isinstance(event.payload, bytes) else None)
        for event in reading.events
    ] == case.wanted
