"""Notifications that have only an id make fetches: nothing is forgotten, nothing fetched twice; on both stores."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
from anyio.to_thread import run_sync

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.dead_letters.webhook_retrier import Request
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.stores.dead_letter_records import DeadLetter
from pagefold.engine.sync import fetch_worker
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import MAX_TRIES, FetchReport, FetchWorker
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document, everything, section

CONTRACT: Document = {
    "items": "variants",
    "sku": "sku",
    "sourceVersion": "$.version",
    "catalog": {"attributes": {"name": "$.name"}, "references": {"ct:product": "$.id"}},
}
HOOK: Document = {"secret_variables": ["SECRET"], "scheme": "hmac-sha256", "header": "X-Hmac"}
NOON = datetime(2026, 7, 8, 12, 0, tzinfo=UTC)


class Products:
    """A source that answers with products. `broken` may answer in its place."""

    def __init__(self) -> None:
        self.products: dict[str, Document] = {}
        self.broken: Callable[[Asked], Reply | None] = lambda _asked: None
        self.asked: list[str] = []

    def change(self, key: str, name: str, version: int, *skus: str) -> None:
        """A product changes."""
        variants = [{"sku": sku} for sku in skus or (key.upper(),)]
        self.products[key] = {"id": key, "version": version, "name": name, "variants": variants}

    def __call__(self, asked: Asked) -> Reply:
        """One product."""
        key = asked.path.rpartition("/")[2]
        self.asked.append(key)
        if (reply := self.broken(asked)) is not None:
            return reply
        if key not in self.products:
            return Reply(b'{"message":"not found"}', status=404)
        return Reply(json.dumps(self.products[key]).encode())


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        """The time."""
        return datetime.now(UTC) + self._ahead

    def passes(self, seconds: float) -> None:
        """Time passes."""
        self._ahead += timedelta(seconds=seconds)


def configured(url: str, server: Server, hook: Document | None = None, **fetch: object) -> Config:
    """A shop whose products come by notifications alone."""
    tables = document(url, references={"groups": ["ct:product"], "max_withdrawn": 3})
    rule = {
        "only": {"resource.typeId": ["product"]},
        "url": f"{server.url}/products/{{resource.id}}",
        "contract": CONTRACT,
        "missing": {"kind": "ct:product", "id": "resource.id"},
        "requests_per_second": 1000.0,
        **fetch,
    }
    tables["sources"]["pim"] = {"domains": ["catalog"], "webhook": HOOK | {"fetch": [rule]} | (hook or {})}
    return Config.parse(tables, store=url)


def notification(key: str, kind: str = "product", **more: object) -> Document:
    """That a resource changed."""
    return {"notificationType": "ResourceUpdated", "resource": {"typeId": kind, "id": key}, **more}


class Fixture:
    """A shop that is notified."""

    def __init__(self, shop: Shop, products: Products, client: httpx2.AsyncClient) -> None:
        self.shop = shop
        self.products = products
        self.client = client
        self.clock = Clock()
        self.worker = FetchWorker(shop, self.clock)

    async def notify(self, message: object, **headers: str) -> list[str]:
        """The outcomes of a webhook."""
        body = json.dumps(message).encode()
        signature = base64.b64encode(hmac.digest(b"hush", body, hashlib.sha256)).decode()
        answer = await self.client.post("/v1/webhooks/pim", content=body, headers={"x-hmac": signature} | headers)
        assert answer.status_code == 202, answer.text
        return [each["outcome"] for each in answer.json()["results"]]

    async def fetch(self, seconds: float = 1.0) -> FetchReport:
        """Time passes, and what is due is fetched. Returns what became of that."""
        self.clock.passes(seconds)
        before = msgspec.structs.astuple(self.worker.report)
        report = await self.worker.run_due()
        assert report is not None
        await self.shop.catch_up()
        return FetchReport(*(now - then for now, then in zip(msgspec.structs.astuple(report), before, strict=True)))

    async def name(self, sku: str) -> str | None:
        """The name on a page; None without a catalog section."""
        await self.shop.catch_up()
        page = await self.shop.pages.get(sku, "web-de", disabled=True)
        found: Any = None if page is None else page.sections.get("catalog")
        return None if found is None else str(found["attributes"]["name"])

    async def wanted(self) -> list[tuple[str, int, int]]:
        """Address, number of notifications and tries of what is wanted."""
        found = await self.shop.store.fetches.oldest(100)
        return [(each.address.rpartition("/")[2], each.asked, each.tries) for each in found]

    async def letters(self) -> list[DeadLetter]:
        """The open dead letters."""
        return await self.shop.dead_letters.newest()


@asynccontextmanager
async def notified(
    url: str, products: Products, hook: Document | None = None, **fetch: object
) -> AsyncIterator[Fixture]:
    """A shop with this configuration, and its sender."""
    async with serving(products) as server, pagefold.open(configured(url, server, hook, **fetch)) as shop:
        service = service_of(shop, environment={"SECRET": "hush"})
        async with client_of(service, "all") as client:
            yield Fixture(shop, products, client)


@pytest.fixture
def products() -> Products:
    """Two products."""
    found = Products()
    found.change("p-1", "Tee", 3, "TEE-S", "TEE-M")
    found.change("p-2", "Hat", 1)
    return found


@pytest.fixture
async def thin(store_url: str, products: Products) -> AsyncIterator[Fixture]:
    """A shop that is notified of products."""
    async with notified(store_url, products) as fixture:
        yield fixture


async def test_a_notification_makes_a_fetch_that_enters_with_its_own_version(thin: Fixture) -> None:
    """It is answered at once, and the record comes later, with the version that it has then."""
    assert await thin.notify(notification("p-1", version=2)) == ["wanted"]
    assert thin.products.asked == []
    assert (await thin.fetch()).fetched == 1
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == ["Tee", "Tee"]
    versions = [each.originator_version for each in await everything(thin.shop.store)]
    assert versions == [3, 3]
    assert await thin.wanted() == []


async def test_many_notifications_of_one_record_are_one_fetch(thin: Fixture) -> None:
    """And those of another record another one."""
    for version in range(5):
        await thin.notify(notification("p-1", version=version))
    await thin.notify(notification("p-2"))
    assert await thin.wanted() == [("p-1", 5, 0), ("p-2", 1, 0)]
    assert (await thin.fetch()).fetched == 2
    assert sorted(thin.products.asked) == ["p-1", "p-2"]


async def test_a_notification_during_its_fetch_makes_one_more(thin: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed after the answer was written is not lost."""
    await thin.notify(notification("p-1"))
    take = thin.shop.deliveries.take

    async def meanwhile(*arguments: Any) -> Any:  # noqa: ANN401  # of the method
        monkeypatch.setattr(thin.shop.deliveries, "take", take)
        thin.products.change("p-1", "Tea", 4, "TEE-S")
        await thin.notify(notification("p-1"))
        return await take(*arguments)

    monkeypatch.setattr(thin.shop.deliveries, "take", meanwhile)  # the answer was read, and is not taken yet
    await thin.fetch()
    assert await thin.wanted() == [("p-1", 2, 0)]
    await thin.fetch()
    assert await thin.name("TEE-S") == "Tea"
    assert await thin.wanted() == []


