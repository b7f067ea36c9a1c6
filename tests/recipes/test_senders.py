"""Senders of webhooks, as each recipe meets them: when they repeat a delivery, and when they stop for good.

What is in `RULES` is what each system documents, or what its source shows.
"""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import anyio
import pytest

from pagefold.engine.recipes.recipe_files import recipe_files, recipe_names
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.event_state import EncodedEvent
from tests.recipes.recipe_shop import Delivery, RecipeShop, recipe_shop
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.signing_keys import as_json, signing_key

KEY = signing_key("1")
SECRET = "hush"  # noqa: S105  # of these tests
PRODUCT = {
    "id": 700,
    "title": "Jug",
    "handle": "jug",
    "status": "active",
    "updated_at": "2026-03-03T10:30:00+01:00",
    "images": [],
    "variants": [{"id": 1, "sku": "JUG", "price": "12.90", "compare_at_price": None, "inventory_item_id": 71}],
}


class Rules(NamedTuple):
    """What a sender does with answers: which it takes, after which it repeats, within how many seconds they must come.

    After `max_failures` in a row that are not repeated, or not taken in the end, it stops for good.
    """

    takes: Collection[int]
    repeats: Collection[int]
    seconds: float
    max_failures: int


ANY_2XX = range(200, 300)
ERRORS_5XX = range(500, 600)
RULES: Mapping[str, Rules] = {
    "akeneo": Rules(ANY_2XX, (), 0.5, 0),  # the Events API; the Event Platform repeats, and stops after one 404
    "commercetools": Rules((102, 200, 201, 202, 204), range(300, 600), 10.0, 10_000),  # Pub/Sub, for seven days
    "saleor": Rules(ANY_2XX, ERRORS_5XX, 18.0, 10_000),  # five times; never after 3xx and 4xx
    "shopify": Rules(ANY_2XX, range(300, 600), 5.0, 8),  # eight times in four hours
    "woocommerce": Rules(range(200, 303), (), 60.0, 5),
}


def hmac_of(body: bytes) -> bytes:
    """The HMAC of a body by the secret."""
    return hmac.digest(SECRET.encode(), body, "sha256")


def from_shopify() -> Delivery:
    """A product that was made."""
    body = as_json(PRODUCT)
    signature = base64.b64encode(hmac_of(body)).decode()
    headers = {"x-shopify-topic": "products/create", "x-shopify-hmac-sha256": signature}
    return Delivery("/v1/webhooks/shop", headers, body, {})


def from_woocommerce() -> Delivery:
    """A product that was moved to the trash."""
    body = b'{"id":7}'
    signature = base64.b64encode(hmac_of(body)).decode()
    headers = {"x-wc-webhook-topic": "product.deleted", "x-wc-webhook-signature": signature}
    return Delivery("/v1/webhooks/woo", headers, body, {})


def from_saleor() -> Delivery:
    """A variant that changed."""
    body = as_json({"productVariant": {"id": "UHJvZHVjdFZhcmlhbnQ6Nw=="}})
    headers = {"saleor-event": "product_variant_updated", "saleor-signature": KEY.jws(body)}
    return Delivery("/v1/webhooks/saleor", headers, body, {})


def from_commercetools() -> Delivery:
    """A product that was published, by Pub/Sub."""
    files = recipe_files("commercetools")["pagefold.toml"].splitlines()
    given = dict(line.split(" = ", 1) for line in files if line.startswith(("issuer", "audience", "email")))
    claims = {name: value.split("#")[0].strip().strip('"') for name, value in given.items()}
    now = int(datetime.now(UTC).timestamp())
    token = KEY.token(
        {"iss": claims["issuer"], "aud": claims["audience"], "email": claims["email"], "email_verified": True}
        | {"iat": now, "exp": now + 600}
    )
    message = {"notificationType": "Message", "type": "ProductPublished", "resource": {"typeId": "product", "id": "p"}}
    data = base64.b64encode(as_json(message)).decode()
    body = as_json({"message": {"data": data, "messageId": "1"}, "subscription": "s"})
    return Delivery("/v1/webhooks/ct", {"authorization": f"Bearer {token}"}, body, {})


def from_akeneo() -> Delivery:
    """A product that was removed, by the Events API."""
    event = {"action": "product.removed", "event_datetime": "2026-03-04T07:00:00+00:00"}
    resource = {"identifier": "A", "uuid": "7b0f5c1e-2d34-4a8e-9c55-0e6f1a2b3c4d"}
    body = as_json({"events": [{**event, "data": {"resource": resource}}]})
    moment = str(int(datetime.now(UTC).timestamp()))
    headers = {
        "x-akeneo-request-timestamp": moment,
        "x-akeneo-request-signature": hmac_of(f"{moment}.".encode() + body).hex(),
    }
    return Delivery("/v1/webhooks/pim", headers, body, {})


