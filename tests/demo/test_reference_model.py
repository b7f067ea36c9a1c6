"""The demo's model, checked with handwritten pages; its sample shop and its faults."""

import ast
import itertools
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pagefold.engine.demo import reference_completeness, reference_texts
from pagefold.engine.demo import reference_model as model_module
from pagefold.engine.demo.faults import Faults, inject_faults
from pagefold.engine.demo.reference_model import Document, Drift, Model, Stream
from pagefold.engine.demo.sample_shop import Shop

CONFIG = """
[sources.pim]
domains = ["catalog"]
[sources.editors]
domains = ["catalog", "media"]
[sources.erp]
domains = ["pricing"]
[sources.wms-berlin]
domains = ["inventory"]
[sources.wms-reno]
domains = ["inventory"]
[sources.dam]
domains = ["media"]

[channels.web-de]
locale = "de-DE"
fallbacks = ["en"]
currency = "EUR"
requires = ["catalog", "pricing", "inventory"]
[channels.web-de.sources]
catalog = ["editors", "pim"]
inventory = ["wms-berlin"]

[channels.web-us]
locale = "en-US"
currency = "USD"
requires = ["catalog"]
"""

NAME = {"localized": {"name": {"en": "Alma T-shirt"}}}
SHIRT = {
    "family": "tshirt",
    "parent": "TSHIRT",
    "categories": ["women/tops"],
    "attributes": {"size": "M", "weight": 0.18, "name": "TSHIRT-M"},
    "localized": {"name": {"en": "Alma T-shirt, navy", "de": "T-Shirt Alma, Grün"}},
}
EUROS = {"currency": "EUR", "amount": "24.90"}
ROUGH = Faults(late=0.05, reordered=0.1, duplicated=0.1, stale=0.1, conflicting=0.05, withdrawn=0.05, broken=0.15)


@pytest.fixture
def model() -> Model:
    """An empty model of a shop with two channels."""
    return Model(tomllib.loads(CONFIG))


def says(  # noqa: PLR0913  # an event has that many parts
    source: str,
    domain: str,
    payload: Document | None,
    *,
    version: int = 1,
    channel: str = "*",
    sku: str = "TSHIRT-M",
    at: str = "2026-01-01T12:00:00Z",
) -> Document:
    """One event."""
    return {
        "type": domain,
        "sku": sku,
        "channel": channel,
        "source": source,
        "sourceVersion": version,
        "occurredAt": at,
        "payload": payload,
    }


def submit(model: Model, *events: Document) -> None:
    """Every one of the events is new to the model."""
    assert [model.submit(event) for event in events] == ["appended"] * len(events)


def section(model: Model, domain: str, channel: str = "web-de") -> bytes:
    """The bytes of one section of the page, which ends with the next domain's or with the document."""
    page = model.page("TSHIRT-M", channel, disabled=True)
    assert page is not None
    following = {"catalog": b',"pricing":', "pricing": b',"inventory":', "inventory": b',"media":', "media": b"}"}
    start = page.rindex(f'"{domain}":'.encode()) + len(domain) + 3
    end = page.rindex(following[domain])
    return page[start:end]


