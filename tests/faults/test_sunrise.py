"""A real shop's data, against an oracle that reads the same files and shares no code with the program."""

import asyncio
import gzip
import json
import tomllib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import pagefold
from pagefold import Config, Shop, parse_event
from pagefold.domains import DOMAINS
from tests.support.shared_data import data_file

Document: TypeAlias = dict[str, Any]

FILES = ("catalog", "pricing", "inventory", "media")
SAMPLE = "M0E20000000DLYA"
CHANNELS = ("de", "it", "gb", "us")
CHAINS = {"de": ["de-DE", "de", "en"], "it": ["it-IT", "it", "en"], "gb": ["en-GB", "en"], "us": ["en-US", "en"]}


def rows(file: Path) -> Iterator[Document]:
    """The events of a file, as plain dictionaries."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        for line in lines:
            yield json.loads(line)


def warehouses(channel: str) -> list[str]:
    """The locations of a channel, according to the configuration file."""
    config = tomllib.loads(data_file("sunrise", "pagefold.toml").read_text())
    places: list[str] = config["channels"][channel]["sources"]["inventory"]
    return places


class Oracle:
    """The page that a person expects who reads the files."""

    def __init__(self) -> None:
        self.catalog: dict[str, Document] = {}
        self.media: dict[str, Document] = {}
        self.prices: dict[tuple[str, str], Document] = {}
        self.stock: dict[str, dict[str, int]] = defaultdict(dict)
        for row in rows(data_file("sunrise", "catalog.ndjson")):
            self.catalog[row["sku"]] = row["payload"]
        for row in rows(data_file("sunrise", "pricing.ndjson")):
            self.prices[row["sku"], row["channel"]] = row["payload"]
        for row in rows(data_file("sunrise", "inventory.ndjson")):
            self.stock[row["sku"]][row["source"]] = row["payload"]["available"]
        for row in rows(data_file("sunrise", "media.ndjson")):
            self.media[row["sku"]] = row["payload"]
        self.places = {channel: warehouses(channel) for channel in CHANNELS}

    def page(self, sku: str, channel: str) -> Document:
        """The complete document, with its timestamps: every event occurred at the start of the year."""
        places = [place for place in self.places[channel] if place in self.stock[sku]]
        price = self.prices[sku, channel]
        versions = ["catalog/pim", "pricing/erp", *[f"inventory/{place}" for place in sorted(places)], "media/dam"]
        return {
            "sku": sku,
            "channel": channel,
            "status": "live",
            "ready": True,
            "readiness": {"catalog": True, "pricing": True, "inventory": True, "media": True},
            "sourceVersions": dict.fromkeys(versions, 1),
            "updatedAt": "2026-01-01T00:00:00.000000Z",
            "catalog": self.catalog_of(sku, channel),
            "pricing": {name: value for name, value in price.items() if value not in (None, [], {})},
            "inventory": self.inventory_of(sku, places),
            "media": {"assets": [self.asset(each, channel) for each in self.media[sku]["assets"]]},
        }

    def catalog_of(self, sku: str, channel: str) -> Document:
        """The product, with its texts in the channel's language."""
        payload = self.catalog[sku]
        attributes = dict(payload["attributes"])
        for code, text in payload["localized"].items():
            translations = [text[locale] for locale in CHAINS[channel] if locale in text]
            if translations:
                attributes[code] = translations[0]
        return {
            "attributes": attributes,
            "categories": payload["categories"],
            "family": payload["family"],
            "parent": payload["parent"],
        }

    def inventory_of(self, sku: str, places: list[str]) -> Document:
        """The stock of the channel's locations together; the files have neither safety stock nor backorders."""
        available = {place: max(self.stock[sku][place], 0) for place in places}
        locations = [{"source": place, "available": available[place]} for place in places]
        total = sum(available.values())
        return {"available": total, "status": "in_stock" if total else "out_of_stock", "locations": locations}

    def asset(self, asset: Document, channel: str) -> Document:
        """A picture, with its text in the channel's language, if any."""
        translations = [asset["alt"][locale] for locale in CHAINS[channel] if locale in asset.get("alt", {})]
        plain = {name: value for name, value in asset.items() if name != "alt" and value is not None}
        return plain | ({"alt": translations[0]} if translations else {})


@pytest.fixture
def config(store_url: str) -> Config:
    """The configuration that comes with the data, on each kind of store."""
    return Config.load(data_file("sunrise", "pagefold.toml"), store=store_url)


