"""The demo's sample shop, and the faults of its deliveries."""

import itertools
import random
import tomllib
from collections import Counter

import pytest

from pagefold.engine.demo.faults import BROKEN, NEAR, Faults, inject_faults
from pagefold.engine.demo.reference_model import Model, stream_of
from pagefold.engine.demo.sample_shop import WAREHOUSES, Shop
from tests.demo.test_reference_model import ROUGH, submit

# --- the shop -----------------------------------------------------------------------------------------------------


def test_shop_has_what_it_promises() -> None:
    """2,000 SKUs, four channels in three locales and two currencies, two warehouses, and every kind of event."""
    shop = Shop()
    config = tomllib.loads(shop.config('sqlite:///a "quoted" folder'))
    assert config["store"]["url"] == 'sqlite:///a "quoted" folder'
    channels = config["channels"].values()
    assert len(channels) == 4
    assert {channel["locale"] for channel in channels} == {"de-DE", "fr-FR", "en-US"}
    assert {channel["currency"] for channel in channels} == {"EUR", "USD"}
    said = list(itertools.chain(shop.catalog(), shop.changes(5_000)))
    assert len({product.sku for product in shop.products}) == 2_000
    assert {event["source"] for event in said} == set(config["sources"]) > set(WAREHOUSES)
    fields = {field for event in said if event["payload"] for field in event["payload"]}
    assert fields >= {"parent", "enabled", "tiers", "scheduled", "customerGroups", "restockAt", "assets"}


def test_shop_counts_versions() -> None:
    """The catalog has version 1 of its streams; during the day, versions of each stream increase by one."""
    shop = Shop(skus=50)
    catalog = list(shop.catalog())
    assert {event["sourceVersion"] for event in catalog} == {1}
    assert len({stream_of(event) for event in catalog}) == len(catalog)
    versions: Counter[tuple[str, ...]] = Counter()
    for event in shop.changes(3_000):
        versions[stream_of(event)] += 1
        assert event["sourceVersion"] == versions[stream_of(event)] + 1


def test_shop_is_its_seed() -> None:
    """The same seed gives the same shop at every call, another seed another one."""
    shop = Shop(seed=1, skus=100)
    assert list(shop.catalog()) == list(shop.catalog()) == list(Shop(seed=1, skus=100).catalog())
    assert list(shop.changes(500)) == list(shop.changes(500)) == list(Shop(seed=1, skus=100).changes(500))
    assert list(shop.changes(500)) != list(Shop(seed=2, skus=100).changes(500))


def test_some_products_are_hot() -> None:
    """The most wanted product changes about twice as often as the next, and a thousand times as often as most."""
    changed = Counter(event["sku"] for event in Shop().changes(20_000) if event["source"] != "dam")
    (_, most), (_, second), *_ = changed.most_common()
    assert 1.6 < most / second < 2.4
    assert most > 2_000


def test_whole_shop_is_ready() -> None:
    """The catalog makes every page of every channel ready; with requirements, those that lack something are not."""
    shop = Shop(skus=200)
    ready = {}
    for requirements in (False, True):
        model = Model(tomllib.loads(shop.config("sqlite:///shop", requirements=requirements)))
        submit(model, *shop.catalog())
        pages = {key: model.page(*key) or b"" for key in model.pages()}
        assert len(pages) == 800
        ready[requirements] = Counter(key[1] for key, page in pages.items() if b'"status":"live","ready":true' in page)
    assert set(ready[False].values()) == {200}
    assert [channel for channel, number in ready[True].items() if number < 200] == ["marketplace-de", "web-fr"]


# --- the faults ---------------------------------------------------------------------------------------------------


def test_every_fault_is_delivered() -> None:
    """Each fault has its share, and every kind of broken line occurs."""
    count = 10_000
    delivered = list(inject_faults(Shop(skus=20).changes(count), ROUGH))
    faults = Counter(arrival.fault for arrival in delivered)
    for fault, share in ROUGH.shares().items():
        if fault is not None:
            assert faults[fault] / count == pytest.approx(share, abs=0.01)
    assert {arrival.kind for arrival in delivered} == {None, *BROKEN}


def test_fates_of_deliveries() -> None:
    """Expected outcomes equal the model's in the order of arrival; no event is lost."""
    shop = Shop(skus=100)
    model = Model(tomllib.loads(shop.config("sqlite:///shop")))
    for arrival in inject_faults(shop.changes(5_000), ROUGH):
        assert (arrival.event is None) == (arrival.fault == "broken") == (arrival.expected == "rejected")
        if arrival.event is not None:
            assert model.submit(arrival.event) == arrival.expected
    assert model.events() == 5_000


def test_delivery_is_its_seed() -> None:
    """The same seed delivers the same lines."""
    shop = Shop(skus=50)
    assert list(inject_faults(shop.changes(500), ROUGH, seed=3)) == list(
        inject_faults(shop.changes(500), ROUGH, seed=3)
    )
    assert list(inject_faults(shop.changes(500), ROUGH, seed=3)) != list(
        inject_faults(shop.changes(500), ROUGH, seed=4)
    )


def test_delivery_streams() -> None:
    """Endless events can be used: lines are yielded before many later events are read."""
    asked = itertools.count()
    events = (event for event in Shop(skus=50).changes(100_000) if next(asked) >= 0)
    assert len(list(itertools.islice(inject_faults(events, Faults()), 200))) == 200
    assert next(asked) < 200 + 2 * NEAR


def test_any_order_gives_the_same_pages() -> None:
    """With one content per version, pages do not depend on the order of arrival or on copies."""
    shop = Shop(skus=40)
    config = tomllib.loads(shop.config("sqlite:///shop"))
    said = itertools.chain(shop.catalog(), shop.changes(2_000))
    events = [it.event for it in inject_faults(said, ROUGH) if it.event is not None and it.fault != "conflicting"]
    pages = []
    for rng in (None, random.Random(1), random.Random(2)):
        if rng is not None:
            rng.shuffle(events)
        model = Model(config)
        for event in events:
            model.submit(event)
        pages.append({page: model.page(*page, disabled=True) for page in model.pages()})
    assert pages[0] == pages[1] == pages[2]
    assert len(pages[0]) == 160


@pytest.mark.parametrize("shares", [{"late": -0.1}, {"late": 0.6, "broken": 0.6}], ids=["below zero", "above one"])
def test_shares_are_shares(shares: dict[str, float]) -> None:
    """Shares below zero, or above one in total, are rejected."""
    with pytest.raises(ValueError, match="at most 1"):
        Faults(**shares)
