"""A real shop's rows in one table of its own form, read by configuration alone: the same pages, byte for byte."""

import csv
import json
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import pagefold
from pagefold import Config, parse_event
from tests.support.rebuild_fixtures import rebuild
from tests.support.shared_data import data_file
from tests.support.small_shop import pages_of

Document: TypeAlias = dict[str, Any]

FILES = ("catalog", "pricing", "inventory", "media")
ATTRIBUTES = ("designer", "size", "commonSize", "color", "style", "gender", "season", "madeInItaly")
TEXTS = ("name", "slug", "colorFreeDefinition", "description")
CHANNELS = {"de": "EUR", "it": "EUR", "gb": "EUR", "us": "USD"}


def rows_of(name: str) -> list[Document]:
    """The events of a file."""
    return [json.loads(line) for line in data_file("sunrise", f"{name}.ndjson").read_bytes().splitlines()]


def cents(amount: str) -> str:
    """An amount in minor units."""
    return amount.replace(".", "").lstrip("0")


def table() -> list[dict[str, str]]:
    """A row for each product: columns per locale, prices in cents, stores as columns, categories, images as lists."""
    found: dict[str, dict[str, str]] = {}
    for row in rows_of("catalog"):
        payload = row["payload"]
        columns = {"article": f" {row['sku']} ", "changed": "01.01.2026 01:00", "family": payload["family"]}
        columns["parent"] = payload["parent"] or ""
        columns["number"] = payload["attributes"]["articleNumberManufacturer"]
        columns |= {name: payload["attributes"].get(name, "") for name in ATTRIBUTES}
        texts = {name: payload["localized"].get(name, {}) for name in TEXTS}
        columns |= {f"{name}-{tag}_XX": text for name, by_tag in texts.items() for tag, text in by_tag.items()}
        found[row["sku"]] = columns | {"categories": " | ".join(payload["categories"])}
    for row in rows_of("pricing"):
        amounts = {"price": row["payload"]["amount"], "b2b": row["payload"]["customerGroups"]["b2b"]}
        found[row["sku"]] |= {f"{name} {row['channel']}": cents(amount) for name, amount in amounts.items()}
    for row in rows_of("inventory"):
        found[row["sku"]][f"stock {row['source']}"] = f"{row['payload']['available']},0"
    for row in rows_of("media"):
        found[row["sku"]]["images"] = "|".join(asset["url"] for asset in row["payload"]["assets"])
    return list(found.values())


def write(file: Path) -> None:
    """Writes the table as a spreadsheet does."""
    rows = table()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        out.write("sep=;\r\n")
        writer = csv.DictWriter(out, columns, restval="", delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def priced(channel: str, currency: str) -> Document:
    """What the contract says of the prices of a channel."""
    money = {"money": {"currency": currency, "unit": "minor"}}
    return {
        "source": {"constant": "erp"},
        "channel": {"constant": channel},
        "currency": {"constant": currency},
        "amount": {"from": f"price {channel}", **money},
        "customerGroups": {"b2b": {"from": f"b2b {channel}", **money}},
        "taxClass": {"constant": "standard"},
        "taxIncluded": {"constant": currency == "EUR"},
    }


def contract(places: list[str]) -> Document:
    """The contract of the table."""
    images = {"split": "|"}, {"each": {"members": {"url": ".", "role": {"constant": "main"}}}}, "enumerate"
    return {
        "sku": "article",
        "sourceVersion": {"constant": 1},
        "zone": "Europe/Berlin",
        "decimal": ",",
        "occurredAt": {"from": "changed", "date": {"format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}},
        "catalog": {
            "family": "family",
            "parent": "parent",
            "categories": {"from": "categories", "split": "|"},
            "attributes": {"articleNumberManufacturer": "number", **{name: name for name in ATTRIBUTES}},
            "localized": {
                name: {"locale_columns": {"texts": {tag: f"{name}-{tag}_XX" for tag in ("de", "en")}}} for name in TEXTS
            },
        },
        "pricing": [priced(channel, currency) for channel, currency in CHANNELS.items()],
        "inventory": [{"source": {"constant": place}, "available": f"stock {place}"} for place in places],
        "media": {"source": {"constant": "dam"}, "assets": {"from": "images", "steps": list(images)}},
    }


@pytest.fixture
async def expected(tmp_path: Path) -> dict[tuple[str, str], bytes | None]:
    """The pages of the same rows as events."""
    config = Config.load(data_file("sunrise", "pagefold.toml"), store=f"sqlite:///{tmp_path}/events")
    async with pagefold.open(config) as shop:
        for name in FILES:
            lines = data_file("sunrise", f"{name}.ndjson").read_bytes().splitlines()
            await shop.append([parse_event(line) for line in lines])
        await shop.catch_up()
        return await pages_of(shop)


async def test_a_table_of_its_own_form_gives_the_same_pages(
    expected: dict[tuple[str, str], bytes | None], store_url: str, tmp_path: Path
) -> None:
    """All 102 products on 4 channels: a row says what 14 sources say of a product."""
    file = tmp_path / "export.csv"
    write(file)
    text = data_file("sunrise", "pagefold.toml").read_text("utf-8")
    config = Config.parse(text, store=store_url)
    places = config.sources_of("inventory")
    snapshot = {"file": str(file), "ends": "file", "settle": 0, "duration": 0}
    document: Document = {**tomllib.loads(text), "store": {"url": store_url}}
    document["sources"]["pim"] |= {"snapshot": snapshot, "contract": contract([*places])}
    async with pagefold.open(Config.parse(document)) as shop:
        report = await rebuild(shop, "pim")
        assert (report.counts.missing, report.counts.refused) == (102 * (1 + 4 + len(places) + 1), 0)
        assert await pages_of(shop) == expected
        assert (await rebuild(shop, "pim")).counts.equal == report.counts.missing
