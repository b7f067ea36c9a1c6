"""Each domain's payload, rules and section, and the contract of every domain."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagefold.domains import DOMAINS, ChannelContext, Contribution, InvalidPayload
from pagefold.engine.demo.reference_model import canonical, encoded
from tests.support.small_shop import Document
from tests.support.strategies import SPEAKERS, defaults_of, payloads, prices

AUSTRIA = ChannelContext(("de-AT", "de", "en"), "EUR")
BY_NAME = {domain.name: domain for domain in DOMAINS}
NAMES = sorted(BY_NAME)
CANONICAL = msgspec.json.Encoder(order="sorted")


def content(domain: str, payload: Mapping[str, Any]) -> bytes:
    """The canonical content of a payload, as the validator makes it."""
    decoded = msgspec.json.decode(json.dumps(payload), type=BY_NAME[domain].payload)
    return CANONICAL.encode(BY_NAME[domain].validate(decoded))


def section(domain: str, *payloads: Mapping[str, Any], view: ChannelContext = AUSTRIA) -> Any:  # noqa: ANN401  # JSON
    """The section of the sources a, b, …; None if it is disabled."""
    body = folded(domain, payloads, view)
    return None if body is None else orjson.loads(body[0])


def folded(
    domain: str, payloads: Sequence[Mapping[str, Any]], view: ChannelContext = AUSTRIA
) -> tuple[bytes, bool] | None:
    """The section's bytes, and whether it is ready."""
    contributions = [
        Contribution(source, msgspec.json.decode(content(domain, payload), type=BY_NAME[domain].payload))
        for source, payload in zip("abcdef", payloads, strict=False)
    ]
    body = BY_NAME[domain].fold(contributions, view, None)
    return None if body is None else (body.json, body.ready)


# --- the contract of a domain -----------------------------------------------------------------------


@pytest.mark.parametrize("domain", NAMES)
@given(st.data())
@settings(max_examples=40)
def test_content_is_canonical(domain: str, data: st.DataObject) -> None:
    """One payload has one content: whatever the order of its keys, with defaults and nulls or without."""
    drawn = data.draw(payloads(domain, "*").filter(lambda payload: payload is not None))
    assert drawn is not None
    plain = content(domain, drawn)
    shuffled = dict(data.draw(st.permutations([*{**defaults_of(domain), **drawn}.items()])))
    assert content(domain, shuffled) == plain
    assert content(domain, json.loads(plain)) == plain
    assert json.loads(plain) == json.loads(encoded(canonical(drawn)))


@pytest.mark.parametrize("domain", NAMES)
@given(st.data())
@settings(max_examples=40)
def test_a_section_is_canonical_and_repeatable(domain: str, data: st.DataObject) -> None:
    """A section is compact JSON with sorted keys, the same whenever it is folded, and changes no contribution."""
    stated = payloads(domain, "*").filter(lambda payload: payload is not None)
    drawn = data.draw(st.lists(stated, min_size=1, max_size=3))
    kept = orjson.dumps(drawn)
    first = folded(domain, [payload for payload in drawn if payload is not None])
    assert folded(domain, [payload for payload in drawn if payload is not None]) == first
    assert orjson.dumps(drawn) == kept
    if first is not None:
        assert msgspec.json.encode(orjson.loads(first[0]), order="sorted") == first[0]


@pytest.mark.parametrize("domain", NAMES)
@given(st.data())
@settings(max_examples=25)
def test_channels_that_agree_share_a_section(domain: str, data: st.DataObject) -> None:
    """`varies_by` has everything of the channel that the section depends on."""
    drawn = data.draw(payloads(domain, "*").filter(lambda payload: payload is not None))
    assert drawn is not None
    views = [
        ChannelContext(("de", "en"), "EUR"),
        ChannelContext(("de", "en"), "USD"),
        ChannelContext(("en",), "EUR"),
        ChannelContext(("de", "en"), "EUR"),
    ]
    results: dict[object, object] = {}
    for view in views:
        if BY_NAME[domain].channel_mismatch is None:
            key = BY_NAME[domain].varies_by(view)
            assert results.setdefault(key, folded(domain, [drawn], view)) == folded(domain, [drawn], view)


def test_there_are_four_domains_in_the_order_of_a_page() -> None:
    """The order is that of the design, and exactly one gives identity."""
    assert [domain.name for domain in DOMAINS] == ["catalog", "pricing", "inventory", "media"]
    assert [domain.name for domain in DOMAINS if domain.gives_identity] == ["catalog"]
    assert set(BY_NAME) == set(SPEAKERS)


