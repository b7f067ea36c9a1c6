"""The contracts of a configuration: in it or beside it, for a source or for one of its entrances."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pagefold import Config
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.contracts.source_contracts import invalid_contracts, source_contract
from tests.support.small_shop import document

SHOP = """
store.url = "sqlite:///store"
channels.web-de = { locale = "de", currency = "EUR" }
[sources.erp]
domains = ["pricing"]
"""
PRICES = """
sku = "ITEM"
versions = "none"
pricing = { amount = "PRICE", currency = { constant = "EUR" } }
"""


def config_in(folder: Path, text: str) -> Config:
    """The configuration in a file of a folder."""
    file = folder / "pagefold.toml"
    file.write_text(SHOP + text, encoding="utf-8")
    return Config.load(file)


def test_a_contract_in_the_configuration(tmp_path: Path) -> None:
    """It has the name of its source, and the form of its entrance: here, columns with dots in their names."""
    config = config_in(
        tmp_path, 'snapshot.file = "prices.csv"\n[sources.erp.contract]\n' + PRICES.replace("ITEM", "a.b")
    )
    contract = source_contract(config, "erp", "snapshot")
    assert contract is not None
    assert contract.identity == "erp@1"
    taken = {"@taken": "2026-03-01T00:00:00Z"}
    [event] = contract.read({"a.b": "MUG", "PRICE": "7.50"}, facts=taken).events
    assert (event.sku, event.source, event.source_version, event.tie) == ("MUG", "erp", 0, "content")
    assert event.occurred_at.isoformat() == "2026-03-01T00:00:00+00:00"


def test_a_contract_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is relative to the folder of the configuration, wherever the command runs."""
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    config = config_in(tmp_path, 'contract = "prices.toml"\nsnapshot.file = "prices.ndjson"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    contract = source_contract(config, "erp", "snapshot")
    assert contract is not None
    assert contract.identity == "prices@1"


def test_an_entrance_may_have_its_own_contract(tmp_path: Path) -> None:
    """What an entrance says replaces what its source says; a source without a contract has none."""
    inner = '{ name = "own", sku = "S", versions = "none", pricing.amount = "P" }'
    own = f'snapshot = {{ file = "a.csv", contract = {inner} }}\n'
    config = config_in(tmp_path, own + "[sources.erp.contract]\n" + PRICES)
    found = [source_contract(config, "erp", entrance) for entrance in ("snapshot", "webhook")]
    assert [each and each.identity for each in found] == ["own@1", "erp@1"]
    assert source_contract(Config.parse(SHOP), "erp", "snapshot") is None


@pytest.mark.parametrize("inline", [True, False])
def test_errors_name_the_line(tmp_path: Path, *, inline: bool) -> None:
    """What is wrong with a contract is said with its line, in the configuration or in its own file."""
    wrong = PRICES.replace("amount", "amonut")
    (tmp_path / "prices.toml").write_text(wrong, encoding="utf-8")
    given = "[sources.erp.contract]\n" + wrong if inline else 'contract = "prices.toml"\n'
    config = config_in(tmp_path, 'snapshot.file = "prices.csv"\n' + given)
    with pytest.raises(ConfigurationError, match="did you mean 'amount'") as caught:
        source_contract(config, "erp", "snapshot")
    assert caught.value.place == (f"{tmp_path}/pagefold.toml:11" if inline else f"{tmp_path}/prices.toml:4")
    assert [str(each) for each in invalid_contracts(config)] == [str(caught.value)]


@pytest.mark.parametrize("inline", [True, False])
def test_every_problem_of_a_contract_is_listed(tmp_path: Path, *, inline: bool) -> None:
    """Each with its line: what is wrong is left out, and the rest is looked at."""
    wrong = 'sku = "S"\nversions = "none"\n[{0}pricing]\namount = {{ from = "P", moeny = "EUR" }}\ncurency = "C"\n'
    wrong += 'compareAt = {{ from = "O", lookup = "gone" }}\ntaxClass = "T"\n'
    (tmp_path / "prices.toml").write_text(wrong.format(""), encoding="utf-8")
    own = "[sources.erp.contract]\n" + wrong.format("sources.erp.contract.")
    config = config_in(tmp_path, 'snapshot.file = "a.csv"\n' + (own if inline else 'contract = "prices.toml"\n'))
    file, lines = ("pagefold.toml", (12, 11, 13)) if inline else ("prices.toml", (5, 4, 6))
    found = invalid_contracts(config)
    assert [each.place for each in found] == [f"{tmp_path}/{file}:{line}" for line in lines]
    problems = ["did you mean 'currency'", "did you mean money", "there is no table 'gone'"]
    assert all(problem in each.problem for problem, each in zip(problems, found, strict=True))


def test_a_missing_file(tmp_path: Path) -> None:
    """A contract that is not there is named."""
    config = config_in(tmp_path, 'contract = "gone.toml"\nsnapshot.file = "prices.csv"\n')
    with pytest.raises(ConfigurationError, match=r"gone\.toml.*cannot be read"):
        source_contract(config, "erp", "snapshot")


STOCK = """
[sources.shop]
domains = ["inventory"]
[sources.wh-north]
domains = ["inventory"]
[sources.crm]
domains = ["catalog"]
[sources.shop.snapshot]
file = "stock.ndjson"
[sources.shop.contract]
sku = "item"
versions = "none"
source = { from = "location", lookup = { values = { 100 = "wh-north", 200 = "crm" } } }
inventory.available = "free"
"""


def test_a_record_may_name_another_source(tmp_path: Path) -> None:
    """One that has the domain; any other is refused, with its value, and never taken for the contract's own."""
    contract = source_contract(config_in(tmp_path, STOCK), "shop", "snapshot")
    assert contract is not None
    rows = [{"item": "A", "location": place, "free": 1} for place in (100, "100", 200, 300, None)]
    taken = {"@taken": "2026-03-01T00:00:00Z"}
    found = [contract.read(row, facts=taken) for row in rows]
    assert [[event.source for event in each.events] for each in found] == [["wh-north"], ["wh-north"], [], [], []]
    reasons = [contract.rejection(refusal).reason for each in found for refusal in each.refusals]
    line = f"SKU A, {tmp_path}/pagefold.toml:18"
    problem = "is not a source with the domain inventory"
    assert reasons == [f"`location`: {value} {problem}; {line}" for value in ("'crm'", "300", "null")]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ('source = { constant = "crm" }\n', "'crm' is unknown; the sources are shop, wh-north"),
        ('channel = { constant = "web-dee" }\n', "'web-dee' is unknown; did you mean 'web-de'"),
        ('pricing = { amount = "p" }\n', "the source shop does not have the domain pricing"),
    ],
)
def test_what_no_record_could_be_is_an_error(tmp_path: Path, wrong: str, problem: str) -> None:
    """A constant channel or source that is not there, and a domain that the source does not have."""
    own = "" if wrong.startswith("source") else 'source = { from = "location" }\n'
    before, _, after = STOCK.partition("source = {")
    rest = after.partition("\n")[2]
    text = before + ("" if wrong.startswith("pricing") else own) + wrong + rest
    with pytest.raises(ConfigurationError, match=problem) as caught:
        source_contract(config_in(tmp_path, text), "shop", "snapshot")
    assert (caught.value.place or "").startswith(f"{tmp_path}/pagefold.toml:")


