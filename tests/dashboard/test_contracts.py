"""The screen of contracts and drift; without JavaScript."""

from pathlib import Path
from typing import Any

import pytest

from pagefold import Config, Shop
from pagefold.engine.dashboard.screens.contracts import FIELDS_LISTED
from pagefold.engine.intake.contracts.listed_contracts import listed_contracts
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.field_ledger import Alert, FieldFilter, Sighting, Sightings
from pagefold.engine.stores.grants import Grant
from tests.support.dashboard_pages import browser_of
from tests.support.small_shop import configured, document

HOSTILE = "<svg onload=alert(1)>"
READER = Grant("tok_reader", frozenset(["read"]), None)


def with_contract(url: str, amount: object) -> Config:
    """The small shop, whose ERP has a contract for changes of a table."""
    contract = {"name": "prices", "version": 3, "sku": "article", "sourceVersion": "revision"}
    cdc = {"contract": contract | {"pricing": {"amount": amount}}}
    sources: dict[str, Any] = dict(document(url)["sources"])
    return configured(url, sources=sources | {"erp": sources["erp"] | {"cdc": cdc}})


@pytest.fixture
def config(store_url: str) -> Config:
    """The small shop with that contract."""
    return with_contract(store_url, "gross")


async def sight(shop: Shop, *fields: tuple[str, Alert | None]) -> None:
    """Records of the ERP with these fields, and their alerts."""
    seen = [Sighting("", name, 9, 10, 1, alert is None, HOSTILE, alert) for name, alert in fields]
    await shop.store.fields.add(Sightings("erp", "prices@3", now(), [("", 10)], seen, alert_type=True))


async def test_what_has_changed_comes_first(shop: Shop) -> None:
    """With what it is, how often, an example, and how it ends; nothing of it is markup."""
    await sight(shop, ("gross", None), (HOSTILE, "new"), ("rebate", "type"))
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/contracts")).text
    assert "2 fields have changed in the records of 1 source" in page
    assert "new, and not mapped" in page
    assert "of another type than before" in page
    assert "90.0 %" in page
    assert "2 changed" in page
    assert HOSTILE not in page
    assert "&lt;svg onload" in page


async def test_alerts_end_by_a_decision(shop: Shop) -> None:
    """Those of one source; who only reads decides nothing, and no reason is no decision."""
    await sight(shop, ("gross", "new"), ("rebate", "type"))
    async with browser_of(shop, READER) as browser:
        answer = await browser.decide("/ui/contracts", "/ui/contracts:acknowledge", {"reason": "as it shall be"})
        assert answer.status_code == 403
    async with browser_of(shop) as browser:
        answer = await browser.decide("/ui/contracts", "/ui/contracts:acknowledge", {"reason": " "})
        assert answer.status_code == 422
        stale = {"reason": "as it shall be", "expected": "1"}
        assert (await browser.decide("/ui/contracts", "/ui/contracts:acknowledge", stale)).status_code == 409
        assert len(await shop.store.fields.entries(FieldFilter(alerts=True))) == 2
        answer = await browser.decide("/ui/contracts", "/ui/contracts:acknowledge", {"reason": "as it shall be"})
        assert answer.status_code == 303
        done, refused = (await shop.audit.page()).entries[:2]
        assert (done.target, done.reason, done.outcome, refused.outcome) == ("erp", "as it shall be", "done", "refused")
        page = (await browser.get("/ui/contracts")).text
        assert "2 alerts of erp ended." in page
        assert "Records look as their contracts expect" in page


async def test_the_fields_of_a_source_are_listed_in_steps(shop: Shop) -> None:
    """By their names, each once, however many they are."""
    names = [f"field-{number:03}" for number in range(FIELDS_LISTED + 7)]
    await sight(shop, *((name, None) for name in names))
    async with browser_of(shop) as browser:
        first = (await browser.get("/ui/contracts?source=erp")).text
        assert names[FIELDS_LISTED - 1] in first
        assert names[FIELDS_LISTED] not in first
        after = f"contract=prices%403&after={names[FIELDS_LISTED - 1]}"
        assert after.replace("&", "&amp;") in first
        second = (await browser.get(f"/ui/contracts?source=erp&{after}")).text
        assert all(name in second for name in names[FIELDS_LISTED:])
        assert names[0] not in second


def test_contracts_are_listed_with_what_is_wrong(config: Config, tmp_path: Path) -> None:
    """By source and entrance; one that cannot be used says why."""
    [listed] = listed_contracts(config)
    assert (listed.source, listed.entrance, listed.name, listed.problem) == ("erp", "cdc", "prices@3", "")
    [listed] = listed_contracts(with_contract(f"sqlite:///{tmp_path}", {"nothing": "gross"}))
    assert "nothing" in listed.problem
