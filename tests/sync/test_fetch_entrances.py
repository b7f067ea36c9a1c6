"""Fetches of several workers and entrances, and what the configuration may not say of them."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

import pagefold
from pagefold import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.dead_letters.webhook_retrier import Request
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.sync import fetch_worker
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchReport, FetchWorker
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document, section
from tests.support.thin_events import (
    CONTRACT,
    HOOK,
    Fixture,
    Products,
    configured,
    notification,
    notified,
    two_products,
)

NOON = datetime(2026, 7, 8, 12, 0, tzinfo=UTC)


@pytest.fixture
def products() -> Products:
    """Two products."""
    return two_products()


@pytest.fixture
async def thin(store_url: str, products: Products) -> AsyncIterator[Fixture]:
    """A shop that is notified of products."""
    async with notified(store_url, products) as fixture:
        yield fixture


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
            reader = shop.webhooks.reader("webhook", "wms-a")
            assert reader is not None
            request = Request("webhook", "wms-a", b'{"product":17}', "2026-03-01T12:00:00.000000Z")
            await shop.webhooks.take(request, reader, run_sync, shop.append)
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