def test_threads_read_at_the_same_time(tmp_path: Path) -> None:
    """Each with the facts of its own delivery."""
    text = STOCK.replace('source = { from = "location"', 'id = "@header.X-Id"\nsource = { from = "location"')
    contract = source_contract(config_in(tmp_path, text), "shop", "snapshot")
    assert contract is not None
    assert contract.headers == {"x-id"}

    def read(number: int) -> set[str | None]:
        facts = {"@taken": "2026-03-01T00:00:00Z", "@header.x-id": str(number)}
        row = {"item": "A", "location": 100, "free": 1}
        return {event.id for _ in range(500) for event in contract.read(row, facts=facts).events}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(8))) == [{str(number)} for number in range(8)]


def test_the_contract_of_a_source_without_an_entrance_is_compiled(tmp_path: Path) -> None:
    """Its errors are found before it is used."""
    config = config_in(tmp_path, "[sources.erp.contract]\n" + PRICES.replace("amount", "amuont"))
    [problem] = invalid_contracts(config)
    assert "did you mean 'amount'" in str(problem)


@pytest.mark.parametrize(
    "currency", [{"constant": "EURO"}, {"from": "c", "lookup": {"values": {"1": "EUR", "2": "EURO"}}}]
)
def test_a_currency_that_the_contract_names_has_to_be_one(currency: dict[str, object]) -> None:
    """It is found by `pagefold check`, before a record is refused for it."""
    parsed = document()
    parsed["sources"]["erp"]["contract"] = {
        "sku": "s",
        "versions": "none",
        "pricing": {"amount": "a", "currency": currency},
    }
    [problem] = invalid_contracts(Config.parse(parsed))
    assert "pricing.currency: 'EURO' is not a currency" in str(problem)
