"""Deliveries that have only a part of a record: what they do not have keeps what the log has."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from pagefold import Config, ConfigurationError, Shop
from pagefold.engine.dead_letters.webhook_retrier import Outcome, Request
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.contracts.source_contracts import source_contract
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.statement import Statement, fill_unchanged
from pagefold.engine.runtime.clock import now
from tests.support.small_shop import Document, append, document, everything

CONTRACT: Document = {
    "items": "items",
    "sku": "sku",
    "sourceVersion": "rev",
    "occurredAt": {"constant": "2026-03-01T00:00:00Z"},
    "catalog": {
        "partial": True,
        "withdraw": {"gone": [True]},
        "enabled": "enabled",
        "categories": "categories",
        "family": "family",
        "attributes": {"color": "color", "size": "size"},
        "localized": {"name": "names"},
    },
}
AT = datetime(2026, 3, 1, tzinfo=UTC)
WHOLE = {
    "color": "red",
    "size": 5,
    "names": {"de_DE": "Rot", "en": "Red"},
    "family": "shirts",
    "categories": ["a", "b"],
    "enabled": False,
}


def configured(url: str, **tables: object) -> Config:
    """A shop to which the PIM sends parts of records."""
    parsed = document(url)
    parsed["sources"]["pim"] |= {"webhook": {"secret_variables": ["S"], "contract": CONTRACT}, **tables}
    return Config.parse(parsed, store=url)


@pytest.fixture
def config(store_url: str) -> Config:
    """The configuration of the shop."""
    return configured(store_url)


def catalog(payload: bytes) -> DomainEvent:
    """The first event of the SKU A."""
    return DomainEvent(
        type="catalog", sku="A", channel="*", source="pim", source_version=1, occurred_at=AT, payload=payload
    )


async def deliver(shop: Shop, *records: Document) -> list[Outcome]:
    """The outcomes of a delivery with parts of records."""
    reader = shop.webhooks.reader("webhook", "pim")
    assert reader is not None
    request = Request("webhook", "pim", json.dumps({"items": records}).encode(), now())

    async def run(work: Any) -> Any:  # noqa: ANN401  # any work
        return work()

    parts = await shop.webhooks.take(request, reader, run, shop.append)
    return [outcome for part in parts for outcome in part]


async def stated(shop: Shop, sku: str = "A") -> Any:  # noqa: ANN401  # JSON
    """The newest payload of the SKU."""
    [head] = await shop.store.log.heads([f"{sku}/*/catalog/pim"])
    return msgspec.json.decode(head.state)["payload"]


def outcomes(found: list[Outcome]) -> list[str]:
    """What became of each part."""
    return [each.outcome if isinstance(each, AppendResult) else type(each).__name__ for each in found]


async def test_without_anything_in_the_log_it_states_what_it_has(shop: Shop) -> None:
    """A part may be the first that comes."""
    assert outcomes(await deliver(shop, {"sku": "A", "rev": 1, "color": "red"})) == ["appended"]
    assert await stated(shop) == {"attributes": {"color": "red"}}


async def test_the_rest_keeps_what_the_log_has(shop: Shop) -> None:
    """Fields, attributes, locales of texts: what is absent, null or blank is no statement; a false, 0 or [] is one."""
    await deliver(shop, {"sku": "A", "rev": 1, **WHOLE})
    whole = await stated(shop)
    assert whole == {
        "attributes": {"color": "red", "size": 5},
        "localized": {"name": {"de-DE": "Rot", "en": "Red"}},
        "family": "shirts",
        "categories": ["a", "b"],
        "enabled": False,
    }
    part = {"color": "  ", "size": 0, "names": {"de": "rot", "en": "red"}, "family": None, "enabled": True}
    assert outcomes(await deliver(shop, {"sku": "A", "rev": 2, **part})) == ["appended"]
    assert await stated(shop) == {
        "attributes": {"color": "red", "size": 0},
        "localized": {"name": {"de-DE": "Rot", "de": "rot", "en": "red"}},
        "family": "shirts",
        "categories": ["a", "b"],
    }
    await deliver(shop, {"sku": "A", "rev": 3, "categories": []})
    assert (await stated(shop)).keys() == {"attributes", "localized", "family"}


async def test_what_another_contract_stated_is_kept(shop: Shop) -> None:
    """Also attributes that this one does not read."""
    await append(shop, catalog(b'{"attributes":{"weight":2},"parent":"P","localized":{"text":{"de":"x"}}}'))
    await deliver(shop, {"sku": "A", "rev": 2, "size": 1, "names": {"de": "y"}})
    assert await stated(shop) == {
        "attributes": {"weight": 2, "size": 1},
        "parent": "P",
        "localized": {"text": {"de": "x"}, "name": {"de": "y"}},
    }


async def test_repeated_parts_are_duplicates(shop: Shop) -> None:
    """Each is completed alike, whatever came since."""
    first, second = {"sku": "A", "rev": 1, **WHOLE}, {"sku": "A", "rev": 2, "color": "blue"}
    await deliver(shop, first, second)
    for _ in range(2):
        assert outcomes(await deliver(shop, second, first)) == ["duplicate", "duplicate"]
    assert (await stated(shop))["attributes"] == {"color": "blue", "size": 5}


async def test_parts_of_one_delivery_build_on_each_other(shop: Shop) -> None:
    """In their order."""
    parts: list[Document] = [{"rev": 1, "color": "red"}, {"rev": 2, "size": 1}, {"rev": 3, "color": "blue"}]
    assert outcomes(await deliver(shop, *({"sku": "A", **part} for part in parts))) == ["appended"] * 3
    assert await stated(shop) == {"attributes": {"color": "blue", "size": 1}}


async def test_an_older_part_does_not_change_what_is_newer(shop: Shop) -> None:
    """It is completed from what was before it, and is history."""
    await deliver(shop, {"sku": "A", "rev": 1, "color": "red"})
    await deliver(shop, {"sku": "A", "rev": 3, "size": 3})
    await deliver(shop, {"sku": "A", "rev": 2, "color": "blue"})
    assert await stated(shop) == {"attributes": {"color": "red", "size": 3}}
    payloads = [msgspec.json.decode(each.state)["payload"] for each in await everything(shop.store)]
    assert payloads[-1] == {"attributes": {"color": "blue"}}


async def test_after_a_withdrawal_it_begins_anew(shop: Shop) -> None:
    """What was withdrawn does not come back with a part; a part may withdraw."""
    await deliver(shop, {"sku": "A", "rev": 1, **WHOLE})
    await deliver(shop, {"sku": "A", "rev": 2, "gone": True})
    assert await stated(shop) is None
    await deliver(shop, {"sku": "A", "rev": 3, "size": 1})
    assert await stated(shop) == {"attributes": {"size": 1}}


async def test_what_is_in_dead_letters_does_not_stop_it(shop: Shop) -> None:
    """It claims nothing of what it does not have. So a shop goes on after one record that could not be taken."""
    await deliver(shop, {"sku": "A", "rev": 1, **WHOLE})
    [refused] = await deliver(shop, {"sku": "A", "rev": 2, "categories": 7})
    assert isinstance(refused, RejectedPart)
    assert outcomes(await deliver(shop, {"sku": "A", "rev": 3, "size": 7})) == ["appended"]
    assert (await stated(shop))["attributes"] == {"color": "red", "size": 7}


async def test_a_part_that_makes_no_valid_whole_is_kept(shop: Shop) -> None:
    """An error of the whole is one of the part, with its place."""
    [refused] = await deliver(shop, {"sku": "A", "rev": 1, "family": "x" * 2_000_000})
    assert isinstance(refused, RejectedPart)
    assert await everything(shop.store) == []


def test_columns_that_were_not_sent_may_be_unknown() -> None:
    """A change of a table that is a part needs nothing in the log, unlike one of a whole row."""
    event = catalog(b'{"family":"f"}')
    part = Statement(event, (("attributes", "text"),), is_part=True)
    assert fill_unchanged(part, None) == event
    filled = fill_unchanged(part, b'{"attributes":{"text":"long"},"family":"old"}').payload
    assert isinstance(filled, bytes)
    assert msgspec.json.decode(filled) == {"family": "f", "attributes": {"text": "long"}}


def test_a_snapshot_has_whole_records(store_url: str) -> None:
    """Its contract cannot be one of parts: what a rebuild compares with the log would lack the rest."""
    config = configured(store_url, snapshot={"file": "a.json"}, contract=CONTRACT)
    assert source_contract(config, "pim", "webhook") is not None
    with pytest.raises(ConfigurationError, match=r"catalog\.partial: is not for snapshots"):
        source_contract(config, "pim", "snapshot")