async def test_what_no_fetch_counts_for_is_read_by_the_contract(store_url: str, products: Products) -> None:
    """Without a contract it is ignored; with one, it makes statements."""
    async with notified(store_url, products) as thin:
        assert await thin.notify(notification("c-1", "category")) == ["ignored"]
        assert await thin.wanted() == []
    contract = {"sku": "sku", "sourceVersion": "v", "catalog": {"attributes": {"name": "name"}}}
    async with notified(store_url, products, {"contract": contract}) as thin:
        assert await thin.notify({"sku": "A", "v": 1, "name": "Fat"}) == ["appended"]
        assert await thin.notify(notification("p-1")) == ["wanted"]
        assert await thin.name("A") == "Fat"


async def test_several_notifications_of_one_message(store_url: str, products: Products) -> None:
    """Each makes its own fetch; one that cannot is kept alone, and the others are not fetched again for it."""
    hook = {
        "contract": {"sku": "events.0.sku", "sourceVersion": "events.0.v", "catalog": {"attributes": {"name": "x"}}}
    }
    async with notified(store_url, products, hook, items="events") as thin:
        events = [notification("p-1"), notification(""), {"sku": "B", "v": 1, "x": 0}, notification("p-2")]
        assert await thin.notify({"events": events}) == ["wanted", "kept", "appended", "wanted"]
        [letter] = await thin.letters()
        assert json.loads(letter.state) == {"events": [notification("")]}
        assert "no value at 'resource.id'" in letter.error
        assert (await thin.fetch()).fetched == 2


