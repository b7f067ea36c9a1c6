"""Amounts of money: compared by value and stored in canonical form, at every entrance and by every rebuild."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import DomainEvent
from pagefold.domains import InvalidPayload
from pagefold.domains.amounts import MINOR_DIGITS, are_canonical, canonical_amount, is_zero
from pagefold.engine.demo.reference_model import amount as modelled
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.intake.bulk_validator import BulkValidator
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EventState
from tests.support.rebuild_fixtures import counts_of, export, export_lines, rebuild, with_snapshots
from tests.support.small_shop import (
    Document,
    Raw,
    append,
    as_line,
    configured,
    document,
    event,
    everything,
    price,
    section,
)

SPELT = {
    "EUR": {"24.50": ["24.5", "24.50", "024.500", "24.500000", "00024.5"], "7.00": ["7", "07", "7.0", "7.000"]},
    "JPY": {"2450": ["2450", "2450.00", "02450"], "2450.5": ["2450.50", "2450.5"], "0": ["0", "0.00", "000"]},
    "KWD": {"1.250": ["1.25", "1.2500"], "1.2501": ["1.2501"], "0.100": ["0.1", "00.100"]},
    "CLF": {"1.2500": ["1.25"], "3.0000": ["3"]},
    "HUF": {"990.00": ["990", "990.0"]},
    "XAU": {"1": ["1", "1.000"], "0.00125": ["0.001250"]},
}
EVERYWHERE: Document = {
    "currency": "EUR",
    "amount": "19.9",
    "compareAt": "024.90",
    "tiers": [{"minQuantity": 2, "amount": "18"}, {"minQuantity": 9, "amount": "17.125"}],
    "customerGroups": {"trade": "15.000"},
    "scheduled": [{"amount": "9.9", "until": "2026-02-01T00:00:00Z"}, {"amount": "8.90"}],
}
PLAIN = (
    b'{"amount":"19.90","compareAt":"24.90","currency":"EUR","customerGroups":{"trade":"15.00"},'
    b'"scheduled":[{"amount":"9.90","until":"2026-02-01T00:00:00Z"},{"amount":"8.90"}],'
    b'"tiers":[{"amount":"18.00","minQuantity":2},{"amount":"17.125","minQuantity":9}]}'
)
written = st.from_regex(r"0{0,9}[0-9]{1,15}(\.[0-9]{1,6}0{0,9})?", fullmatch=True)
currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])


def old_price(sku: str, payload: bytes, version: int = 1) -> Raw:
    """An event of a log that is older than the canonical form."""
    moment = "2026-01-01T12:00:00.000000Z"
    state = EventState(id="1", occurred_at=moment, recorded_at=moment, payload=msgspec.Raw(payload))
    return Raw(f"{sku}/*/pricing/erp", version, "pricing", msgspec.json.encode(state))


@pytest.mark.parametrize(
    ("currency", "plain", "amount"),
    [(code, plain, each) for code, amounts in SPELT.items() for plain, spelt in amounts.items() for each in spelt],
)
def test_one_amount_has_one_spelling(currency: str, plain: str, amount: str) -> None:
    """The digits of its currency by ISO 4217, and more if significant; no leading zeros."""
    assert canonical_amount(currency, "amount", amount) == plain
    assert are_canonical(currency, [plain])
    assert are_canonical(currency, [amount]) == (amount == plain)


@given(currencies, written, written)
def test_spellings_are_equal_as_amounts_are(currency: str, one: str, other: str) -> None:
    """Exactly: no digit is lost, and equal amounts have one spelling; the model agrees."""
    plain = [canonical_amount(currency, "amount", each) for each in (one, other)]
    assert list(map(Decimal, plain)) == [Decimal(one), Decimal(other)]
    assert (plain[0] == plain[1]) == (Decimal(one) == Decimal(other))
    assert are_canonical(currency, plain)
    assert are_canonical(currency, [one, other]) == (plain == [one, other])
    if currency != "CLF":
        assert plain[0] == modelled(one, currency)
    assert is_zero(one) == (Decimal(one) == 0)


@pytest.mark.parametrize(
    "amount",
    [
        "",
        ".99",
        "1.",
        "+1",
        "-1",
        "-0",
        "1e2",
        "1,5",
        " 1",
        "1\n",
        "1_0",
        "\u0661",
        "1" * 16,
        "1.0000001",
        "0" * 41,
        "NaN",
    ],
)
def test_invalid_amounts(amount: str) -> None:
    """An amount in Pagefold's own format is a decimal without exponent, and never negative."""
    with pytest.raises(InvalidPayload) as caught:
        canonical_amount("EUR", "tiers[1].amount", amount)
    assert caught.value.path == "tiers[1].amount"
    assert not are_canonical("EUR", [amount])


def test_the_digits_of_currencies() -> None:
    """By ISO 4217, not by custom: the forint has its fillér, the new dinar of Iraq its fils."""
    digits = {
        code: MINOR_DIGITS.get(code, 2) for code in ("HUF", "TWD", "ISK", "UGX", "IQD", "TND", "UYW", "MRU", "XDR")
    }
    assert digits == {"HUF": 2, "TWD": 2, "ISK": 0, "UGX": 0, "IQD": 3, "TND": 3, "UYW": 4, "MRU": 2, "XDR": 0}


# --- at the intake ------------------------------------------------------------------------------------------