# --- catalog ----------------------------------------------------------------------------------------------


def test_catalog_takes_each_attribute_from_the_first_source_that_has_it() -> None:
    """A source with an explicit null has it; a text without any locale is absent, and the next source counts."""
    first = {"attributes": {"size": "M", "colour": None}, "localized": {"name": {"fr": "Chemise"}}, "family": None}
    second = {
        "attributes": {"size": "L", "colour": "red", "weight": 0.5},
        "localized": {"name": {"en": "Shirt", "de": "Hemd"}},
        "family": "shirts",
        "parent": "P",
        "categories": ["b"],
    }
    assert section("catalog", first, second) == {
        "attributes": {"size": "M", "colour": None, "weight": 0.5, "name": "Hemd"},
        "categories": ["b"],
        "family": "shirts",
        "parent": "P",
    }


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ({"de-AT": "Leiberl", "de": "T-Shirt", "en": "T-shirt"}, "Leiberl"),
        ({"de": "T-Shirt", "en": "T-shirt"}, "T-Shirt"),
        ({"de-DE": "T-Shirt", "en": "T-shirt"}, "T-shirt"),
        ({"de": "", "en": "T-shirt"}, "T-shirt"),
        ({"de-AT": None, "de": " \n\u00a0", "en": "T-shirt"}, "T-shirt"),
        ({"DE": "T-Shirt"}, "T-Shirt"),
        ({"de_at": "Leiberl", "de": "T-Shirt"}, "Leiberl"),
        ({"de": None, "en": ""}, "plain"),
        ({}, "plain"),
    ],
)
def test_catalog_resolves_texts(texts: dict[str, str | None], name: str) -> None:
    """The first text of the chain that is not blank replaces a plain attribute; without any, the attribute stays."""
    stated = {"attributes": {"name": "plain"}, "localized": {"name": texts}}
    assert section("catalog", stated)["attributes"] == {"name": name}


def test_catalog_is_disabled_by_any_source() -> None:
    """One source that disables is enough, whatever its rank."""
    assert section("catalog", {}, {"enabled": False}, {}) is None
    assert section("catalog", {}) == {"attributes": {}, "categories": [], "family": None, "parent": None}


# --- pricing ----------------------------------------------------------------------------------------------


def test_pricing_is_the_first_sources_payload() -> None:
    """Amounts have the digits of their currency, defaults are left out, timestamps are in UTC."""
    first = {
        "currency": "EUR",
        "amount": "149.90",
        "compareAt": None,
        "taxIncluded": False,
        "tiers": [{"minQuantity": 10, "amount": "0149.900000"}],
        "customerGroups": {"b2b": "1"},
        "scheduled": [{"amount": "9", "from": "2026-01-01T00:00:00+01:00", "until": None}],
    }
    expected = (
        b'{"amount":"149.90","currency":"EUR","customerGroups":{"b2b":"1.00"},'
        b'"scheduled":[{"amount":"9.00","from":"2025-12-31T23:00:00Z"}],"taxIncluded":false,'
        b'"tiers":[{"amount":"149.90","minQuantity":10}]}'
    )
    assert folded("pricing", [first, {"currency": "EUR", "amount": "1"}]) == (expected, True)