@pytest.fixture
async def sunrise(shop: Shop) -> AsyncIterator[Shop]:
    """A shop with the four files, folded."""
    for name in FILES:
        lines = data_file("sunrise", f"{name}.ndjson").read_bytes().splitlines()
        results = await shop.append([parse_event(line) for line in lines])
        assert {result.outcome for result in results} == {"appended"}
    await shop.catch_up()
    yield shop
    assert await shop.dead_letters.newest() == []


async def test_every_page_equals_the_oracles(sunrise: Shop) -> None:
    """All 102 SKUs on all 4 channels, field by field."""
    oracle = Oracle()
    assert len(oracle.catalog) == 102
    compared = 0
    for sku in oracle.catalog:
        for channel in CHANNELS:
            text = await sunrise.pages.get_json(sku, channel)
            assert text is not None
            assert json.loads(text) == oracle.page(sku, channel)
            assert list(json.loads(text)) == list(oracle.page(sku, channel))
            compared += 1
    assert compared == 408
    assert len([key async for key in sunrise.store.pages.keys()]) == 408  # noqa: SIM118  # it is no dictionary
    status = await sunrise.status()
    assert {domain.domain: domain.applied for domain in status.domains} == {
        "catalog": 102,
        "pricing": 408,
        "inventory": 1_122,
        "media": 102,
    }


async def test_the_sample_page(sunrise: Shop) -> None:
    """The trousers: German name, 150.00 EUR, the stock of the channel's six locations together, one image."""
    page = await sunrise.pages.get(SAMPLE, "de")
    assert page is not None
    assert page.ready
    sections: Any = page.sections
    assert sections["catalog"]["attributes"]["name"] == "Chino Michael Kors braun"
    assert (sections["pricing"]["amount"], sections["pricing"]["currency"]) == ("150.00", "EUR")
    assert sections["inventory"]["available"] == 46 + 0 + 863 + 712 + 10 + 2
    assert [place["source"] for place in sections["inventory"]["locations"]] == warehouses("de")
    assert len(sections["media"]["assets"]) == 1
    american = await sunrise.pages.get(SAMPLE, "us")
    assert american is not None
    sections = american.sections
    assert sections["catalog"]["attributes"]["name"] == "Chino Michael Kors brown"
    assert (sections["pricing"]["amount"], sections["pricing"]["currency"]) == ("187.50", "USD")


async def test_repeated_files_change_nothing(sunrise: Shop) -> None:
    """Every line again is a duplicate, and no page changes."""
    before = await sunrise.pages.get_json(SAMPLE, "de")
    for name in FILES:
        lines = data_file("sunrise", f"{name}.ndjson").read_bytes().splitlines()
        results = await sunrise.append([parse_event(line) for line in reversed(lines)])
        assert {result.outcome for result in results} == {"duplicate"}
    await sunrise.catch_up()
    assert await sunrise.pages.get_json(SAMPLE, "de") == before


async def test_all_stock_rows(shop: Shop) -> None:
    """The 40,675 rows of six warehouses: every page's sum, and each location's stock, equal the file's."""
    file = data_file("sunrise", "inventory-full.ndjson.gz")
    expected: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows(file):
        expected[row["sku"]][row["source"]] = row["payload"]["available"]
    with gzip.open(file) as lines:
        while batch := [parse_event(line) for line in islice(lines, 10_000)]:
            assert {result.outcome for result in await shop.append(batch)} == {"appended"}
    await shop.catch_up(["inventory"])
    pages = 0
    for channel in CHANNELS:
        places = warehouses(channel)
        for stock, text in zip(expected.values(), await texts_of(shop, list(expected), channel), strict=True):
            known = {place: max(stock[place], 0) for place in places if place in stock}
            assert (text is None) == (not known)
            if text is not None:
                section = json.loads(text)["inventory"]
                assert section["available"] == sum(known.values())
                assert {each["source"]: each["available"] for each in section["locations"]} == known
                pages += 1
    assert sum([await shop.store.pages.count(domain.name) for domain in DOMAINS]) == pages
    assert sum(len(stock) for stock in expected.values()) == 40_675
    assert len(expected) == 26_137


async def texts_of(shop: Shop, skus: list[str], channel: str) -> list[bytes | None]:
    """The pages of many SKUs, hundreds per call."""
    texts: list[bytes | None] = []
    for start in range(0, len(skus), 500):
        texts += await asyncio.gather(*[shop.pages.get_json(sku, channel) for sku in skus[start : start + 500]])
    return texts


def test_the_configuration_of_the_data_is_read(store_url: str) -> None:
    """The file that comes with the data is a valid configuration."""
    config = pagefold.Config.load(data_file("sunrise", "pagefold.toml"), store=store_url)
    assert list(config.channels) == ["de", "it", "gb", "us"]
    assert config.store.url == store_url
