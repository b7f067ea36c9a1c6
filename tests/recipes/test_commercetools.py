"""The recipe for commercetools: what its API and its subscriptions say becomes the pages that are meant."""

import base64
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchReport, FetchWorker
from tests.recipes.commercetools_api import SECRETS, Commercetools, Resource
from tests.recipes.recipe_shop import Delivery, RecipeShop, format_file, recipe_shop, wanted_pages
from tests.support.fake_endpoint import serving
from tests.support.signing_keys import signing_key

SYSTEM = "commercetools"
KEY = signing_key("pubsub")
AUDIENCE = "https://shop.example/v1/webhooks/ct"
ACCOUNT = "pubsub@nordhaus-prod.iam.gserviceaccount.com"
PRODUCT, ENTRY = "3f0b7c52-90aa-4d1c-9b5e-6a1d2e3f4a5b", "1e000000-0000-4000-8000-000000000002"


class Project:
    """A shop made by the recipe, and the project that it reads."""

    def __init__(self, made: RecipeShop, api: Commercetools) -> None:
        self.made = made
        self.shop = made.shop
        self.api = api

    async def deliver(self, message: object, **changes: str) -> list[str]:
        """The outcomes of a message that Pub/Sub pushes."""
        data = base64.b64encode(json.dumps(message).encode()).decode()
        return await self.push({"message": {"data": data, "messageId": "1"}, "subscription": "s"}, **changes)

    async def push(self, body: object, **changes: str) -> list[str]:
        """The outcomes of a request of Pub/Sub; `changes` are those of the claims of its token."""
        now = int(datetime.now(UTC).timestamp())
        claims = {"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": True}
        token = KEY.token({**claims, "iat": now, "exp": now + 3600, **changes})
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = await self.made.deliver(Delivery("/v1/webhooks/ct", headers, json.dumps(body).encode(), {}))
        if answer.status_code != 202:
            return [str(answer.status_code)]
        outcomes = [each["outcome"] for each in answer.json()["results"]]
        return [each for each in outcomes if each != "ignored"] or ["ignored"]

    async def fetch(self) -> FetchReport:
        """Everything that is to be fetched, and what had to wait until something was folded."""
        report = await FetchWorker(self.shop).run_due()
        assert report is not None
        await self.settle()
        return report

    async def settle(self) -> None:
        """Everything is folded, and what waited for that is taken."""
        await self.shop.catch_up()
        await self.shop.waiting.take_all()
        await self.shop.catch_up()

    async def rebuild(self) -> None:
        """All snapshots; each is complete."""
        for source in ("ct", "ct-prices", "ct-default"):
            report = await self.made.rebuild(source)
            assert report.complete, report
            assert report.counts.refused == 0, report


@asynccontextmanager
async def project_of(folder: Path, store_url: str) -> AsyncIterator[Project]:
    """A shop and its project."""
    api = Commercetools()
    api.keys = {"keys": [KEY.public]}
    async with serving(api) as server:
        addresses = {
            "https://api.europe-west1.gcp.commercetools.com": server.url,
            "https://auth.europe-west1.gcp.commercetools.com": server.url,
            "https://www.googleapis.com/oauth2/v3/certs": f"{server.url}/keys",
            "requests_per_second = 10.0": "requests_per_second = 1000.0\nconcurrency = 8\nsettle = 0",
        }
        async with recipe_shop(SYSTEM, folder, store_url, addresses=addresses, variables=SECRETS) as made:
            yield Project(made, api)


def payload(name: str) -> Any:  # noqa: ANN401  # JSON
    """A recorded payload."""
    return json.loads(format_file(SYSTEM, name).read_text("utf-8"))


def recorded(api: Commercetools) -> None:
    """Fills the project with the recorded answers."""
    for name in ("product-projections.page1.json", "product-projections.last.json"):
        api.resources["product-projections"] += payload(name)["results"]
    api.resources["standalone-prices"] = payload("standalone-prices.page.json")["results"]
    api.resources["inventory"] = payload("inventory.page.json")["results"]


def without_restocking(page: Any) -> Any:  # noqa: ANN401  # JSON
    """A page without what single locations say of restocking, which the wanted pages do not have."""
    for location in page["inventory"]["locations"]:
        location.pop("restockAt", None)
    return page


