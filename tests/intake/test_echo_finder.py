"""Echoes are found by the receipts of both stores, at every entrance and in snapshots."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

import pagefold
from pagefold import AppendResult, Config, DomainEvent, Shop
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.delivery.documents import document_maker
from pagefold.engine.delivery.offers import offer_maker
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.delivery_records import Claim, DeliveryKey, Outcome, Settlement, Wanted
from tests.support.rebuild_fixtures import AT_ONCE, export, rebuild
from tests.support.small_shop import configured, document, event, say, withdrawn

TARGET = TargetConfig(http=HttpTargetConfig(url="http://192.0.2.1/"), channels=["web-de"], source="crm")


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop with a CRM, which has a snapshot, as source and target."""
    own = document()["sources"]
    crm = {"domains": ["catalog", "pricing"], "snapshot": {"file": str(tmp_path / "crm.ndjson"), **AT_ONCE}}
    config = configured(store_url, sources={"crm": crm, **own})
    return msgspec.structs.replace(config, targets={"crm": TARGET})


def crm(name: str, *, version: int = 1, sku: str = "A", **changes: object) -> DomainEvent:
    """What the CRM says of a product."""
    given = event("catalog", {"attributes": {"name": name}}, version=version, sku=sku, source="crm")
    return msgspec.structs.replace(given, **changes)


def pim(name: str, *, version: int = 1, sku: str = "A") -> DomainEvent:
    """What the PIM says of it."""
    return event("catalog", {"attributes": {"name": name}}, version=version, sku=sku)


async def offered(shop: Shop, *skus: str) -> tuple[Claim, list[Settlement]]:
    """The newest pages are claimed and offered to the CRM; how they are settled if it takes them."""
    deliveries, make, offer = shop.store.deliveries, document_maker(TARGET), offer_maker(TARGET)
    assert offer is not None
    position = await shop.store.log.end()
    keys = [DeliveryKey(sku, "web-de") for sku in skus]
    documents = {key: make(await shop.pages.get_json(*key)) for key in keys}
    before = await deliveries.cursor("crm")
    wanted = [Wanted(*key, document.tag, position) for key, document in documents.items()]
    await deliveries.mark("crm", before, before + ".", wanted)
    claim, rows = await deliveries.claim("crm", "worker", 100, 60.0)
    assert {DeliveryKey(row.sku, row.channel) for row in rows} == set(keys)
    offers = {key: offer(document, position) for key, document in documents.items()}
    await deliveries.offer(claim, offers)
    return claim, [
        Settlement(*key, "delivered", document.tag, document.tag, position, "200", echo=offers[key])
        for key, document in documents.items()
    ]


async def delivered(shop: Shop, *skus: str, outcome: Outcome = "delivered") -> None:
    """The CRM gets the newest pages."""
    claim, settlements = await offered(shop, *skus)
    await shop.store.deliveries.settle(claim, [each._replace(outcome=outcome) for each in settlements])


def outcomes(results: Sequence[AppendResult]) -> list[str]:
    """What became of each."""
    return [result.outcome for result in results]


async def test_only_what_is_newer_than_its_own_statements(shop: Shop) -> None:
    """What is in the log already is a duplicate or in conflict, what is older is history, as ever."""
    await say(shop, pim("Mug"), crm("Mug", version=3))
    await delivered(shop, "A")
    results = await shop.append(
        [crm("Mug", version=3), crm("Mug", version=2), crm("Cup", version=3), crm("Mug", version=4)]
    )
    assert outcomes(results) == ["duplicate", "appended", "conflict", "appended"]  # after others of one call
    assert outcomes(await shop.append_atomically([crm("Mug", version=5, sku="B"), crm("Mug", version=5)])) == [
        "appended",
        "appended",
    ]
    await shop.catch_up()
    await delivered(shop, "A")
    assert outcomes(await shop.append([crm("Mug", version=6)])) == ["echo"]


async def test_what_is_under_way_counts_as_sent(shop: Shop) -> None:
    """Also where no receipt follows; what was sent before it does not any more."""
    await say(shop, pim("Mug"))
    await delivered(shop, "A")
    await say(shop, pim("Tasse", version=2))
    claim, settlements = await offered(shop, "A")
    assert outcomes(await shop.append([crm("Tasse")])) == ["echo"]
    await shop.store.deliveries.settle(claim, [each._replace(outcome="uncertain") for each in settlements])
    assert outcomes(await shop.append([crm("Tasse", version=2), crm("Mug", version=3)])) == ["echo", "appended"]


