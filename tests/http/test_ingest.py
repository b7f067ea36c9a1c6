"""Every validation rule and naughty string, through HTTP: never a 5xx, and accepted values come back unchanged."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import Shop
from tests.support.command_line import event, ndjson, on_sqlite, product
from tests.support.http_clients import client_of, service_of
from tests.support.shared_data import data_file
from tests.support.small_shop import configured

EVENTS = "/v1/events"
NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def naughty() -> list[str]:
    """Strings that break software."""
    strings: list[str] = msgspec.json.decode(data_file("naughty", "blns.json").read_bytes())
    assert len(strings) > 500
    return strings


async def posted(client: httpx2.AsyncClient, events: Sequence[object]) -> list[Any]:
    """The outcome of each."""
    answer = await client.post(EVENTS, content=ndjson(events), headers=NDJSON)
    assert answer.status_code in (202, 207, 422), answer.text
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(events)
    return results


def text(**fields: object) -> bytes:
    """An event as text, with some parts written by hand: `payload='{"a":1,"a":2}'`."""
    whole = {name: json.dumps(value) for name, value in event().items()} | fields
    return ("{" + ",".join(f'"{name}":{value}' for name, value in whole.items()) + "}").encode("utf-8", "surrogatepass")


CATALOG = {"type": '"catalog"', "source": '"pim"'}
DEEP = '{"attributes":{"a":' + "[" * 64 + "]" * 64 + "}}"
RULES = {
    "invalid UTF-8": (text().replace(b'"A"', b'"\xff"'), ""),
    "NaN": (text(**CATALOG, payload='{"attributes":{"a":NaN}}'), ""),
    "a lone surrogate": (text(**CATALOG, payload='{"attributes":{"a":"\\ud800"}}'), ""),
    "U+0000": (text(**CATALOG, payload='{"attributes":{"a":"\\u0000"}}'), "payload"),
    "a key twice": (text(payload='{"currency":"EUR","amount":"1","amount":"2"}'), "payload"),
    "a key of the envelope twice": (text()[:-1] + b',"sku":"B"}', ""),
    "nesting": (text(**CATALOG, payload=DEEP), "payload"),
    "an integer beyond 2^53-1": (text(**CATALOG, payload='{"attributes":{"a":9007199254740993}}'), "payload"),
    "an unknown field": (text(colour='"red"'), "colour"),
    "an unknown field of the payload": (text(payload='{"currency":"EUR","amount":"1","x":1}'), "payload.x"),
    "an unknown type": (text(type='"weather"'), "type"),
    "an unknown source": (text(source='"nobody"'), "source"),
    "a domain that the source was not given": (text(source='"pim"'), "source"),
    "an unknown channel": (text(channel='"moon"'), "channel"),
    "money as a float": (text(payload='{"currency":"EUR","amount":1.5}'), "payload.amount"),
    "another currency": (text(channel='"web-de"', payload='{"currency":"USD","amount":"1"}'), "payload.currency"),
    "a version below 0": (text(sourceVersion="-1"), "sourceVersion"),
    "a version that is no integer": (text(sourceVersion="1.5"), "sourceVersion"),
    "an empty SKU": (text(sku='""'), "sku"),
    "a long SKU": (text(sku=json.dumps("x" * 129)), "sku"),
    "a control character in the SKU": (text(sku='"a\\u0007"'), "sku"),
    "space around the SKU": (text(sku='" a"'), "sku"),
    "a moment without its offset": (text(occurredAt='"2026-01-01T00:00:00"'), "occurredAt"),
}


@pytest.mark.parametrize("rule", RULES)
async def test_every_rule_of_validation(shop: Shop, rule: str) -> None:
    """An invalid event is rejected with its path, alone and beside others, which are accepted."""
    line, path = RULES[rule]
    async with client_of(service_of(shop)) as client:
        alone = await client.post(EVENTS, content=line, headers=NDJSON)
        assert alone.status_code == 422, alone.text
        results = await posted(client, [event(), line, product()])
    assert [each["outcome"] for each in results] == ["appended", "rejected", "appended"]
    assert results[1].get("path", "").startswith(path)
    assert results[1]["reason"]


async def test_an_sku_is_in_nfc(shop: Shop) -> None:
    """Whatever its normal form, it is one SKU."""
    async with client_of(service_of(shop)) as client:
        results = await posted(client, [event("Gro\u0308ße"), event("Größe")])
    assert [each["outcome"] for each in results] == ["appended", "duplicate"]


async def test_naughty_strings_come_back(shop: Shop, naughty: list[str]) -> None:
    """As SKU, attribute and text, each is rejected, or its page has the same bytes."""
    events = []
    for number, each in enumerate(naughty):
        payload = {"attributes": {"plain": each, "nested": {each: [each]}}, "localized": {"name": {"de": each}}}
        events.append(event(each, type="catalog", source="pim", payload=payload))
        events.append(event(f"S{number}", type="catalog", source="pim", payload=payload))
    async with client_of(service_of(shop, reads_open=True)) as client:
        results = await posted(client, events)
        await shop.catch_up()
        taken = {
            str(each["sku"]): naughty[number // 2]
            for number, (each, result) in enumerate(zip(events, results, strict=True))
            if result["outcome"] == "appended"
        }
        assert len(taken) > len(naughty) + 300
        for sku, value in taken.items():
            page = await client.get(f"/v1/pages/web-de/{quote(sku, safe='').replace('.', '%2E')}")
            assert page.content == await shop.pages.get_json(sku, "web-de")
            attributes = page.json()["catalog"]["attributes"]
            text = {"name": value} if value.strip() else {}  # a blank value is no value
            assert attributes == {"plain": value, "nested": {value: [value]}} | text


async def test_naughty_strings_as_parts_and_bodies(shop: Shop, naughty: list[str]) -> None:
    """Each as a type, a source, a channel, a header, a path or the whole body: refused, and never a 5xx."""
    async with client_of(service_of(shop)) as client:
        for part in ("type", "source", "channel", "occurredAt", "id", "payload"):
            await posted(client, [event(f"{part} {number}") | {part: each} for number, each in enumerate(naughty)])
        for each in naughty:
            place = quote(each, safe="").replace(".", "%2E")
            for url in (EVENTS, f"/v1/cdc/{place}", f"/v1/webhooks/{place}"):
                answer = await client.post(url, content=each.encode(), headers=JSON)
                assert 400 <= answer.status_code < 500


@on_sqlite
@given(body=st.binary(max_size=60), kind=st.sampled_from(["json", "x-ndjson", "cloudevents+json", "x"]))
async def test_any_bytes_are_answered(store_url: str, body: bytes, kind: str) -> None:
    """Any bytes as any media type, also as an array or a CloudEvent."""
    async with pagefold.open(configured(store_url)) as shop, client_of(service_of(shop)) as client:
        for content in (body, b"[" + body + b"]"):
            for more in ({}, {"ce-specversion": "1.0", "ce-source": body.hex()}):
                headers = {"content-type": f"application/{kind}"} | more
                answer = await client.post(EVENTS, content=content, headers=headers)
                assert answer.status_code in (202, 207, 400, 415, 422)