async def test_recorded_answers_make_the_pages_that_are_wanted(tmp_path: Path, store_url: str) -> None:
    """With a quantity that comes as a CloudEvent and by Pub/Sub: one event, and a duplicate."""
    wanted = wanted_pages(SYSTEM)
    event = json.dumps(payload("cloudevent.quantity-set.json")).encode()
    kind = {"content-type": "application/cloudevents+json"}
    async with project_of(tmp_path, store_url) as project:
        recorded(project.api)
        await project.rebuild()
        answer = await project.made.deliver(Delivery("/v1/events", kind, event, {}))
        assert (answer.status_code, [each["outcome"] for each in answer.json()["results"]]) == (202, ["appended"])
        assert await project.push(payload("pubsub-push.json")) == ["duplicate"]
        assert await project.push(payload("pubsub-push.json"), email="else@example.com") == ["401"]
        assert list(map(without_restocking, await project.made.pages(wanted))) == wanted
        black = await project.made.page("AURA-BLACK", "web-de")
        assert black["inventory"]["locations"] == [{"available": 2, "source": "ct-default"}]
        assert await project.shop.dead_letters.count() == 0


async def test_recorded_messages(tmp_path: Path, store_url: str) -> None:
    """Each does what it should, in order; nothing of a customer is kept."""
    lines = format_file(SYSTEM, "subscription-deliveries.txt").read_text("utf-8").splitlines()
    messages = list(map(json.loads, lines))
    async with project_of(tmp_path, store_url) as project:
        recorded(project.api)
        await project.rebuild()
        await project.shop.catch_up()
        assert await project.deliver(messages[0]) == ["ignored"]
        for number, address in ((1, f"product-projections/{PRODUCT}"), (2, f"inventory/{ENTRY}")):
            project.api.asked.clear()
            assert await project.deliver(messages[number]) == ["wanted"]
            assert await project.fetch() == FetchReport(fetched=1)
            assert project.api.asked == [address]
        assert [await project.deliver(messages[number]) for number in (3, 4)] == [["ignored"], ["ignored"]]
        assert await project.made.page("AURA-BRASS", "web-de") is not None
        assert await project.deliver(messages[5]) in (["appended", "appended"], ["kept"])
        await project.settle()
        assert [await project.made.page(sku, "web-de") for sku in ("AURA-BRASS", "AURA-BLACK")] == [None, None]
        assert await project.deliver(messages[6]) in (["appended", "appended"], ["ignored"], ["kept"])
        await project.settle()
        assert await project.shop.dead_letters.count() == 0


# --- products of this test ------------------------------------------------------------------------


def product(number: int, version: int = 1, *variants: str) -> Resource:
    """One of many products, with one variant or several."""
    skus = variants or (f"P-{number:05}",)
    found = [{"id": place, "sku": sku, "images": [], "attributes": []} for place, sku in enumerate(skus, 1)]
    return {
        "id": f"{number:08}-0000-4000-8000-000000000000",
        "version": version,
        "key": f"product-{number}",
        "name": {"de": f"Produkt {number}.{version}"},
        "categories": [],
        "masterVariant": found[0],
        "variants": found[1:],
        "lastModifiedAt": f"2026-03-02T09:{version % 60:02}:00.000Z",
    }


def price(number: int, sku: str, cents: int, minute: int = 0, **more: object) -> Resource:
    """A price in Germany."""
    value = {"type": "centPrecision", "currencyCode": "EUR", "centAmount": cents, "fractionDigits": 2}
    changed = f"2026-03-02T10:{minute:02}:00.000Z"
    head = {"id": f"{number:08}-0000-4000-8000-00000000000a", "version": 1, "sku": sku, "country": "DE"}
    return {**head, "active": True, "value": value, "lastModifiedAt": changed, **more}


def notified(each: Resource, kind: str = "ResourceUpdated", resource: str = "product") -> Resource:
    """A change, as a subscription has it."""
    of = {"typeId": resource, "id": each["id"]}
    return {"notificationType": kind, "resource": of, "version": each["version"], "modifiedAt": "2026-03-02T12:00:00Z"}


async def test_what_happens_to_a_product(tmp_path: Path, store_url: str) -> None:
    """It is published, loses a variant, is not there any more, comes back: each time its pages are what it is."""
    async with project_of(tmp_path, store_url) as project:
        products = project.api.resources["product-projections"]
        products.append(product(1, 1, "TEE-S", "TEE-M"))
        published = {"notificationType": "Message", "type": "ProductPublished", **notified(products[0]), "version": 1}
        published |= {"notificationType": "Message", "resourceVersion": 1}
        assert await project.deliver(published) == ["wanted"]
        assert await project.fetch() == FetchReport(fetched=1)
        assert (await project.made.page("TEE-M", "web-jp")) is not None
        products[0] = product(1, 2, "TEE-S")
        await project.deliver(notified(products[0]))
        await project.fetch()
        assert (await project.made.page("TEE-S", "web-de"))["catalog"]["attributes"]["name"] == "Produkt 1.2"
        assert await project.made.page("TEE-M", "web-de") is None
        gone = products.pop()
        await project.deliver(notified(gone))
        assert await project.fetch() == FetchReport(missing=1)
        assert await project.made.page("TEE-S", "web-de") is None
        products.append(gone)
        await project.deliver(notified(gone))
        await project.fetch()
        assert await project.made.page("TEE-S", "web-de") is not None


