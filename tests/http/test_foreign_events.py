"""CloudEvents that a contract reads: alike in every mode, kept where they cannot be taken, beside Pagefold's own."""

import base64
import json
from collections.abc import AsyncIterator

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import Document, append, document, event, everything

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
CONTRACT: Document = {
    "items": ["data.product.master", "data.product.variants"],
    "sku": "sku",
    "sourceVersion": "$.data.product.version",
    "correlationId": "@header.X-Trace",
    "catalog": {"localized": {"name": "$.data.product.name"}, "attributes": {"size": "size"}},
}
ATTRIBUTES: Document = {
    "specversion": "1.0",
    "id": "m-1",
    "source": "/shop/products",
    "type": "com.example.product.ProductPublished",
    "subject": "p-1",
    "time": "2026-01-01T00:00:00Z",
}
PRODUCT: Document = {"version": 2, "name": {"en": "Tee"}, "master": {"sku": "TEE-S"}, "variants": [{"sku": "TEE-M"}]}
OWN: Document = ATTRIBUTES | {"source": "erp", "type": "pricing", "subject": "A", "sequence": 1}


def configured(url: str, contract: Document = CONTRACT, **settings: object) -> Config:
    """A shop to which a commerce platform sends its events."""
    parsed = document(url)
    says = {"types": ["com.example.product.*"], "contract": contract} | settings
    parsed["sources"]["platform"] = {"domains": ["catalog"], "cloudevents": says}
    return Config.parse(parsed, store=url)


@pytest.fixture
def config(store_url: str) -> Config:
    """The same with a correct contract."""
    return configured(store_url)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A sender with a token for everything."""
    async with client_of(service_of(shop, None), "all") as opened:
        yield opened


def published(product: object = PRODUCT, **changes: object) -> Document:
    """An event of the platform; members that are `...` are removed."""
    members = ATTRIBUTES | {"data": {"product": product}} | changes
    return {name: value for name, value in members.items() if value is not ...}


async def post(client: httpx2.AsyncClient, body: object, kind: str = STRUCTURED, **headers: str) -> httpx2.Response:
    """The response to an event, or to a batch."""
    return await client.post("/v1/events", json=body, headers={"content-type": kind} | headers)


def outcomes_in(answer: httpx2.Response) -> tuple[int, list[str]]:
    """The status and the outcomes."""
    return answer.status_code, [each["outcome"] for each in answer.json()["results"]]


async def test_every_mode_says_the_same(shop: Shop, client: httpx2.AsyncClient) -> None:
    """One event makes statements of all its items; as JSON, in a batch, in headers, with its data in base64."""
    assert outcomes_in(await post(client, published())) == (202, ["appended"])
    stored = await everything(shop.store)
    assert [each.originator_id for each in stored] == ["TEE-S/*/catalog/platform", "TEE-M/*/catalog/platform"]
    assert [each.originator_version for each in stored] == [2, 2]
    said = json.loads(stored[0].state)
    assert (said["payload"], said["id"]) == ({"localized": {"name": {"en": "Tee"}}}, "m-1")
    encoded = base64.b64encode(json.dumps({"product": PRODUCT}).encode()).decode()
    headers = {f"ce-{name}": str(value) for name, value in ATTRIBUTES.items()}
    for answer in (
        await post(client, [published()], BATCH),
        await client.post("/v1/events", json={"product": PRODUCT}, headers=headers),
        await post(client, published(data=..., data_base64=encoded)),
    ):
        assert outcomes_in(answer) == (202, ["duplicate"])
    assert len(await everything(shop.store)) == 2


async def test_others_are_in_the_own_form(shop: Shop, client: httpx2.AsyncClient) -> None:
    """In one batch, each has its outcome, at its place; only what is Pagefold's own is rejected."""
    good = OWN | {"data": {"currency": "EUR", "amount": "1.00"}}
    batch = [good, published(), good | {"subject": ""}, published(PRODUCT | {"version": "x"}), published({"master": 7})]
    answer = await post(client, batch, BATCH)
    assert outcomes_in(answer) == (207, ["appended", "appended", "rejected", "kept", "kept"])
    assert answer.json()["results"][3]["path"] == "catalog.sourceVersion"
    assert outcomes_in(await post(client, batch[3:], BATCH)) == (202, ["kept", "kept"])
    assert problem_in(await post(client, published(type="com.example.product")))["status"] == 422
    assert await shop.dead_letters.count() == 2