def test_whole_page(model: Model) -> None:
    """Every section, in the order of the domains; keys of sections are sorted, those of the page are not."""
    price: Document = {
        "currency": "EUR",
        "amount": "24.90",
        "compareAt": None,
        "taxIncluded": False,
        "tiers": [{"minQuantity": 6, "amount": "22.00"}],
        "customerGroups": {},
        "scheduled": [{"until": None, "from": "2026-02-01T00:00:00.5+01:00", "amount": "19.90"}],
    }
    submit(
        model,
        says("pim", "catalog", SHIRT, version=17, at="2026-01-01T12:00:00Z"),
        says("erp", "pricing", price, version=9, channel="web-de", at="2026-01-01T13:00:00.123456+01:00"),
        says("wms-berlin", "inventory", {"available": 5, "safetyStock": 2}, version=3, at="2026-01-01T04:00:00-07:00"),
        says("wms-reno", "inventory", {"available": 50}, at="2026-06-01T00:00:00Z"),
        says("dam", "media", {"assets": [{"url": "https://m.example/1.webp"}]}, at="2025-12-31T00:00:00Z"),
    )
    assert (
        model.page("TSHIRT-M", "web-de")
        == (
            '{"sku":"TSHIRT-M","channel":"web-de","status":"live","ready":true,'
            '"readiness":{"catalog":true,"pricing":true,"inventory":true,"media":true},'
            '"sourceVersions":{"catalog/pim":17,"pricing/erp":9,"inventory/wms-berlin":3,"media/dam":1},'
            '"updatedAt":"2026-01-01T12:00:00.123456Z",'
            '"catalog":{"attributes":{"name":"T-Shirt Alma, Grün","size":"M","weight":0.18},'
            '"categories":["women/tops"],"family":"tshirt","parent":"TSHIRT"},'
            '"pricing":{"amount":"24.90","currency":"EUR",'
            '"scheduled":[{"amount":"19.90","from":"2026-01-31T23:00:00.500000Z"}],"taxIncluded":false,'
            '"tiers":[{"amount":"22.00","minQuantity":6}]},'
            '"inventory":{"available":3,"locations":[{"available":3,"source":"wms-berlin"}],"status":"in_stock"},'
            '"media":{"assets":[{"position":0,"url":"https://m.example/1.webp"}]}}'
        ).encode()
    )


def test_page_before_its_catalog(model: Model) -> None:
    """A page exists from its first event; it is not ready, and not disabled."""
    submit(model, says("erp", "pricing", EUROS, version=0))
    assert model.page("TSHIRT-M", "web-de") == (
        b'{"sku":"TSHIRT-M","channel":"web-de","status":"live","ready":false,'
        b'"readiness":{"catalog":false,"pricing":true,"inventory":false,"media":false},'
        b'"sourceVersions":{"pricing/erp":0},"updatedAt":"2026-01-01T12:00:00.000000Z",'
        b'"catalog":null,"pricing":{"amount":"24.90","currency":"EUR"},"inventory":null,"media":null}'
    )


def test_price_of_another_currency(model: Model) -> None:
    """A price in euros for every channel gives a dollar channel a section without a body, with its version."""
    submit(model, says("erp", "pricing", EUROS, version=4))
    assert model.page("TSHIRT-M", "web-us") == (
        b'{"sku":"TSHIRT-M","channel":"web-us","status":"live","ready":false,'
        b'"readiness":{"catalog":false,"pricing":false,"inventory":false,"media":false},'
        b'"sourceVersions":{"pricing/erp":4},"updatedAt":"2026-01-01T12:00:00.000000Z",'
        b'"catalog":null,"pricing":null,"inventory":null,"media":null}'
    )


@pytest.mark.parametrize("payload", [None, NAME | {"enabled": False}], ids=["withdrawn", "disabled"])
def test_disabled_page(model: Model, payload: Document | None) -> None:
    """Without its catalog section a page is hidden from storefronts and shown to operators. It comes back."""
    submit(model, says("pim", "catalog", NAME), says("pim", "catalog", payload, version=2))
    assert model.page("TSHIRT-M", "web-us") is None
    assert model.page("TSHIRT-M", "web-us", disabled=True) == (
        b'{"sku":"TSHIRT-M","channel":"web-us","status":"disabled","ready":false,'
        b'"readiness":{"catalog":false,"pricing":false,"inventory":false,"media":false},'
        b'"sourceVersions":{"catalog/pim":2},"updatedAt":"2026-01-01T12:00:00.000000Z",'
        b'"catalog":null,"pricing":null,"inventory":null,"media":null}'
    )
    assert list(model.pages()) == [("TSHIRT-M", "web-de"), ("TSHIRT-M", "web-us")]
    submit(model, says("pim", "catalog", NAME, version=3))
    assert model.page("TSHIRT-M", "web-us") is not None


