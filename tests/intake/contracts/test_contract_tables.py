"""Tables of contracts: rows in the contract, or in CSV files beside it; and the examples that a contract carries."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_examples import failed_examples
from pagefold.projections.transforms import InvalidMapping

HEAD = """
name = "a"
sku = "sku"
sourceVersion = { constant = 1 }
occurredAt = { constant = "2026-03-01T00:00:00Z" }
"""
COLOR = '[catalog]\nlocalized.color = { from = "color", translate = "color" }\n'
OPTIONS = "attribute;code;de;fr\ncolor;rd;Rot;Rouge\ncolor;bl;;Bleu\nsize;rd;Rund;\n"
FILE = (
    '[tables.color]\nfile = "options.csv"\nkey = "code"\nvalues = { de = "de", fr = "fr" }\nwhere.attribute = "color"\n'
)


def contract(text: str, folder: Path) -> Contract:
    """The contract in a text, whose files are in a folder."""
    return Contract(tomllib.loads(HEAD + text), source="a", channels=[], folder=folder)


def color(compiled: Contract, code: str) -> object:
    """What a color becomes."""
    [event] = compiled.read({"sku": "A", "color": code}).events
    assert isinstance(event.payload, bytes)
    return msgspec.json.decode(event.payload).get("localized")


def test_texts_by_locale_from_a_file(tmp_path: Path) -> None:
    """Only rows with the wanted values count, so that one file may have the options of every attribute."""
    (tmp_path / "options.csv").write_text(OPTIONS)
    compiled = contract(COLOR + FILE, tmp_path)
    assert color(compiled, "rd") == {"color": {"de": "Rot", "fr": "Rouge"}}
    assert color(compiled, "bl") == {"color": {"fr": "Bleu"}}
    assert color(compiled, "gr") is None
    assert [value for _, _, value in compiled.signals] == ["gr"]


def test_exchange_rates_from_a_file(tmp_path: Path) -> None:
    """By day."""
    (tmp_path / "rates.csv").write_text("base,quote,day,rate\nEUR,USD,2026-02-01,1.10\nEUR,USD,2026-03-01,1.20\n")
    text = """
        [rates.bank]
        file = "rates.csv"
        [pricing]
        currency = { constant = "USD" }
        [pricing.amount]
        from = "price"
        currency = { currency = "EUR", to = "USD", rates = "bank", day = "day", result = "amount" }
    """
    compiled = contract(text, tmp_path)
    reading = compiled.read({"sku": "A", "price": "10.00", "day": "2026-02-15"})
    assert [str(refusal.error) for refusal in reading.refusals] == []
    assert reading.events[0].payload == b'{"currency":"USD","amount":"11.00"}'


@pytest.mark.parametrize(
    ("table", "rows", "key", "problem"),
    [
        (FILE.replace("options.csv", "gone.csv"), OPTIONS, "tables.color.file", "No such file"),
        (
            FILE.replace('"code"', '"kode"'),
            OPTIONS,
            "tables.color.file",
            "has no column 'kode'; it has attribute, code",
        ),
        (FILE, OPTIONS + "a;b\n", "tables.color.file", "line 5 of options.csv has 2 cells"),
        (FILE, OPTIONS + "color;rd;Grün;\n", "tables.color", "two rows have the key 'rd'"),
        ("[tables.color]\n", OPTIONS, "tables.color", "needs either `rows` or a `file`"),
        ('[tables.color]\nfile = "options.csv"\n', OPTIONS, "tables.color", "needs `key`"),
    ],
)
def test_a_table_that_cannot_be_made(tmp_path: Path, table: str, rows: str, key: str, problem: str) -> None:
    """The contract is refused, with the reason."""
    (tmp_path / "options.csv").write_text(rows)
    with pytest.raises(InvalidMapping, match=problem) as refused:
        contract(COLOR + table, tmp_path)
    assert refused.value.key == key


EXAMPLE = '\n[[examples]]\nin = {{ sku = "A", color = "{}" }}\nout = [{}]\n'


def test_examples_are_run(tmp_path: Path) -> None:
    """Of a statement, only what the example names is compared; too many or too few statements fail."""
    rows = '[tables.color]\nrows = { rd = { de = "Rot" } }\n'
    text = COLOR + rows
    text += EXAMPLE.format(
        "rd", '{ type = "catalog", sku = "A", payload = { localized = { color = { de = "Rot" } } } }'
    )
    text += EXAMPLE.format("rd", '{ sku = "A" }')
    text += EXAMPLE.format("rd", '{ sku = "B" }')
    text += EXAMPLE.format("rd", "")
    text += '\n[[examples]]\nin = { color = "rd" }\nout = [{ type = "catalog" }]\n'
    failed = list(failed_examples(contract(text, tmp_path)))
    assert [each.number for each in failed] == [3, 4]
    assert failed[0].found[0]["sku"] == "A"