@given(prices(None))
@settings(max_examples=30)
def test_pricing_fits_the_channels_of_its_currency(price: Document) -> None:
    """A price fits a channel if and only if the currencies are equal, and the reason names both."""
    decoded = msgspec.json.decode(json.dumps(price), type=BY_NAME["pricing"].payload)
    assert BY_NAME["pricing"].channel_mismatch is not None
    mismatch = BY_NAME["pricing"].channel_mismatch(decoded, AUSTRIA)
    assert (mismatch is None) == (price["currency"] == "EUR")
    assert mismatch is None or (price["currency"] in mismatch.reason and "EUR" in mismatch.reason)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"amount": "1,50"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": ".5"}, "amount"),
        ({"amount": "1."}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": " 1"}, "amount"),
        ({"amount": "1\n"}, "amount"),
        ({"amount": "1\n2"}, "amount"),
        ({"compareAt": "1\n2"}, "compareAt"),
        ({"amount": "\u0661"}, "amount"),
        ({"amount": "1" * 16}, "amount"),
        ({"amount": "1.1234567"}, "amount"),
        ({"amount": ""}, "amount"),
        ({"compareAt": "x"}, "compareAt"),
        ({"currency": "Eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"tiers": [{"minQuantity": 1, "amount": "1"}, {"minQuantity": 2, "amount": "x"}]}, "tiers[1].amount"),
        ({"customerGroups": {"b2b": "x"}}, "customerGroups.b2b"),
        ({"scheduled": [{"amount": "x"}]}, "scheduled[0].amount"),
        (
            {"scheduled": [{"amount": "1", "from": "2026-01-01T01:00:00+01:00", "until": "2026-01-01T00:00:00Z"}]},
            "scheduled[0].until",
        ),
        ({"scheduled": [{"amount": "1", "from": "0001-01-01T00:00:00+01:00"}]}, "scheduled[0].from"),
    ],
)
def test_invalid_prices_are_rejected(changes: Document, path: str) -> None:
    """Each rule that a type cannot express names the field that breaks it."""
    with pytest.raises(InvalidPayload) as caught:
        content("pricing", {"currency": "EUR", "amount": "1"} | changes)
    assert caught.value.path == path


# --- inventory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "available", "status"),
    [
        ([{"available": 5}], [5], "in_stock"),
        ([{"available": 5, "safetyStock": 2}, {"available": 1, "safetyStock": 3}], [3, 0], "in_stock"),
        ([{"available": -4}, {"available": 4}], [0, 4], "in_stock"),
        ([{"available": 2, "safetyStock": 2}], [0], "out_of_stock"),
        ([{"available": 0}, {"available": 0, "backorderable": True}], [0, 0], "backorder"),
        ([{"available": 2**53 - 1}, {"available": 2**53 - 1}], [2**53 - 1] * 2, "in_stock"),
        ([{"available": None}], [None], "in_stock"),
        ([{"available": None, "safetyStock": 9}, {"available": 3}], [None, 3], "in_stock"),
        ([{"available": 0, "backorderable": True}, {"available": None}], [0, None], "in_stock"),
    ],
)
def test_inventory_is_the_sum_of_available_stock(
    payloads: list[Document], available: list[int | None], status: str
) -> None:
    """The sum of each location's stock above its safety stock; a shortage in one does not reduce the others.

    If one location does not count its stock there is no sum, and the item can be sold.
    """
    counted = [each for each in available if each is not None]
    assert section("inventory", *payloads) == {
        "available": sum(counted) if counted == available else None,
        "locations": [{"available": each, "source": source} for source, each in zip("ab", available, strict=False)],
        "status": status,
    }


def test_inventory_has_the_earliest_restocking() -> None:
    """The earliest timestamp at which any location is restocked, in UTC."""
    early, late = "2026-02-01T00:30:00+01:00", "2026-02-01T00:00:00Z"
    body = section(
        "inventory", {"available": 0, "restockAt": late}, {"available": 0}, {"available": 0, "restockAt": early}
    )
    assert body["restockAt"] == "2026-01-31T23:30:00Z"


def test_inventory_has_the_restocking_of_each_location() -> None:
    """The earliest date may be past, so each location has its own."""
    over, ahead = "2025-12-01T00:00:00Z", "2030-12-20T01:00:00+01:00"
    body = section(
        "inventory",
        {"available": 0, "restockAt": over},
        {"available": 4},
        {"available": 0, "safetyStock": 1, "restockAt": ahead},
    )
    assert body["locations"] == [
        {"available": 0, "restockAt": over, "source": "a"},
        {"available": 4, "source": "b"},
        {"available": 0, "restockAt": "2030-12-20T00:00:00Z", "source": "c"},
    ]


# --- media ------------------------------------------------------------------------------------------------


def test_media_are_one_list_in_one_order() -> None:
    """Assets by position, then by the rank of their source, then in its order; texts for the locale."""
    first = [{"url": "b", "position": 1, "alt": {"fr": "non"}}, {"url": "z", "role": "main", "width": 0}]
    second = [
        {"url": "b", "position": 1, "alt": {"de": "ja"}},
        {"url": "a", "position": 1},
        {"url": "c", "position": -1},
    ]
    assert section("media", {"assets": first}, {"assets": second})["assets"] == [
        {"position": -1, "url": "c"},
        {"position": 0, "role": "main", "url": "z", "width": 0},
        {"position": 1, "url": "b"},
        {"alt": "ja", "position": 1, "url": "b"},
        {"position": 1, "url": "a"},
    ]


def test_media_are_ready_with_an_asset() -> None:
    """No assets are a section that is not ready."""
    assert folded("media", [{}, {"assets": []}]) == (b'{"assets":[]}', False)
    assert folded("media", [{}, {"assets": [{"url": "x"}]}]) == (b'{"assets":[{"position":0,"url":"x"}]}', True)
