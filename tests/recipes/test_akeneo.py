"""The recipe for Akeneo: what its API, its events and its export say becomes the pages that are meant."""

import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import anyio
import pytest

from pagefold.engine.http.routes import webhooks
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchReport, FetchWorker
from tests.recipes.akeneo_api import SECRETS, Akeneo, Product, products_of
from tests.recipes.recipe_shop import Delivery, RecipeShop, delivery_in, format_file, opened, recipe_shop, wanted_pages
from tests.support.fake_endpoint import Server, serving

SYSTEM = "akeneo"
SECRET = SECRETS["AKENEO_WEBHOOK_SECRET"].encode()
EXPORT = '[sources.pim.snapshot]\nfile = "FILE"\nends = "file"\ncontract = "contracts/akeneo-export.toml"\n\n'


class Pim:
    """A shop made by the recipe, and the PIM that it reads."""

    def __init__(self, made: RecipeShop, api: Akeneo) -> None:
        self.made = made
        self.shop = made.shop
        self.api = api

    async def event(self, *events: object) -> list[str]:
        """The outcomes of a request of the Events API."""
        body = json.dumps({"events": events}).encode()
        at = str(int(time.time()))
        signature = hmac.new(SECRET, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"x-akeneo-request-timestamp": at, "x-akeneo-request-signature": signature}
        return await self.outcomes(Delivery("/v1/webhooks/pim", headers, body, {}))

    async def platform(self, kind: str, uuid: str, header: str = "primary") -> list[str]:
        """The outcomes of a request of the Event Platform."""
        event = {"specversion": "1.0", "type": f"com.akeneo.pim.v1.{kind}", "data": {"product": {"uuid": uuid}}}
        body = json.dumps(event).encode()
        signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        return await self.outcomes(Delivery("/v1/webhooks/pim", {f"x-akeneo-signature-{header}": signature}, body, {}))

    async def outcomes(self, delivery: Delivery) -> list[str]:
        """The outcomes of a request, without what is ignored if there are others."""
        answer = await self.made.deliver(delivery)
        assert answer.status_code == 202, answer.text
        found = [each["outcome"] for each in answer.json()["results"]]
        return [each for each in found if each != "ignored"] or ["ignored"]

    async def fetch(self) -> FetchReport:
        """Everything that is to be fetched."""
        report = await FetchWorker(self.shop).run_due()
        assert report is not None
        await self.shop.catch_up()
        return report


@asynccontextmanager
async def pim_of(folder: Path, store_url: str) -> AsyncIterator[Pim]:
    """A shop and its PIM."""
    servers: list[Server] = []
    api = Akeneo(lambda: servers[0].url)
    async with serving(api) as server:
        servers.append(server)
        addresses = {
            "https://pim.example": server.url,
            "requests_per_second = 20.0": "requests_per_second = 1000.0",
            "stable = true": "stable = true\nsettle = 0",
        }
        async with recipe_shop(SYSTEM, folder, store_url, addresses=addresses, variables=SECRETS) as made:
            yield Pim(made, api)


class At(datetime):
    """The time at which the recorded events were signed."""

    seconds = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "At":
        """That time."""
        return cls.fromtimestamp(cls.seconds, tz)


