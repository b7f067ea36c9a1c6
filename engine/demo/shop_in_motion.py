"""The sample shop in motion, for its dashboard: changes come in all the time, and some things need a person.

What needs one is made as in a real shop: the webhook of a portal sends amounts with a comma, sources contradict
themselves, a marketplace refuses a product, an export has lost some products, so that its rebuild is held, and a new
configuration would take pages away, so that it is held as well.
"""

import base64
import hmac
import itertools
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import anyio
import httpx2
import msgspec
import orjson

from pagefold.engine.configuration.config import Config
from pagefold.engine.demo.faults import Arrival, Faults, inject_faults
from pagefold.engine.demo.reference_model import Document, Model
from pagefold.engine.demo.sample_shop import Shop as SampleShop
from pagefold.engine.demo.sample_targets import Marketplace, targets_text
from pagefold.engine.demo.snapshot_export import export
from pagefold.engine.demo.source_feeds import read_line
from pagefold.engine.errors import Overloaded, StoreUnavailable
from pagefold.engine.events import DomainEvent
from pagefold.engine.runtime.clock import moment
from pagefold.engine.shop import Shop, open_shop

SECRET_VARIABLE = "PAGEFOLD_DEMO_SECRET"  # noqa: S105  # its name
SECRET = base64.b64encode(sha256(b"the sample shop, which has no secrets").digest()).decode()
"""The secret of the portal's webhook. The server of the demo listens on this machine only."""

PERIOD_SECONDS = 0.5
"""How often some changes arrive."""

CHANGES_PER_PERIOD = 20

CHUNK = 1_000

PREPARED_CHANGES = 3_000
"""Changes that arrive before the server starts."""

COMMA_EVERY = 24
"""One in this many periods brings an amount with a comma, after the first ones."""

FIRST_COMMAS = 12
"""Amounts with a comma that arrive first."""

LOST = "HEMD-"
"""The export of the PIM lacks the products whose SKUs begin so: a part of the tree of categories."""

MANY = 1 << 40
"""More changes than a person waits for."""

SHOP = """
[shop]
name = "Sunrise"
environment = "demo"
"""

WEBHOOK = f"""
[sources.portal]                                 # what sellers ask for on the marketplace
domains = ["pricing"]
[sources.portal.webhook]
secret_variables = ["{SECRET_VARIABLE}"]
[sources.portal.webhook.contract]
items = "prices"
sourceVersion = "revision"
occurredAt = "$.sentAt"
sku = "article"
channel = {{ constant = "marketplace-de" }}
pricing = {{ amount = "gross", currency = "currency" }}
"""

OLD_REQUIREMENTS = "version = 2", 'attributes = ["name", "description"]'
NEW_REQUIREMENTS = "version = 3", 'attributes = ["name", "description", "gtin"]'
"""What the newest version of the file has in place of them: no product has a GTIN."""


class ShopInMotion:
    """The sample shop, its sources, and the folder with its files. `text` is its configuration."""

    def __init__(self, sample: SampleShop, url: str, folder: Path) -> None:
        self._sample = sample
        self._url = url
        self._folder = folder
        self._file = folder / "pagefold.toml"
        self._snapshots = folder / "snapshots"
        self._snapshots.mkdir(exist_ok=True)
        self._text = sample.config(url, self._snapshots) + SHOP + WEBHOOK
        self._arrivals = self._changes()
        self._revisions = itertools.count(1_000_000)

    @property
    def environment(self) -> dict[str, str]:
        """The secret of the webhook."""
        return {SECRET_VARIABLE: SECRET}

    def _changes(self) -> Iterator[Arrival]:
        events = itertools.chain(self._sample.catalog(), self._sample.changes(MANY))
        return inject_faults(events, Faults(conflicting=0.001, withdrawn=0.001), self._sample.seed)

    async def prepare(self) -> None:
        """Fills an empty store: the catalog and some changes, folded; a rebuild that is held, and its export."""
        model = Model(tomllib.loads(self._text))
        first = sum(1 for _ in self._sample.catalog()) + PREPARED_CHANGES
        async with open_shop(Config.parse(self._text, store=self._url)) as shop:
            await shop.catch_up()  # the first configuration counts from here on
            while arrivals := list(itertools.islice(self._arrivals, min(first, CHUNK))):
                first -= len(arrivals)
                await self._append(shop, arrivals)
                for each in arrivals:
                    if each.event is not None:
                        model.submit(each.event)
            await shop.catch_up()
            gone = {product.sku for product in self._sample.products if product.sku.startswith(LOST)}
            export(model, shop.config, gone, moment())
            async with shop.rebuilds() as rebuilds:
                await rebuilds.rebuild("pim")
            await shop.catch_up()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Shop]:
        """The shop under a newer file, which takes too much away and is held; with what it delivers to."""
        text = self._text
        for old, new in zip(OLD_REQUIREMENTS, NEW_REQUIREMENTS, strict=True):
            text = text.replace(old, new, 1)
        marketplace = Marketplace(refused=self._sample.products[0].sku)
        async with marketplace.listening() as url:
            self._file.write_text(text + targets_text(url, self._folder / "export"), encoding="utf-8")
            async with open_shop(msgspec.structs.replace(Config.load(self._file), apply="safe")) as shop:
                yield shop

    async def run(self, shop: Shop, address: str) -> None:
        """Changes come in until it is cancelled; the webhook's to the server at this address."""
        async with httpx2.AsyncClient(base_url=address) as client:
            for _ in range(FIRST_COMMAS):
                await self._send_comma(client)
            for period in itertools.count(1):
                await self._append(shop, list(itertools.islice(self._arrivals, CHANGES_PER_PERIOD)))
                if period % COMMA_EVERY == 0:
                    await self._send_comma(client)
                await anyio.sleep(PERIOD_SECONDS)

    @staticmethod
    async def _append(shop: Shop, arrivals: list[Arrival]) -> None:
        read = [read_line(arrival.line) for arrival in arrivals]
        events = [each for each in read if isinstance(each, DomainEvent)]
        while True:
            try:
                await shop.append(events)
            except (StoreUnavailable, Overloaded):
                await anyio.sleep(PERIOD_SECONDS)
            else:
                return

    async def _send_comma(self, client: httpx2.AsyncClient) -> None:
        """A price as the portal writes it since its newest release."""
        revision = next(self._revisions)
        product = self._sample.products[revision % len(self._sample.products)]
        price = {"article": product.sku, "revision": revision, "gross": "19,90", "currency": "EUR"}
        sent_at = datetime.now(UTC)
        body = orjson.dumps({"sentAt": sent_at.isoformat(), "prices": [price]})
        with suppress(httpx2.HTTPError):  # a busy machine: the next one comes soon
            await client.post("/v1/webhooks/portal", content=body, headers=_signed(f"price-{revision}", sent_at, body))


def _signed(identifier: str, at: datetime, body: bytes) -> Document:
    """The headers of a request that Standard Webhooks signs."""
    seconds = str(int(at.timestamp()))
    content = b".".join([identifier.encode(), seconds.encode(), body])
    digest = hmac.digest(base64.b64decode(SECRET), content, "sha256")
    return {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