async def test_what_cannot_be_taken_is_kept_and_tried_again(store_url: str) -> None:
    """Whole, with the headers that the contract reads; a retry has them, and the moment at which it came."""
    wrong = CONTRACT | {"sourceVersion": "$.data.version"}
    moment = {name: value for name, value in CONTRACT.items() if name != "occurredAt"} | {"occurredAt": "@received"}
    async with pagefold.open(configured(store_url, wrong)) as shop:
        async with client_of(service_of(shop, None), "all") as client:
            answer = await post(client, published(), **{"X-Trace": "t-7", "Cookie": "secret"})
            assert outcomes_in(answer) == (202, ["kept"])
            again = await client.post(
                "/v1/events",
                json={"product": PRODUCT},
                headers={f"ce-{name}": str(value) for name, value in (ATTRIBUTES | {"id": "m-2"}).items()},
            )
            assert outcomes_in(again) == (202, ["kept"])
        dead_letters = [await shop.dead_letters.get(f"ingest-{number}") for number in (1, 2)]
        assert [json.loads(each.state)["id"] for each in dead_letters] == ["m-1", "m-2"]
        assert [(each.via, each.source) for each in dead_letters] == [("cloudevents", "platform")] * 2
        assert json.loads(dead_letters[0].headers)["x-trace"] == "t-7"
        assert "secret" not in str(dead_letters[0].headers)
        assert "catalog.sourceVersion: `data.version` is blank" in dead_letters[0].error
    async with pagefold.open(configured(store_url, moment)) as shop:
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved", "resolved"]
        first = json.loads((await everything(shop.store))[0].state)
        assert (first["correlationId"], first["occurredAt"]) == ("t-7", dead_letters[0].recorded_at)


async def test_data_of_another_type_is_kept_too(shop: Shop, client: httpx2.AsyncClient) -> None:
    """XML is no reason to refuse the event: it is kept, byte by byte, in base64."""
    headers = {f"ce-{name}": str(value) for name, value in ATTRIBUTES.items()} | {"content-type": "text/xml"}
    assert outcomes_in(await client.post("/v1/events", content=b"<p/>", headers=headers)) == (202, ["kept"])
    [dead_letter] = await shop.dead_letters.newest()
    assert json.loads(dead_letter.state)["data_base64"] == base64.b64encode(b"<p/>").decode()


async def test_an_event_has_a_bounded_number_of_items(shop: Shop, client: httpx2.AsyncClient) -> None:
    """It is one part, which is taken at once: what has more is kept."""
    many = published(PRODUCT | {"variants": [7] * 10_001})
    answer = await post(client, many)
    assert outcomes_in(answer) == (202, ["kept"])
    assert answer.json()["results"][0]["reason"] == "has 10,002 items; at most 10,000 are allowed"
    assert await everything(shop.store) == []


async def test_a_conflict_is_no_fault_of_the_sender(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The event has a dead letter of its own, and the sender is answered 202."""
    await append(shop, event("catalog", {}, sku="TEE-S", source="platform", version=2))
    assert outcomes_in(await post(client, published())) == (202, ["conflict"])


async def test_a_token_is_for_its_source(shop: Shop, store_url: str) -> None:
    """The source whose contract reads the event, whatever the event itself names."""
    del store_url
    async with client_of(service_of(shop, None), "erp") as client:
        assert problem_in(await post(client, published()))["status"] == 403
        good = OWN | {"data": {"currency": "EUR", "amount": "1.00"}}
        assert outcomes_in(await post(client, [published(), good], BATCH)) == (207, ["rejected", "appended"])
    assert [each.originator_id for each in await everything(shop.store)] == ["A/*/pricing/erp"]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"types": [], "sources": ["/shop/products"]}, True),
        ({"types": [], "sources": ["/shop/*"]}, True),
        ({"types": [], "sources": ["/shop"]}, False),
        ({"sources": ["/shop/products"]}, True),
        ({"sources": ["/other"]}, False),
        ({"types": ["com.example.product.ProductPublished"]}, True),
        ({"types": ["com.example.product.Product"]}, False),
    ],
)
async def test_an_event_counts_by_its_source_and_type(store_url: str, settings: Document, *, counts: bool) -> None:
    """Both must be among the declared values; one that ends in `*` is a beginning."""
    async with pagefold.open(configured(store_url, **settings)) as shop, client_of(service_of(shop), "all") as client:
        assert (await post(client, published())).status_code == (202 if counts else 422)


async def test_a_message_that_does_not_count_is_not_kept(store_url: str) -> None:
    """It is ignored, with its personal data, and counted."""
    contract = CONTRACT | {"only": {"data.kind": ["product"]}}
    async with pagefold.open(configured(store_url, contract)) as shop:
        async with client_of(service_of(shop, None), "all") as client:
            customer = published(data={"kind": "customer", "lastName": "Example"})
            assert outcomes_in(await post(client, customer)) == (202, ["ignored"])
        assert await shop.dead_letters.count() == 0
        assert shop.counters.aside == {"platform": {"filter": 1}}