SENDERS: Mapping[str, Callable[[], Delivery]] = {
    "akeneo": from_akeneo,
    "commercetools": from_commercetools,
    "saleor": from_saleor,
    "shopify": from_shopify,
    "woocommerce": from_woocommerce,
}
WITH_WEBHOOKS = [name for name in recipe_names() if ".webhook]" in recipe_files(name)["pagefold.toml"]]


class Sender:
    """Sends deliveries by its rules. `lost` are those that it does not repeat; after too many, it has `stopped`."""

    def __init__(self, system: str, at: RecipeShop) -> None:
        self._rules = RULES[system]
        self._make = SENDERS[system]
        self._at = at
        self.taken = self.waiting = self.lost = 0
        self.stopped = False

    async def send(self) -> int:
        """Sends a delivery, and returns the status of its answer."""
        began = monotonic()
        status = (await self._at.deliver(self._make())).status_code
        in_time = monotonic() - began <= self._rules.seconds
        if status in self._rules.takes and in_time:
            self.taken += 1
        elif status in self._rules.repeats or not in_time:
            self.waiting += 1
        else:
            self.lost += 1
            self.stopped = self.stopped or self.lost > self._rules.max_failures
        return status


@asynccontextmanager
async def shop_of(system: str, folder: Path, url: str) -> AsyncIterator[tuple[RecipeShop, Sender]]:
    """A shop by the recipe of a system, which sends its webhooks. Its keys are at a server of this machine."""

    def keys(_asked: Asked) -> Reply:
        return Reply(as_json({"keys": [KEY.public]}))

    async with serving(keys) as server:
        addresses = {
            "https://www.googleapis.com/oauth2/v3/certs": f"{server.url}/certs",
            'jwks_url = "https://shop.example': f'jwks_url = "{server.url}',
        }
        text = recipe_files(system)["pagefold.toml"]
        names = {each for each in text.replace('"', " ").replace("]", " ").split() if each.isupper() and "_" in each}
        variables = dict.fromkeys(names, SECRET)
        async with recipe_shop(system, folder, url, addresses=addresses, variables=variables) as at:
            yield at, Sender(system, at)


@pytest.mark.parametrize("system", WITH_WEBHOOKS)
def test_the_rules_of_each_sender_are_known(system: str) -> None:
    """A recipe with webhooks says what its sender does with an answer, and is tested with it."""
    assert system in RULES
    assert system in SENDERS


@pytest.mark.parametrize("system", WITH_WEBHOOKS)
async def test_nothing_is_lost_while_there_is_no_room(system: str, tmp_path: Path, store_url: str) -> None:
    """However long it lasts, the sender goes on; what it does not repeat was kept, and is taken later."""
    async with shop_of(system, tmp_path, store_url) as (at, sender):
        at.shop._appender.queued = at.shop.config.append.queue
        for _ in range(12):
            await sender.send()
        assert (sender.lost, sender.stopped, sender.taken + sender.waiting) == (0, False, 12)
        at.shop._appender.queued = 0
        async with run_beside(at.shop.work):
            await at.shop.waiting.take_all()
        kept = [each for each in await at.shop.dead_letters.newest() if "waits for its turn" in each.error]
        assert kept == []
        assert await sender.send() in RULES[system].takes


@pytest.mark.parametrize("system", WITH_WEBHOOKS)
async def test_nothing_is_lost_while_the_store_is_slow(
    system: str, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes in the time that the sender waits, and it is one that it takes, or after which it repeats."""
    async with shop_of(system, tmp_path, store_url) as (at, sender):
        await sender.send()  # keys of signatures are fetched once
        log = at.shop.store.log
        insert, hurt = log.insert, anyio.Event()

        async def late(events: list[EncodedEvent], fence: Fence | None = None) -> list[int | None]:
            await hurt.wait()
            return await insert(events, fence)

        monkeypatch.setattr(log, "insert", late)
        began = monotonic()
        await sender.send()
        assert monotonic() - began < RULES[system].seconds
        assert (sender.lost, sender.stopped) == (0, False)
        hurt.set()


@pytest.mark.parametrize("system", WITH_WEBHOOKS)
async def test_a_forged_delivery_is_refused(system: str, tmp_path: Path, store_url: str) -> None:
    """With one byte changed, or a signature missing, whatever the scheme."""
    async with shop_of(system, tmp_path, store_url) as (at, _):
        delivery = SENDERS[system]()
        names = [name for name in delivery.headers if "signature" in name or "hmac" in name or name == "authorization"]
        for name in names:
            value = delivery.headers[name]
            forged = value[:-6] + ("AAAAAA" if not value.endswith("AAAAAA") else "BBBBBB")
            for headers in ({**delivery.headers, name: forged}, {**delivery.headers, name: ""}):
                assert (await at.deliver(delivery._replace(headers=headers))).status_code == 401
        assert names
        assert json.loads(delivery.body)