async def test_a_header_chooses(store_url: str, products: Products) -> None:
    """`only` may name a header; it is kept with the notification, for the fetch is made by the same rule."""
    only = {"@header.X-Topic": ["products/update"]}
    async with notified(store_url, products, only=only) as thin:
        assert await thin.notify(notification("p-1"), **{"X-Topic": "orders/paid"}) == ["ignored"]
        assert await thin.notify(notification("p-1"), **{"X-Topic": "products/update"}) == ["wanted"]
        assert (await thin.fetch()).fetched == 1
        assert await thin.name("TEE-M") == "Tee"


# --- records that are not there -------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_a_record_that_is_gone_is_withdrawn(thin: Fixture, status: int) -> None:
    """All SKUs of its reference; when the source says it again, if only the same, it is there again."""
    await thin.notify(notification("p-1"))
    await thin.fetch()
    thin.products.broken = lambda _asked: Reply(b"gone", status=status)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).missing == 1
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == [None, None]
    thin.products.broken = lambda _asked: None
    await thin.notify(notification("p-1"))
    await thin.fetch()
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == ["Tee", "Tee"]
    assert await thin.letters() == []


async def test_a_sku_may_say_what_is_missing(store_url: str, products: Products) -> None:
    """And an answer without a row, where the source answers so."""
    missing = {"sku": "code", "empty": True}
    async with notified(store_url, products, missing=missing, rows="data") as thin:
        thin.products.broken = lambda asked: Reply(json.dumps({"data": products.products[asked.path[-3:]]}).encode())
        await thin.notify(notification("p-2", code="P-2"))
        await thin.fetch()
        assert await thin.name("P-2") == "Hat"
        thin.products.broken = lambda _asked: Reply(b'{"data":null}')
        await thin.notify(notification("p-2", code="P-2"))
        assert (await thin.fetch()).missing == 1
        assert await thin.name("P-2") is None


async def test_what_would_withdraw_much_needs_a_person(thin: Fixture) -> None:
    """`references.max_withdrawn`: the notification is a dead letter, whose retry withdraws."""
    thin.products.change("p-1", "Tee", 3, *(f"TEE-{number}" for number in range(4)))
    await thin.notify(notification("p-1"))
    await thin.fetch()
    del thin.products.products["p-1"]
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).dead == 1
    assert await thin.name("TEE-3") == "Tee"
    [letter] = await thin.letters()
    assert "4 SKUs of it would be withdrawn" in letter.error
    assert await thin.shop.dead_letters.retry(letter, by="ada") == "resolved"
    await thin.fetch()
    assert await thin.name("TEE-3") is None
    assert await thin.letters() == []


async def test_an_address_that_finds_nothing_withdraws_little(thin: Fixture) -> None:
    """After some records in a row, the next ones wait for a person: the address may be wrong."""
    for number in range(6):
        thin.products.change(f"q-{number}", "Cup", 1)
        await thin.notify(notification(f"q-{number}"))
    await thin.fetch()
    thin.products.broken = lambda _asked: Reply(b"no such page", status=404)
    for number in range(6):
        await thin.notify(notification(f"q-{number}"))
    report = await thin.fetch()
    assert (report.missing, report.dead) == (3, 3)
    assert len([number for number in range(6) if await thin.name(f"Q-{number}") is None]) == 3


async def test_without_missing_a_404_is_a_failure(store_url: str, products: Products) -> None:
    """Nothing is withdrawn, and a person learns of it."""
    async with notified(store_url, products, missing=None) as thin:
        await thin.notify(notification("p-9"))
        for _ in range(MAX_TRIES):
            await thin.fetch(100.0)
        [letter] = await thin.letters()
        assert "it answers 404 Not Found, after 7 tries" in letter.error


# --- what fails -----------------------------------------------------------------------------------


