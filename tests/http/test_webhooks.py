"""Webhooks over HTTP: a valid signature is accepted, and nothing signed is lost."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

import pagefold
from pagefold import Config, ConfigurationError, Shop
from pagefold.engine.http.server_context import ServerContext
from tests.support.command_line import finished, on_sqlite, run_pagefold, settle, spawn
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import Document, append, document, everything, price

SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
PLAIN = "hush"
ENVIRONMENT = {"STANDARD": SECRET, "PLAIN": PLAIN}
CONTRACT: Document = {
    "items": "items",
    "sku": "sku",
    "sourceVersion": "$.revision",
    "occurredAt": "$.at",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "price"},
}
AT = "2026-01-01T00:00:00Z"


def hook(**settings: object) -> Document:
    """The configuration of a source's webhooks."""
    return {"contract": CONTRACT} | settings


STANDARD = hook(secret_variables=["STANDARD"])
SHOPIFY = hook(secret_variables=["PLAIN"], scheme="hmac-sha256", header="X-Shopify-Hmac-Sha256")


def configured(url: str, **hooks: Document) -> Config:
    """A shop to which these sources send webhooks about prices."""
    parsed = document(url)
    for name, settings in hooks.items():
        parsed["sources"][name] = {"domains": ["pricing"], "webhook": settings}
    return Config.parse(parsed, store=url)


@pytest.fixture
def config(store_url: str) -> Config:
    """One source with Standard Webhooks signatures, and one with Shopify's."""
    return configured(store_url, erp=STANDARD, shopify=SHOPIFY)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a token."""
    async with client_of(service_of(shop, None, environment=ENVIRONMENT)) as opened:
        yield opened


def delivery(*items: tuple[str, object], revision: object = 1) -> bytes:
    """A webhook with the prices of some SKUs."""
    return json.dumps({"revision": revision, "at": AT, "items": [{"sku": s, "price": p} for s, p in items]}).encode()


def signed(body: bytes, identifier: str = "msg_1", moment: datetime | None = None) -> dict[str, str]:
    """The signature headers that the library sends with a body."""
    at = moment or datetime.now(UTC)
    signature = Webhook(SECRET).sign(identifier, at, body.decode())
    return {"webhook-id": identifier, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


async def send(client: httpx2.AsyncClient, body: bytes, **headers: str) -> tuple[int, list[str]]:
    """The status and the outcomes of a webhook signed for the source erp."""
    everything_sent = signed(body) | headers
    answer = await client.post("/v1/webhooks/erp", content=body, headers=everything_sent)
    return answer.status_code, [each["outcome"] for each in answer.json()["results"]]


async def test_a_signed_webhook_is_appended(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Each item is an event; sent again, each is a duplicate, and there is no dead letter."""
    body = delivery(("A", "1.00"), ("B", "2.00"))
    assert await send(client, body) == (202, ["appended", "appended"])
    assert await send(client, body) == (202, ["duplicate", "duplicate"])
    assert len(await everything(shop.store)) == 2
    assert await shop.dead_letters.newest() == []
    assert await send(client, delivery()) == (202, [])