def test_no_page(model: Model) -> None:
    """A SKU without events has no page, nor one with events only of sources that the channel does not use."""
    submit(model, says("wms-reno", "inventory", {"available": 1}))
    assert model.page("TSHIRT-M", "web-de", disabled=True) is None
    assert model.page("TSHIRT-L", "web-us") is None
    assert model.page("TSHIRT-M", "web-mars") is None
    assert list(model.pages()) == [("TSHIRT-M", "web-us")]


def test_withdrawn_override(model: Model) -> None:
    """An event for the channel precedes one for every channel; once withdrawn, the latter applies again."""
    submit(model, says("erp", "pricing", EUROS, version=7))
    submit(model, says("erp", "pricing", EUROS | {"amount": "20.00"}, channel="web-de", version=1))
    assert section(model, "pricing") == b'{"amount":"20.00","currency":"EUR"}'
    submit(model, says("erp", "pricing", None, channel="web-de", version=2))
    assert section(model, "pricing") == b'{"amount":"24.90","currency":"EUR"}'
    assert b'"pricing/erp":7' in (model.page("TSHIRT-M", "web-de") or b"")
    submit(model, says("erp", "pricing", None, version=8))
    assert section(model, "pricing") == b"null"
    assert b'"pricing/erp":2' in (model.page("TSHIRT-M", "web-de") or b"")


def test_attributes_of_two_sources(model: Model) -> None:
    """By attribute the first source in the channel's order that has it, be it a plain value or a text that resolves."""
    pim = {"family": "tshirt", "attributes": {"claim": "plain", "size": "M"}, "localized": {"name": {"de": "Hemd"}}}
    editors = {
        "categories": ["new"],
        "attributes": {"name": None},
        "localized": {"claim": {"en": "Soft", "fr": "Doux"}},
    }
    submit(model, says("pim", "catalog", pim), says("editors", "catalog", editors))
    assert section(model, "catalog") == (
        b'{"attributes":{"claim":"Soft","name":null,"size":"M"},"categories":["new"],"family":"tshirt","parent":null}'
    )
    assert section(model, "catalog", "web-us") == (
        b'{"attributes":{"claim":"plain","name":null,"size":"M"},"categories":["new"],"family":"tshirt","parent":null}'
    )


IN_STOCK = (
    b'{"available":1,"locations":[{"available":0,"source":"wms-berlin"},{"available":1,"source":"wms-reno"}],'
    b'"status":"in_stock"}'
)
BACKORDER = (
    b'{"available":0,"locations":[{"available":0,"restockAt":"2026-03-01T00:00:00.500000Z","source":"wms-berlin"},'
    b'{"available":0,"restockAt":"2026-03-01T00:00:00Z","source":"wms-reno"}],'
    b'"restockAt":"2026-03-01T00:00:00Z","status":"backorder"}'
)
OUT_OF_STOCK = b'{"available":0,"locations":[{"available":0,"source":"wms-berlin"}],"status":"out_of_stock"}'

IN_RENO_SOONER = {"available": -2, "backorderable": True, "restockAt": "2026-02-28T17:00:00-07:00"}


@pytest.mark.parametrize(
    ("berlin", "reno", "expected"),
    [
        ({"available": 5, "safetyStock": 7}, {"available": 4, "safetyStock": 3, "restockAt": None}, IN_STOCK),
        ({"available": 0, "restockAt": "2026-03-01T00:00:00.5Z"}, IN_RENO_SOONER, BACKORDER),
        ({"available": 0}, None, OUT_OF_STOCK),
    ],
    ids=["in stock", "backorder", "out of stock"],
)
def test_stock(model: Model, berlin: Document, reno: Document | None, expected: bytes) -> None:
    """The sum of stock beyond safety stocks; a withdrawn source is no location."""
    submit(model, says("wms-reno", "inventory", reno), says("wms-berlin", "inventory", berlin))
    assert section(model, "inventory", "web-us") == expected