async def test_what_is_refused_is_tried_seven_times(thin: Fixture) -> None:
    """Then its notification is a dead letter; the retry of that fetches again."""
    thin.products.broken = lambda _asked: Reply(b"{}", status=400)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).failed == 1
    assert await thin.wanted() == [("p-1", 1, 1)]
    assert (await thin.fetch(0.0)).failed == 0, "it waits for a second"
    for _ in range(MAX_TRIES - 1):
        await thin.fetch(100.0)
    assert len(thin.products.asked) == MAX_TRIES
    assert await thin.wanted() == []
    [letter] = await thin.letters()
    assert json.loads(letter.state) == notification("p-1")
    assert letter.via == "webhook"
    thin.products.broken = lambda _asked: None
    assert await thin.shop.dead_letters.retry(letter) == "resolved"
    assert (await thin.shop.dead_letters.get(letter.id)).resolution == "wanted"
    await thin.fetch()
    assert await thin.name("TEE-S") == "Tee"


async def test_a_server_that_is_away_for_an_hour(thin: Fixture) -> None:
    """It is asked again and again by one fetch at a time, less and less often; nothing needs a person after it."""
    thin.products.broken = lambda _asked: Reply(b"", status=503)
    for key in ("p-1", "p-2"):
        await thin.notify(notification(key))
    for _ in range(360):
        await thin.fetch(10.0)
    assert 40 < len(thin.products.asked) < 180, "once a minute, not once every ten seconds for each"
    assert await thin.letters() == []
    thin.products.broken = lambda _asked: None
    for _ in range(10):
        await thin.fetch(60.0)
    assert [await thin.name("TEE-S"), await thin.name("P-2")] == ["Tee", "Hat"]
    assert await thin.wanted() == []


async def test_a_server_that_is_away_for_days_is_reported(thin: Fixture) -> None:
    """After a day, what could not be fetched is a dead letter."""
    thin.products.broken = lambda _asked: Reply(b"", status=503)
    await thin.notify(notification("p-1"))
    for _ in range(MAX_TRIES):
        await thin.fetch(5 * 3600.0)
    assert ["after 7 tries" in each.error for each in await thin.letters()] == [True]


async def test_the_server_says_how_long_it_wants_to_be_left_alone(thin: Fixture) -> None:
    """429 with `Retry-After`: nothing is asked of it before that, and then everything is."""
    thin.products.broken = lambda _asked: Reply(b"", status=429, headers={"retry-after": "30"})
    await thin.notify(notification("p-1"))
    await thin.fetch()
    thin.products.broken = lambda _asked: None
    await thin.notify(notification("p-2"))
    await thin.fetch(20.0)
    assert thin.products.asked == ["p-1"]
    await thin.fetch(15.0)
    assert sorted(thin.products.asked) == ["p-1", "p-1", "p-2"]
    assert await thin.wanted() == []


@pytest.mark.parametrize(
    "reply",
    [Reply(b"<html>"), Reply(b'{"id":', status=200), Reply(b'"a text"'), Reply(b'{"a":1}', cut=3)],
    ids=["no JSON", "half of it", "no record", "cut"],
)
async def test_an_answer_that_cannot_be_read_is_asked_for_again(thin: Fixture, reply: Reply) -> None:
    """Nothing is stated of it."""
    thin.products.broken = lambda _asked: reply
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).failed == 1
    thin.products.broken = lambda _asked: None
    assert (await thin.fetch(2.0)).fetched == 1
    assert await thin.name("TEE-S") == "Tee"


async def test_a_record_that_the_contract_cannot_read_is_kept(thin: Fixture) -> None:
    """The record, not the notification: the retry reads it again by the contract of the fetch."""
    thin.products.change("p-1", "Tee", -3)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).fetched == 1
    [letter] = await thin.letters()
    assert (letter.via, json.loads(letter.state)["id"]) == ("fetch", "p-1")
    assert await thin.shop.dead_letters.retry(letter) == "still dead"


async def test_a_clock_that_was_wrong_delays_nothing(thin: Fixture) -> None:
    """A fetch that was noted to be due next year is due."""
    await thin.notify(notification("p-1"))
    thin.products.broken = lambda _asked: Reply(b"", status=400)
    thin.clock.passes(365 * 86_400.0)
    await thin.fetch()
    thin.products.broken = lambda _asked: None
    thin.clock.passes(-365 * 86_400.0)
    assert (await thin.fetch()).fetched == 1