def test_every_amount_of_a_price_is_canonical() -> None:
    """The price itself, tiers, groups, crossed-out and scheduled prices; by either validator, and in bulk."""
    config = configured("sqlite:///nowhere")
    given = event("pricing", EVERYWHERE)
    line = as_line(given)
    [bulk] = BulkValidator(config).validate([line], [b"TSHIRT-M/*/pricing/erp"])
    assert [EventValidator(config).validate(each).content for each in (given, parse_event(line))] == [PLAIN, PLAIN]
    assert bulk is not None
    assert bulk.content == PLAIN


async def test_another_spelling_is_no_conflict(config: pagefold.Config) -> None:
    """The same amount is a duplicate, another amount a conflict; the page has the canonical form."""
    async with pagefold.open(config) as shop:
        await append(shop, price("19.9"))
        results = await shop.append([price(each) for each in ("19.90", "019.9000", "19.90001", "20")])
        assert [each.outcome for each in results] == ["duplicate", "duplicate", "conflict", "conflict"]
        await shop.catch_up()
        assert await section(shop, "pricing") == {"amount": "19.90", "currency": "EUR"}


async def test_an_older_spelling_is_no_conflict(config: pagefold.Config) -> None:
    """A log can be older than the canonical form. It is folded unchanged."""
    async with pagefold.open(config) as shop:
        await shop.store.log.insert([old_price("A", b'{"amount":"019.9000","currency":"EUR"}')])
        results = await shop.append([price("19.90", sku="A"), price("19.91", sku="A")])
        assert [each.outcome for each in results] == ["duplicate", "conflict"]
        await shop.catch_up()
        assert await section(shop, "pricing", sku="A") == {"amount": "019.9000", "currency": "EUR"}


async def test_a_rebuild_compares_amounts(store_url: str, tmp_path: Path) -> None:
    """A rebuild repairs only different amounts, however the snapshot or an older log spells them."""
    config = with_snapshots(store_url, tmp_path, "erp")
    skus = [f"S{number}" for number in range(8)]
    async with pagefold.open(config) as shop:
        await shop.store.log.insert([old_price(sku, b'{"amount":"7.0","currency":"EUR"}') for sku in skus[:4]])
        await append(shop, *[price("7.00", sku=sku) for sku in skus[4:]])
        amounts = ["7.00", "7.0", "07", "8.00", "7", "7.00", "7.000", "7.01"]
        rows = [as_line(price(amount, sku=sku)) for amount, sku in zip(amounts, skus, strict=True)]
        export_lines(config, "erp", rows)
        assert counts_of(await rebuild(shop, "erp")) == {"rows": 8, "equal": 6, "changed": 2}
        assert [(await section(shop, "pricing", sku=sku))["amount"] for sku in ("S3", "S7")] == ["8.00", "7.01"]
        prices = [each for each in await everything(shop.store) if each.topic == "pricing"]
        assert counts_of(await rebuild(shop, "erp")) == {"rows": 8, "equal": 8}
        assert [each for each in await everything(shop.store) if each.topic == "pricing"] == prices


# --- prices of zero -----------------------------------------------------------------------------------------


def free(**changes: object) -> DomainEvent:
    """A price above zero, with some part of it at zero."""
    return event("pricing", EVERYWHERE | changes)


FREE = {
    "amount": free(amount="0"),
    "tiers[1].amount": free(tiers=[{"minQuantity": 1, "amount": "1"}, {"minQuantity": 2, "amount": "0.00"}]),
    "customerGroups.staff": free(customerGroups={"trade": "1", "staff": "000"}),
    "scheduled[0].amount": free(scheduled=[{"amount": "0.000"}]),
}


@pytest.mark.parametrize(("path", "given"), FREE.items())
def test_a_setting_says_whether_free_is_a_price(path: str, given: DomainEvent) -> None:
    """By default zero is a price; otherwise every zero that a customer would pay is rejected."""
    strict = configured("sqlite:///nowhere", sources=document()["sources"] | {"erp": STRICT})
    EventValidator(configured("sqlite:///nowhere")).validate(given)
    line, stream = as_line(given), b"TSHIRT-M/*/pricing/erp"
    for each in (given, parse_event(line)):
        with pytest.raises(Rejected, match=r'is zero.*zero_price = "accept"') as caught:
            EventValidator(strict).validate(each)
        assert caught.value.path == f"payload.{path}"
    fine = as_line(free(compareAt="0"))
    results = BulkValidator(strict).validate([line, fine], [stream, stream])
    assert [each is None for each in results] == [True, False]
    EventValidator(strict).validate(parse_event(fine))


STRICT: Document = {"domains": ["pricing"], "zero_price": "refuse"}


def test_the_setting_has_two_values() -> None:
    """Any other value is an error that names the key."""
    with pytest.raises(ConfigurationError, match=r"sources\.erp\.zero_price"):
        configured("sqlite:///nowhere", sources=document()["sources"] | {"erp": STRICT | {"zero_price": "maybe"}})


async def test_a_rebuild_rejects_what_the_intake_rejects(store_url: str, tmp_path: Path) -> None:
    """A row without a valid price is no event, and withdraws nothing."""
    config = with_snapshots(store_url, tmp_path, "erp")
    erp = msgspec.structs.replace(config.sources["erp"], zero_price="refuse")
    config = msgspec.structs.replace(config, sources=config.sources | {"erp": erp})
    async with pagefold.open(config) as shop:
        await append(shop, price("5", sku="A"), price("6", sku="B"))
        export(config, "erp", price("0.00", sku="A", version=2), price("6", sku="B"), price("0", sku="C"))
        assert counts_of(await rebuild(shop, "erp")) == {"rows": 3, "equal": 1, "refused": 2}
        assert (await section(shop, "pricing", sku="A"))["amount"] == "5.00"