def test_assets(model: Model) -> None:
    """Assets of all sources by (position, url), equal ones in the order of sources, alt in the channel's language."""
    dam = [
        {"url": "b", "position": 1, "alt": {"de": "Vorn", "en": "Front"}, "width": 10, "height": None},
        {"url": "a", "role": "same"},
    ]
    editors = [{"url": "a", "role": "first"}, {"url": "c", "position": -1, "alt": {"de": "Nur deutsch"}}]
    submit(model, says("dam", "media", {"assets": dam}), says("editors", "media", {"assets": editors}))
    assert section(model, "media", "web-us") == (
        b'{"assets":[{"position":-1,"url":"c"},{"position":0,"role":"first","url":"a"},'
        b'{"position":0,"role":"same","url":"a"},{"alt":"Front","position":1,"url":"b","width":10}]}'
    )


def test_no_assets(model: Model) -> None:
    """Without assets the section is there and not ready."""
    submit(model, says("dam", "media", {}))
    assert section(model, "media") == b'{"assets":[]}'
    assert b'"media":false' in (model.page("TSHIRT-M", "web-de") or b"")


def test_fates(model: Model) -> None:
    """The first content at a version is kept; formatting and times are not content; old versions are appended."""
    submit(model, says("erp", "pricing", EUROS, version=5))
    reformatted: Document = {"tiers": [], "scheduled": [], "taxClass": None, "amount": "24.90", "currency": "EUR"}
    assert model.submit(says("erp", "pricing", reformatted, version=5, at="2027-01-01T00:00:00Z")) == "duplicate"
    assert model.submit(says("erp", "pricing", EUROS | {"amount": "024.9"}, version=5)) == "duplicate"
    assert model.submit(says("erp", "pricing", EUROS | {"amount": "24.901"}, version=5)) == "conflict"
    assert model.submit(says("erp", "pricing", None, version=5)) == "conflict"
    assert model.submit(says("erp", "pricing", EUROS | {"amount": "1"}, version=4)) == "appended"
    assert section(model, "pricing") == b'{"amount":"24.90","currency":"EUR"}'
    assert b'"updatedAt":"2026-' in (model.page("TSHIRT-M", "web-de") or b"")
    assert (model.events(), model.events("pricing"), model.events("media")) == (2, 2, 0)


def test_two_spellings_of_a_sku(model: Model) -> None:
    """A decomposed SKU is the same SKU."""
    submit(model, says("pim", "catalog", NAME, sku="CAFÉ-250"))
    assert model.submit(says("pim", "catalog", NAME, sku="CAFE\N{COMBINING ACUTE ACCENT}-250")) == "duplicate"
    assert model.page("CAFE\N{COMBINING ACUTE ACCENT}-250", "web-de") == model.page("CAFÉ-250", "web-de") is not None


PRICE = Stream("TSHIRT-M", "*", "pricing", "erp")
IN_DE = Stream("TSHIRT-M", "web-de", "pricing", "erp")


def test_snapshot(model: Model) -> None:
    """A snapshot has the heads of a source's streams, canonical, including withdrawals."""
    submit(
        model,
        says("erp", "pricing", EUROS, version=3, at="2026-01-01T13:00:00.5+01:00"),
        says("erp", "pricing", EUROS | {"amount": "9.90"}, version=2),
        says("erp", "pricing", EUROS, version=7, channel="web-de"),
        says("erp", "pricing", None, version=8, channel="web-de"),
        says("erp", "pricing", EUROS, sku="TSHIRT-L"),
        says("pim", "catalog", NAME),
    )
    at = "2026-01-01T12:00:00.500000Z"
    rows = [
        says("erp", "pricing", EUROS, version=3, at=at),
        says("erp", "pricing", None, version=8, channel="web-de", at="2026-01-01T12:00:00.000000Z"),
    ]
    assert list(model.snapshot("erp", {"TSHIRT-L"})) == rows
    assert [row["sku"] for row in model.snapshot("erp")] == ["TSHIRT-M", "TSHIRT-M", "TSHIRT-L"]
    assert list(model.snapshot("dam")) == []