async def test_a_rule_that_is_gone_reads_its_notifications_again(store_url: str, products: Products) -> None:
    """What is wanted, and is not asked for by the configuration of today, is what it is by that."""
    async with notified(store_url, products) as thin:
        await thin.notify(notification("p-1"))
        await thin.notify(notification("p-2"))
    async with notified(store_url, products, only={"resource.id": ["p-2"]}) as thin:
        assert (await thin.fetch()).fetched == 1
        assert products.asked == ["p-2"]
        assert await thin.wanted() == []


# --- processes ------------------------------------------------------------------------------------


async def test_two_workers_fetch_in_turn(thin: Fixture) -> None:
    """While one fetches, another does not; nothing is fetched twice."""
    await thin.notify(notification("p-1"))
    async with thin.shop.store.coordination.claim(fetch_worker.CLAIM):
        assert await thin.worker.run_due() is None
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(FetchWorker(thin.shop).run)
        with anyio.fail_after(20):
            while await thin.wanted():  # noqa: ASYNC110  # another task changes it in the store
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert thin.products.asked == ["p-1"]
    assert await thin.name("TEE-S") == "Tee"


async def test_changes_that_are_notifications(store_url: str, products: Products) -> None:
    """A delta may have only ids; it goes on where it was, and each change fetches its record."""
    products.broken = lambda asked: Reply(json.dumps(changes).encode()) if asked.path == "/changes" else None
    changes = [{"id": "p-1", "at": "2026-07-08T12:00:00Z"}, {"id": "p-2", "at": "2026-07-08T11:00:00Z"}, {"id": None}]
    async with serving(products) as server:
        tables = document(store_url)
        fetch = {"url": f"{server.url}/products/{{id}}", "contract": CONTRACT}
        delta = {"url": f"{server.url}/changes?since={{since}}", "fetch": fetch, "changed": "at"}
        tables["sources"]["pim"] = {"domains": ["catalog"], "delta": delta}
        async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
            report = await DeltaSync(shop, lambda: NOON + timedelta(hours=1)).run("pim")
            assert (report.records, report.wanted, report.refused) == (3, 2, 1)
            [letter] = await shop.dead_letters.newest()
            assert (letter.via, letter.state) == ("delta", b'{"id": null}')
            assert (
                await DeltaSync(shop, lambda: NOON + timedelta(hours=1)).run("pim")
            ).since == "2026-07-08T11:55:00.000000Z"
            worker = FetchWorker(shop)
            assert await worker.run_due() is not None
            assert worker.report.fetched == 2
            await shop.catch_up()
            assert (await section(shop, "catalog", sku="P-2"))["attributes"]["name"] == "Hat"


async def test_cloudevents_that_are_notifications(store_url: str, products: Products) -> None:
    """In each mode; beside those that a contract reads, and in base64."""
    contract = {"sku": "data.sku", "sourceVersion": "data.v", "catalog": {"attributes": {"name": "data.name"}}}
    async with serving(products) as server:
        tables = document(store_url)
        rule = {
            "only": {"type": ["product.changed"]},
            "url": f"{server.url}/products/{{data.id}}",
            "contract": CONTRACT,
        }
        says = {"types": ["product.*"], "contract": contract, "fetch": [rule | {"requests_per_second": 1000.0}]}
        tables["sources"]["pim"] = {"domains": ["catalog"], "cloudevents": says}
        head = {"specversion": "1.0", "source": "/pim", "time": "2026-01-01T00:00:00Z", "type": "product.changed"}
        encoded = base64.b64encode(b'{"id":"p-2"}').decode()
        events = [
            head | {"id": "1", "data": {"id": "p-1"}},
            head | {"id": "2", "data_base64": encoded},
            head | {"id": "3", "type": "product.told", "data": {"sku": "A", "v": 1, "name": "Fat"}},
        ]
        async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
            async with client_of(service_of(shop), "all") as client:
                kind = {"content-type": "application/cloudevents-batch+json"}
                answer = await client.post("/v1/events", json=events, headers=kind)
                outcomes = [each["outcome"] for each in answer.json()["results"]]
                assert (answer.status_code, outcomes) == (202, ["wanted", "wanted", "appended"])
            assert await FetchWorker(shop).run_due() == FetchReport(fetched=2)
            await shop.catch_up()
            names = [(await section(shop, "catalog", sku=sku))["attributes"]["name"] for sku in ("TEE-M", "P-2", "A")]
            assert names == ["Tee", "Hat", "Fat"]