async def test_what_waits_is_not_sent_yet(shop: Shop) -> None:
    """Until then, the CRM repeats what it was sent before."""
    await say(shop, pim("Mug"))
    await delivered(shop, "A")
    await say(shop, pim("Tasse", version=2))
    assert outcomes(await shop.append([crm("Mug")])) == ["echo"]


async def test_a_reset_target_proves_nothing(shop: Shop) -> None:
    """As after a restored log, or `targets deliver --all`."""
    await say(shop, pim("Mug"))
    await delivered(shop, "A")
    await shop.store.deliveries.reset("crm")
    assert outcomes(await shop.append([crm("Mug")])) == ["appended"]


async def test_receipts_that_cannot_be_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appending does not need them."""

    async def fails(*_: object) -> None:
        raise StoreUnavailable("sqlite", OSError("gone"))

    monkeypatch.setattr(shop.store.deliveries, "receipts", fails)
    assert outcomes(await shop.append([crm("Mug")])) == ["appended"]


async def test_based_on_what_was_sent(shop: Shop) -> None:
    """Unless the event says it itself, or it is not certain that it was."""
    await say(shop, pim("Mug", version=7), pim("Mug", version=7, sku="B"), pim("Mug", version=7, sku="C"))
    await delivered(shop, "A", "B")
    await delivered(shop, "C", outcome="uncertain")
    await say(shop, crm("Cup"), crm("Cup", sku="B", based_on={"catalog/pim": 3}), crm("Cup", sku="C"))
    assert [await based_on(shop, sku) for sku in "ABC"] == [{"catalog/pim": 7}, {"catalog/pim": 3}, None]


async def based_on(shop: Shop, sku: str) -> object:
    """What the CRM's event is based on, by the history."""
    [entry] = [each async for each in shop.history(sku, source="crm")]
    return entry.based_on


async def test_a_snapshot_of_what_was_sent(shop: Shop, config: Config) -> None:
    """Its rows are no drift, and prove that their records are there; what is not in it is withdrawn, as ever."""
    await say(shop, *(pim("Mug", sku=sku) for sku in "ABCD"), *(crm("Cup", sku=sku) for sku in "CDE"))
    await delivered(shop, "A", "B", "C", "D")
    rows = [crm("Mug", version=5, sku="A"), crm("Krug", version=5, sku="B"), crm("Cup", version=5, sku="C")]
    export(config, "crm", *rows, crm("Cup", sku="D"))
    for _ in range(2):
        report = await rebuild(shop, "crm")
        assert (report.counts.echoes, report.counts.rows, report.counts.equal + report.counts.missing) == (2, 4, 2)
        assert report.complete
    await shop.catch_up()
    assert [await streams(shop, sku) for sku in "ABCDE"] == [0, 1, 1, 1, 1]
    page = await shop.pages.get("C", "web-de")
    assert page is not None
    assert page["catalog"]["attributes"]["name"] == "Cup"


async def streams(shop: Shop, sku: str) -> int:
    """The heads of the CRM that are not withdrawn or repeated, of a SKU."""
    return sum([1 async for each in shop.history(sku, source="crm") if not each.withdrawn])


async def test_the_withdrawal_of_a_withdrawn_page(shop: Shop) -> None:
    """It comes back, and is no statement of the CRM."""
    await say(shop, pim("Mug"))
    await delivered(shop, "A")
    assert outcomes(await shop.append([withdrawn("catalog", version=1, sku="A", source="crm")])) == ["appended"]
    await say(shop, withdrawn("catalog", version=2, sku="A"))
    await delivered(shop, "A")
    assert outcomes(await shop.append([withdrawn("catalog", version=2, sku="A", source="crm")])) == ["echo"]


async def test_a_shop_without_such_targets_reads_no_receipts(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is paid for it."""
    async with pagefold.open(configured(store_url)) as shop:
        monkeypatch.setattr(shop.store.deliveries, "receipts", None)
        await say(shop, pim("Mug"))


async def test_other_sources_read_no_receipts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a target says is compared."""
    monkeypatch.setattr(shop.store.deliveries, "receipts", None)
    await say(shop, pim("Mug"))