def test_snapshot_gives_the_same_pages(model: Model) -> None:
    """A model that received only the snapshots has the same pages, byte for byte."""
    shop = Shop(skus=30)
    said = itertools.chain(shop.catalog(), shop.changes(1_000))
    config = tomllib.loads(shop.config("sqlite:///shop"))
    model, other = Model(config), Model(config)
    for arrival in inject_faults(said, ROUGH):
        if arrival.event is not None:
            model.submit(arrival.event)
    submit(other, *itertools.chain.from_iterable(map(model.snapshot, config["sources"])))
    assert all(other.page(*page, disabled=True) == model.page(*page, disabled=True) for page in model.pages())
    assert not model.drift(other)


def test_drift(model: Model) -> None:
    """Each kind of drift is found; a model that received everything has none."""
    submit(model, says("pim", "catalog", NAME), says("erp", "pricing", EUROS, version=4))
    submit(model, says("erp", "pricing", EUROS, sku="GONE"), says("erp", "pricing", None, sku="GONE", channel="web-de"))
    received = model.copy()
    assert not model.drift(received)
    submit(model, says("erp", "pricing", EUROS, version=5), says("erp", "pricing", EUROS, channel="web-de"))
    submit(model, says("pim", "catalog", NAME, version=2))
    submit(received, says("pim", "catalog", SHIRT, version=2))
    expected: dict[Stream, Drift] = {
        Stream("TSHIRT-M", "*", "catalog", "pim"): "changed",
        PRICE: "newer",
        IN_DE: "missing",
        Stream("GONE", "*", "pricing", "erp"): "orphan",
    }
    assert model.drift(received, {"GONE"}) == expected
    assert (model.events(), received.events()) == (7, 5)
    submit(received, says("erp", "pricing", EUROS, version=5), says("erp", "pricing", EUROS, channel="web-de"))
    assert set(model.drift(received).values()) == {"changed"}


def test_withdraw(model: Model) -> None:
    """A withdrawn stream keeps its version and sets the page's time; a newer version replaces it."""
    submit(model, says("erp", "pricing", EUROS, version=4), says("wms-berlin", "inventory", {"available": 1}))
    received = model.copy()
    model.withdraw(PRICE, datetime(2026, 2, 1, tzinfo=UTC))
    assert model.page("TSHIRT-M", "web-de") == (
        b'{"sku":"TSHIRT-M","channel":"web-de","status":"live","ready":false,'
        b'"readiness":{"catalog":false,"pricing":false,"inventory":true,"media":false},'
        b'"sourceVersions":{"pricing/erp":4,"inventory/wms-berlin":1},"updatedAt":"2026-02-01T00:00:00.000000Z",'
        b'"catalog":null,"pricing":null,"inventory":'
        b'{"available":1,"locations":[{"available":1,"source":"wms-berlin"}],"status":"in_stock"},"media":null}'
    )
    assert model.drift(received) == {PRICE: "changed"}
    assert not received.drift(model, {"TSHIRT-M"}).keys() & {PRICE}
    assert model.events() == 2
    submit(model, says("erp", "pricing", EUROS, version=5))
    assert section(model, "pricing") == b'{"amount":"24.90","currency":"EUR"}'


def test_model_is_independent() -> None:
    """The model's modules import the standard library and two codecs, and nothing that they check."""
    own = {each.__name__: each for each in (model_module, reference_completeness, reference_texts)}
    imported: set[str] = set()
    for module in own.values():
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported - own.keys()} - sys.stdlib_module_names == {"msgspec", "orjson"}