async def test_what_happens_to_prices(tmp_path: Path, store_url: str) -> None:
    """All prices of a SKU are one statement: one that changes brings the others, and one that goes leaves them."""
    async with project_of(tmp_path, store_url) as project:
        prices = project.api.resources["standalone-prices"]
        project.api.resources["product-projections"].append(product(1, 1, "TEE"))
        trade = {"typeId": "customer-group", "id": "cafe0000-1111-4222-8333-000000007ade"}
        prices += [price(1, "TEE", 1290), price(2, "TEE", 990, 5, customerGroup=trade)]
        await project.rebuild()
        prices[0] = price(1, "TEE", 1190, 9)
        report = await DeltaSync(project.shop, lambda: datetime(2026, 3, 2, 11, tzinfo=UTC)).run("ct-prices")
        assert (report.records, report.wanted) == (2, 2)
        assert await project.fetch() == FetchReport(fetched=1)
        found = (await project.made.page("TEE", "web-de"))["pricing"]
        assert (found["amount"], found["customerGroups"]) == ("11.90", {"trade": "9.90"})
        prices.pop()
        deleted = {"notificationType": "Message", "type": "StandalonePriceDeleted", "sku": "TEE"}
        assert await project.deliver(deleted) == ["wanted"]
        await project.fetch()
        assert "customerGroups" not in (await project.made.page("TEE", "web-de"))["pricing"]
        prices.clear()
        await project.deliver(deleted)
        assert await project.fetch() == FetchReport(missing=1)
        page = await project.made.page("TEE", "web-de")
        assert (page["pricing"], page["catalog"]["attributes"]) == (None, {"name": "Produkt 1.1"})


class Changes:
    """Changes of a project while it is read, and what subscriptions say of them."""

    def __init__(self, api: Commercetools) -> None:
        self._products = api.resources["product-projections"]
        self._luck = random.Random(16)
        self._version = 1
        self.messages: list[Resource] = []

    def __call__(self) -> None:
        """Some products change, one goes, and one comes."""
        self._version += 1
        for place in self._luck.sample(range(len(self._products)), 5):
            number = int(self._products[place]["id"][:8])
            self._products[place] = product(number, self._version)
            self.messages.append(notified(self._products[place]))
        gone = self._products.pop(self._luck.randrange(len(self._products)))
        self.messages.append(notified(gone, "ResourceDeleted") | {"version": gone["version"] + 1})
        self._products.append(product(50_000 + self._version))
        self.messages.append(notified(self._products[-1], "ResourceCreated"))


@pytest.mark.parametrize("products", [pytest.param(10_000, marks=pytest.mark.soak), 600])
async def test_products_that_change_while_they_are_read(tmp_path: Path, store_url: str, products: int) -> None:
    """Among changes, overload and tokens that expire a run is complete; messages bring what it missed."""
    if products > 1_000 and store_url.startswith("postgres"):
        pytest.skip("the smaller number shows the same")
    async with project_of(tmp_path, store_url) as project:
        listed = project.api.resources["product-projections"]
        listed += [product(number) for number in range(1, products + 1)]
        project.api.overload_rate = 10
        project.api.between = changes = Changes(project.api)
        assert (await project.made.rebuild("ct")).complete
        project.api.between, project.api.overload_rate = lambda: None, 0
        async with project.shop.working():
            for message in changes.messages:
                assert (await project.deliver(message))[0] in {"wanted", "appended", "kept"}
            assert await FetchWorker(project.shop).run_due() is not None
        await project.settle()
        for each in random.Random(2).sample(listed, 100):
            page = await project.made.page(each["masterVariant"]["sku"], "web-de")
            assert page["catalog"]["attributes"]["name"] == each["name"]["de"]
        present = {each["masterVariant"]["sku"] for each in listed}
        for message in changes.messages:
            if message["notificationType"] == "ResourceDeleted":
                sku = f"P-{int(message['resource']['id'][:8]):05}"
                assert sku in present or await project.made.page(sku, "web-de") is None
        assert project.api.overloads + project.api.tokens > 1