async def test_a_plain_signature_is_as_good(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A header with the HMAC of the body, whatever the media type."""
    body = delivery(("A", "1.00"))
    digest = hmac.digest(PLAIN.encode(), body, hashlib.sha256)
    headers = {"x-shopify-hmac-sha256": base64.b64encode(digest).decode(), "content-type": "text/plain"}
    assert (await client.post("/v1/webhooks/shopify", content=body, headers=headers)).status_code == 202
    [stored] = await everything(shop.store)
    assert stored.originator_id == "A/*/pricing/shopify"


async def test_an_unsigned_webhook_is_refused(shop: Shop, client: httpx2.AsyncClient) -> None:
    """No signature, one of another body, time or source: 401, and nothing is stored."""
    body = delivery(("A", "1.00"))
    old = datetime.now(UTC) - timedelta(minutes=6)
    for headers in ({}, signed(body + b" "), signed(body, moment=old), {"webhook-signature": "v1,é".encode()}):
        answer = await client.post("/v1/webhooks/erp", content=body, headers=headers)  # type: ignore[arg-type]  # bytes are accepted
        assert problem_in(answer)["status"] == 401
        assert "www-authenticate" in answer.headers
    answer = await client.post("/v1/webhooks/shopify", content=body, headers=signed(body))
    assert answer.status_code == 401
    assert await everything(shop.store) == []
    assert await shop.dead_letters.newest() == []


async def test_a_ping_is_answered_and_does_nothing(store_url: str) -> None:
    """Only a body that is wholly as the configuration says, and where it does; a signed one is read as any other."""
    pinged = configured(store_url, woo=SHOPIFY | {"ping": "webhook_id=[0-9]+"}, other=SHOPIFY)
    async with pagefold.open(pinged) as shop, client_of(service_of(shop, None, environment=ENVIRONMENT)) as client:
        answer = await client.post("/v1/webhooks/woo", data={"webhook_id": "56"})
        assert (answer.status_code, answer.json()) == (200, {"results": [{"outcome": "ignored", "reason": "a ping"}]})
        bodies = (b"webhook_id=5x", b"webhook_id=5\n", b"a webhook_id=5", b"\xff", b"webhook_id=" + b"1" * 1000)
        for body in bodies:
            assert (await client.post("/v1/webhooks/woo", content=body)).status_code == 401
        assert (await client.post("/v1/webhooks/other", content=b"webhook_id=56")).status_code == 401
        assert await shop.dead_letters.newest() == []
        digest = base64.b64encode(hmac.digest(PLAIN.encode(), b"webhook_id=56", hashlib.sha256)).decode()
        headers = {"x-shopify-hmac-sha256": digest}
        assert (await client.post("/v1/webhooks/woo", content=b"webhook_id=56", headers=headers)).status_code == 202
        assert len(await shop.dead_letters.newest()) == 1


async def test_a_pattern_of_pings_is_checked(store_url: str) -> None:
    """When the server starts, with its place."""
    async with pagefold.open(configured(store_url, woo=SHOPIFY | {"ping": "(a"})) as shop:
        with pytest.raises(ConfigurationError, match=r"sources\.woo\.webhook\.ping: is not a pattern of RE2"):
            service_of(shop, None, environment=ENVIRONMENT)


async def test_a_source_without_webhooks_has_none(client: httpx2.AsyncClient) -> None:
    """Neither does an unknown source."""
    for source in ("pim", "nobody", "%00"):
        assert problem_in(await client.post(f"/v1/webhooks/{source}", content=b"{}"))["status"] == 404


@pytest.mark.parametrize("body", [b"{", b"\xff\0", b"[]", b'{"items":7}', delivery(("", "1")), delivery(("A", [1]))])
async def test_an_unreadable_webhook_is_a_dead_letter(shop: Shop, client: httpx2.AsyncClient, body: bytes) -> None:
    """Completely and byte by byte, with its headers; sent again, it is the same dead letter."""
    digest = base64.b64encode(hmac.digest(PLAIN.encode(), body, hashlib.sha256)).decode()
    headers = {"x-shopify-hmac-sha256": digest, "x-shopify-topic": "products/update", "cookie": "secret"}
    for _ in range(2):
        answer = await client.post("/v1/webhooks/shopify", content=body, headers=headers)
        assert answer.status_code == 202
        assert [each["outcome"] for each in answer.json()["results"]] == ["kept"]
    [dead_letter] = await shop.dead_letters.newest()
    assert (dead_letter.is_request, dead_letter.state) == (True, body)
    kept = json.loads(dead_letter.headers)
    assert kept["x-shopify-topic"] == "products/update"
    assert not {"cookie", "x-shopify-hmac-sha256"} & kept.keys()


async def test_an_invalid_part_is_a_dead_letter_of_its_own(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Valid items are appended; each of the others is a dead letter of its own, with its stream."""
    items = (("A", "1.00"), ("B", "cheap"), ("", "2.00"), ("C", "3.00"))
    assert await send(client, delivery(*items)) == (202, ["appended", "kept", "kept", "appended"])
    nameless, cheap = sorted(await shop.dead_letters.newest(), key=lambda each: each.originator_id)
    assert [json.loads(each.state) for each in (cheap, nameless)] == [json.loads(delivery(item)) for item in items[1:3]]
    assert (cheap.originator_id, cheap.originator_version) == ("B/*/pricing/erp", 1)
    assert cheap.error.startswith("pricing.amount: ")
    assert (nameless.originator_id, nameless.originator_version) == ("///erp", 0)
    assert (nameless.is_request, cheap.is_request) == (True, True)


async def test_a_conflict_is_a_dead_letter_of_its_own(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The sender has nothing to correct: it is answered 202, and the event is stored, once."""
    await append(shop, price("1.00", sku="A"))
    assert await send(client, delivery(("A", "2.00"))) == (202, ["conflict"])
    [dead_letter] = await shop.dead_letters.newest()
    assert not dead_letter.is_request


async def test_a_webhook_is_retried(store_url: str) -> None:
    """With a corrected contract, a retry appends its events; before that, it stays dead."""
    wrong = hook(secret_variables=["STANDARD"], contract=CONTRACT | {"items": "products"})
    body = delivery(("A", "1.00"), ("B", "2.00"))
    async with pagefold.open(configured(store_url, erp=wrong)) as shop:
        async with client_of(service_of(shop, None, environment=ENVIRONMENT)) as client:
            assert await send(client, body) == (202, ["kept"])
        assert await shop.dead_letters.retry(await shop.dead_letters.get("ingest-1")) == "still dead"
    async with pagefold.open(configured(store_url)) as shop:
        assert await shop.dead_letters.retry(await shop.dead_letters.get("ingest-1")) == "still dead"
    async with pagefold.open(configured(store_url, erp=STANDARD)) as shop:
        assert await shop.dead_letters.retry(await shop.dead_letters.get("ingest-1"), by="ada") == "resolved"
        assert len(await everything(shop.store)) == 2
        dead_letter = await shop.dead_letters.get("ingest-1")
        assert (dead_letter.resolution, dead_letter.resolved_by) == ("appended", "ada")


async def test_a_full_queue_refuses_webhooks(shop: Shop, client: httpx2.AsyncClient) -> None:
    """It must be sent again, and nothing is stored meanwhile."""
    shop._appender.queued = shop.config.append.queue
    body = delivery(("A", "1.00"))
    answer = await client.post("/v1/webhooks/erp", content=body, headers=signed(body))
    assert problem_in(answer)["status"] == 503
    shop._appender.queued = 0
    assert await everything(shop.store) == []


@on_sqlite
async def test_a_missing_secret_is_an_error(shop: Shop) -> None:
    """A server does not start without its secrets."""
    with pytest.raises(ConfigurationError, match=r"sources.erp.webhook.secret_variables\[0\]: .*STANDARD"):
        service_of(shop, environment={})
    assert isinstance(service_of(shop, environment=ENVIRONMENT), ServerContext)


@on_sqlite
def test_serve_needs_its_secrets(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pagefold serve` ends with exit code 2, and names the variable."""
    place = settle(tmp_path, store_url, monkeypatch)
    table = (
        '[sources.erp.webhook]\nsecret_variables = ["NOT_THERE"]\n'
        'contract = { sku = "sku", sourceVersion = "v", pricing = { amount = "price" } }\n'
    )
    with (place / "pagefold.toml").open("a", encoding="utf-8") as file:
        file.write(table)
    ran = finished(spawn("serve", "--port", "0"))
    assert ran.code == 2
    assert "the environment variable NOT_THERE is not set" in ran.err
    assert run_pagefold("status").code == 0
