"""A shop whose products come by notifications that have only an id, and the source that is asked for them."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.dead_letter_records import DeadLetter
from pagefold.engine.sync.fetch_worker import FetchReport, FetchWorker
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document

CONTRACT: Document = {
    "items": "variants",
    "sku": "sku",
    "sourceVersion": "$.version",
    "catalog": {"attributes": {"name": "$.name"}, "references": {"ct:product": "$.id"}},
}
HOOK: Document = {"secret_variables": ["SECRET"], "scheme": "hmac-sha256", "header": "X-Hmac"}


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


def two_products() -> Products:
    """Two products, of three SKUs."""
    found = Products()
    found.change("p-1", "Tee", 3, "TEE-S", "TEE-M")
    found.change("p-2", "Hat", 1)
    return found