def recorded_delivery(name: str, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    """A recorded request; the clock is at the time of its signature."""
    delivery = delivery_in(format_file(SYSTEM, name).read_text("utf-8"))
    monkeypatch.setattr(At, "seconds", int(delivery.notes.get("now", "0")) or int(time.time()))
    monkeypatch.setattr(webhooks, "datetime", At)
    return delivery


def recorded(api: Akeneo) -> None:
    """Fills the PIM with the recorded answers."""
    for name in ("products.page1.json", "products.last.json"):
        rows = json.loads(format_file(SYSTEM, name).read_text("utf-8"))["_embedded"]["items"]
        api.products |= products_of(rows)


async def test_recorded_answers_make_the_pages_that_are_wanted(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disabled product has no page; one that is removed is withdrawn, and a model that nothing knows is no fault."""
    wanted = wanted_pages(SYSTEM)
    async with pim_of(tmp_path, store_url) as pim:
        recorded(pim.api)
        report = await pim.made.rebuild("pim")
        assert report.complete, report
        assert set(await pim.outcomes(recorded_delivery("webhook.product-updated.txt", monkeypatch))) == {"appended"}
        assert await pim.made.pages(wanted) == wanted
        assert await pim.made.page("PK-NORD-S", "web-de") is None
        removed = await pim.outcomes(recorded_delivery("webhook.removed.txt", monkeypatch))
        assert set(removed) == {"appended", "wanted"}
        assert await pim.fetch() == FetchReport(missing=1)
        assert await sections_of(pim, "PK-NORD-S") == set()
        assert await pim.made.page("PK-NORD-M", "web-de") is not None
        assert await pim.outcomes(recorded_delivery("event-platform.product-updated.txt", monkeypatch)) == ["wanted"]
        pim.api.asked.clear()
        assert await pim.fetch() == FetchReport(fetched=1)
        assert pim.api.asked == ["products-uuid/9c1e7a40-51b2-4f0d-8a77-3d2c1b0a9f8e"]
        assert await pim.made.pages(wanted) == wanted, "what was fetched is older than the event"
        assert await pim.shop.dead_letters.count() == 0


async def test_an_export_makes_the_same_page(tmp_path: Path, store_url: str) -> None:
    """But for pictures, and the version, which is the time of the file."""
    file = format_file(SYSTEM, "export.csv")
    wanted = wanted_pages(SYSTEM)
    async with pim_of(tmp_path, store_url):
        pass  # writes the files
    config = tmp_path / "pagefold.toml"
    text = config.read_text("utf-8")
    begin, end = text.index("[sources.pim.snapshot]"), text.index("# --- what changed")
    config.write_text(text[:begin] + EXPORT.replace("FILE", str(file)) + text[end:], "utf-8")
    async with opened(tmp_path, store_url, variables=SECRETS) as made:
        await made.rebuild("pim")
        for page, found in zip(wanted, await made.pages(wanted), strict=True):
            assert (found["catalog"], found["pricing"]) == (page["catalog"], page["pricing"])


# --- products of this test ------------------------------------------------------------------------


def product(number: int, minute: int = 0, **more: object) -> Product:
    """One of many products."""
    updated = f"2026-03-02T{9 + minute // 60:02}:{minute % 60:02}:00+00:00"
    value = {"locale": None, "scope": None}
    return {
        "uuid": f"{number:08}-0000-4000-8000-000000000000",
        "enabled": True,
        "family": "things",
        "categories": [],
        "parent": None,
        "values": {
            "sku": [{**value, "data": f"P-{number:05}"}],
            "name": [{"locale": "de_DE", "scope": None, "data": f"Ding {number}.{minute}"}],
            "description": [],
            "size": [{**value, "data": "m"}],
            "materials": [{**value, "data": ["wood"]}],
            "price": [{**value, "data": [{"amount": f"{number}.00", "currency": "EUR"}]}],
            "photo": [],
        },
        "updated": updated,
        **more,
    }


async def name_of(pim: Pim, number: int) -> str | None:
    """The name on a page."""
    page = await pim.made.page(f"P-{number:05}", "web-de")
    return None if page is None else str(page["catalog"]["attributes"]["name"])


async def sections_of(pim: Pim, sku: str) -> set[str]:
    """The sections that a page has, also of a product that is withdrawn."""
    await pim.shop.catch_up()
    page = await pim.shop.pages.get(sku, "web-de", disabled=True)
    return set() if page is None else {name for name, section in page.sections.items() if section is not None}


async def test_what_happens_to_a_product(tmp_path: Path, store_url: str) -> None:
    """Events of both kinds, signed by either secret's header; a product that is gone is withdrawn in all domains."""
    async with pim_of(tmp_path, store_url) as pim:
        first = product(1)
        pim.api.products = products_of([first])
        assert await pim.platform("product.created", first["uuid"]) == ["wanted"]
        assert await pim.fetch() == FetchReport(fetched=1)
        assert await name_of(pim, 1) == "Ding 1.0"
        pim.api.products = products_of([product(1, 5)])
        assert await pim.platform("product.updated", first["uuid"], "secondary") == ["wanted"]
        await pim.fetch()
        assert await name_of(pim, 1) == "Ding 1.5"
        pim.api.products = {}
        await pim.platform("product.deleted", first["uuid"])
        assert await pim.fetch() == FetchReport(missing=1)
        assert await sections_of(pim, "P-00001") == set()
        pim.api.products = products_of([product(1, 6)])
        await pim.platform("product.updated", first["uuid"])
        await pim.fetch()
        assert await name_of(pim, 1) == "Ding 1.6"
        removed = {"action": "product.removed", "event_datetime": "2026-03-04T07:00:00+00:00"}
        resource = {"identifier": None, "uuid": first["uuid"]}
        assert set(await pim.event(removed | {"data": {"resource": resource}})) == {"appended"}
        assert await name_of(pim, 1) is None


async def test_what_happens_to_a_model(tmp_path: Path, store_url: str) -> None:
    """What it says is in its variants: they are fetched, though their own time stands still; when it goes, they go."""
    async with pim_of(tmp_path, store_url) as pim:
        variants = [product(number, parent="thing") for number in (1, 2)]
        pim.api.products = products_of([*variants, product(3)])
        pim.api.models = {"thing": {"code": "thing"}}
        assert (await pim.made.rebuild("pim")).complete
        for each in variants:
            each["values"]["name"][0]["data"] = "Neu"
        changed = {"action": "product_model.updated", "data": {"resource": {"code": "thing"}}}
        assert await pim.event(changed) == ["wanted"]
        assert await pim.fetch() == FetchReport(fetched=1)
        assert [await name_of(pim, number) for number in (1, 2, 3)] == ["Neu", "Neu", "Ding 3.0"]
        pim.api.products, pim.api.models = products_of([product(3)]), {}
        assert await pim.event(changed | {"action": "product_model.removed"}) == ["wanted"]
        assert await pim.fetch() == FetchReport(missing=1)
        assert [await name_of(pim, number) for number in (1, 2, 3)] == [None, None, "Ding 3.0"]


async def test_changes_are_asked_for(tmp_path: Path, store_url: str) -> None:
    """A variant is listed when its model has changed; what came last counts at the same time."""
    async with pim_of(tmp_path, store_url) as pim:
        pim.api.products = products_of([product(number) for number in range(1, 4)])
        assert (await pim.made.rebuild("pim")).complete
        pim.api.products[product(1)["uuid"]] = product(1, 30)
        pim.api.products[product(2)["uuid"]]["values"]["name"][0]["data"] = "Neu"
        report = await DeltaSync(pim.shop, lambda: datetime(2026, 3, 2, 10, tzinfo=UTC)).run("pim")
        assert (report.records, report.refused) == (3, 0)
        assert [await name_of(pim, number) for number in (1, 2, 3)] == ["Ding 1.30", "Neu", "Ding 3.0"]


class Changes:
    """Changes of a PIM while it is read, and what it says of them."""

    def __init__(self, api: Akeneo) -> None:
        self._api = api
        self._luck = random.Random(16)
        self._minute = 0
        self.said: list[tuple[str, str]] = []
        self.gone: set[str] = set()

    def __call__(self) -> None:
        """One product changes, one goes, and one comes."""
        self._minute += 1
        products = self._api.products
        changed = product(int(self._luck.choice([*products])[:8]), self._minute)
        gone = products.pop(self._luck.choice([*products]))
        come = product(50_000 + self._minute)
        products |= products_of([changed, come])
        kinds = ("product.updated", "product.deleted", "product.created")
        self.said += [(kind, each["uuid"]) for kind, each in zip(kinds, (changed, gone, come), strict=True)]


async def fetch_all(pim: Pim) -> None:
    """Makes every fetch that is wanted; one that meets the limit of the API is made again a second later."""
    for _ in range(5):
        report = await FetchWorker(pim.shop).run_due()
        assert report is not None
        assert report.dead == 0
        if not report.failed:
            return
        await anyio.sleep(2.5)
    pytest.fail("fetches fail again and again")


@pytest.mark.parametrize("products", [pytest.param(10_000, marks=pytest.mark.soak), 600])
async def test_products_that_change_while_they_are_read(tmp_path: Path, store_url: str, products: int) -> None:
    """Among changes, limits and tokens that expire a run is complete; the Event Platform brings what it missed."""
    if products > 1_000 and store_url.startswith("postgres"):
        pytest.skip("the smaller number shows the same")
    async with pim_of(tmp_path, store_url) as pim:
        pim.api.products = products_of([product(number) for number in range(1, products + 1)])
        pim.api.limit_rate = 4 if products < 1_000 else 15
        changes = Changes(pim.api)
        pages = iter(range(10_000))
        pim.api.between = lambda: None if next(pages) % 4 else changes()
        assert (await pim.made.rebuild("pim")).complete
        pim.api.between, pim.api.limit_rate = lambda: None, 0
        await pim.shop.catch_up()
        for kind, uuid in changes.said:
            assert await pim.platform(kind, uuid) in (["wanted"], ["kept"]), "kept: it took more than 0.4 s"
        await pim.shop.waiting.take_all()
        await fetch_all(pim)
        for each in random.Random(2).sample([*pim.api.products.values()], 100):
            number = int(each["uuid"][:8])
            assert await name_of(pim, number) == each["values"]["name"][0]["data"]
        for kind, uuid in changes.said:
            if kind == "product.deleted" and uuid not in pim.api.products:
                assert await name_of(pim, int(uuid[:8])) is None
        assert pim.api.limited > 0
        assert pim.api.tokens > 1