async def test_an_answer_may_be_a_group_that_is_joined(store_url: str) -> None:
    """Asked for by a request with a body, page by page; it is stated once, when all of it was read."""
    asked: list[Document] = []

    def stock(given: Asked) -> Reply:
        asked.append(json.loads(given.body))
        rows = [{"id": number, "sku": "A", "quantity": number} for number in range(1, 6)]
        offset = asked[-1]["offset"]
        return Reply(json.dumps({"result": rows[offset : offset + 2]}).encode())

    contract = {
        "join": {"by": "sku"},
        "sku": "sku",
        "versions": "none",
        "inventory": {"available": {"from": "records", "total": "quantity"}},
    }
    async with serving(stock) as server:
        tables = document(store_url)
        rule = {
            "url": f"{server.url}/quants",
            "body": {"product": "{product}", "offset": 0},
            "paging": {"member": "offset", "step": "rows", "size": 2},
            "rows": "result",
            "contract": contract,
            "requests_per_second": 1000.0,
        }
        tables["sources"]["wms-a"] = {"domains": ["inventory"], "webhook": HOOK | {"fetch": [rule]}}
        async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
            reader = shop.deliveries.reader("webhook", "wms-a")
            assert reader is not None
            request = Request("webhook", "wms-a", b'{"product":17}', "2026-03-01T12:00:00.000000Z")
            await shop.deliveries.take(request, reader, run_sync, shop.append)
            assert await FetchWorker(shop).run_due() == FetchReport(fetched=1)
            await shop.catch_up()
            assert (await section(shop, "inventory", sku="A"))["available"] == 15
    assert [(each["product"], each["offset"]) for each in asked] == [(17, 0), (17, 2), (17, 4)]


async def test_a_fetch_asks_as_its_snapshot_does(
    store_url: str, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same origin: what authorizes that, authorizes this."""
    monkeypatch.setenv("PIM_TOKEN", "secret")
    async with serving(products) as server:
        config = configured(store_url, server)
        pim = config.sources["pim"]
        snapshot = SnapshotConfig(url=f"{server.url}/products", contract=CONTRACT, token_variable="PIM_TOKEN")  # noqa: S106  # a name
        config = msgspec.structs.replace(
            config, sources=config.sources | {"pim": msgspec.structs.replace(pim, snapshot=snapshot)}
        )
        async with (
            pagefold.open(config) as shop,
            client_of(service_of(shop, environment={"SECRET": "hush"}), "all") as client,
        ):
            thin = Fixture(shop, products, client)
            await thin.notify(notification("p-1"))
            assert (await thin.fetch()).fetched == 1
        assert [each.headers["authorization"] for each in server.asked] == ["Bearer secret"]


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fetch", "problem"),
    [
        ({"url": "https://{tenant}.example/{id}"}, "fetch[0].url: must name its host"),
        ({"url": "ftp://x/{id}"}, "fetch[0].url: is not an address"),
        ({"after": "soon"}, "fetch[0].after: 'soon'"),
        ({"rows": "a..b"}, "fetch[0].rows: 'a..b'"),
        ({"only": {"a": "b"}}, "fetch[0].only.a: expected the values"),
        ({"missing": {}}, "fetch[0].missing: needs either"),
        ({"missing": {"kind": "ct:product"}}, "fetch[0].missing: needs either"),
        ({"missing": {"kind": "a b", "id": "x"}}, "fetch[0].missing.kind: 'a b'"),
        ({"contract": None}, "fetch[0].contract: is required"),
        ({"ulr": "x"}, "fetch[0].ulr: unknown key"),
    ],
)
def test_what_the_configuration_may_not_say(fetch: Document, problem: str) -> None:
    """Each problem names its key."""
    tables = document()
    rule = {"url": "https://pim.example/{id}", "contract": CONTRACT} | fetch
    tables["sources"]["pim"] = {"domains": ["catalog"], "webhook": HOOK | {"fetch": [rule]}}
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(tables)
    assert f"sources.pim.webhook.{problem}" in str(caught.value)
