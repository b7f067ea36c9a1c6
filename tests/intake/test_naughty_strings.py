"""Accepted values are stored, folded and served unchanged: naughty strings, and whatever Hypothesis draws."""

import json
import re
import tempfile
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Rejected, Shop, parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.projections import normalise_sku
from tests.support.shared_data import data_file
from tests.support.small_shop import (
    MOMENT,
    a_model,
    as_document,
    as_line,
    configured,
    document,
    event,
    pages_in,
    pages_of,
    section,
)
from tests.support.strategies import events, json_values, key_of, texts

VALIDATOR = EventValidator(Config.parse(document()))


def is_valid(sku: str) -> bool:
    """Whether the validator accepts an SKU."""
    try:
        VALIDATOR.encode(event("catalog", {}, sku=sku), MOMENT, "made")
    except Rejected as error:
        assert error.path == "sku"  # noqa: PT017  # both outcomes are fine
        return False
    return True


@pytest.fixture
def naughty() -> list[str]:
    """Strings that break software."""
    strings: list[str] = msgspec.json.decode(data_file("naughty", "blns.json").read_bytes())
    assert len(strings) > 500
    return strings


async def read_and_append(shop: Shop, lines: Sequence[bytes]) -> list[pagefold.AppendResult]:
    """The outcome of the lines of a file."""
    return await shop.append([parse_event(line) for line in lines])


async def test_naughty_skus(shop: Shop, naughty: list[str]) -> None:
    """Each as an SKU is rejected with a reason, or has its own page and history, and comes back unchanged, in NFC."""
    events = [event("catalog", {"family": sku}, sku=sku) for sku in naughty]
    results = await read_and_append(shop, [as_line(each) for each in events])
    assert [result.outcome == "rejected" for result in results] == [not is_valid(sku) for sku in naughty]
    admitted = {normalise_sku(sku): sku for sku in naughty if is_valid(sku)}
    assert len(admitted) > 400
    await shop.catch_up()
    for sku, given_sku in admitted.items():
        page = await shop.pages.get(given_sku, "web-de")
        assert page is not None
        assert page.sku == sku
        entries = [entry async for entry in shop.history(given_sku)]
        assert [entry.head for entry in entries] == [True]
        assert normalise_sku(str(page["catalog"]["family"])) == sku


@pytest.mark.parametrize("by_line", [True, False])
async def test_naughty_values(shop: Shop, naughty: list[str], *, by_line: bool) -> None:
    """Each as a code, an attribute, a text, a category, a role and a URL is served unchanged."""
    codes = {f"{number} {text}": [text, {text: text}] for number, text in enumerate(naughty)}
    plain = dict.fromkeys(naughty, "code")
    whole = [event("catalog", {"attributes": plain | codes, "categories": naughty, "family": "all"}, sku="ALL")]
    single = [
        event("catalog", {"localized": {"text": {"de": text, "en": "x"}}, "family": text}, sku=f"S{number}")
        for number, text in enumerate(naughty)
    ]
    assets = [{"url": text or "x", "role": text, "alt": {"de": text}} for text in naughty]
    media = [event("media", {"assets": assets}, sku="ALL")]
    events = [*whole, *media, *single]
    given_events = [parse_event(as_line(each)) for each in events] if by_line else events
    assert {result.outcome for result in await shop.append(given_events)} == {"appended"}
    await shop.catch_up()
    assert await section(shop, "catalog", sku="ALL") == {
        "attributes": plain | codes,
        "categories": naughty,
        "family": "all",
        "parent": None,
    }
    for number, text in enumerate(naughty):
        body = await section(shop, "catalog", sku=f"S{number}")
        assert (body["attributes"]["text"], body["family"]) == (text if text.strip() else "x", text)
    served = (await section(shop, "media", sku="ALL"))["assets"]
    assert [(asset["url"], asset["role"], asset.get("alt")) for asset in served] == [
        (text or "x", text, text if text.strip() else None) for text in naughty
    ]


def test_naughty_strings_in_place_of_names(naughty: list[str]) -> None:
    """Each as a type, source, channel, currency or amount is rejected with its path; a few are amounts."""
    price = event("pricing", {"currency": "EUR", "amount": "1"})
    for text in naughty:
        for field in ("type", "source", "channel"):
            with pytest.raises(Rejected) as caught:
                VALIDATOR.encode(msgspec.structs.replace(price, **{field: text}), MOMENT, "made")
            assert caught.value.path == field
        for name in ("currency", "amount"):
            payload = {"currency": "EUR", "amount": "1", name: text}
            try:
                VALIDATOR.encode(event("pricing", payload), MOMENT, "made")
            except Rejected as error:
                assert error.path == f"payload.{name}"  # noqa: PT017  # a few of them are amounts
            else:
                assert re.fullmatch(r"[A-Z]{3}" if name == "currency" else r"[0-9]+(\.[0-9]+)?", text)


# --- any valid payload --------------------------------------------------------------------------------


async def comes_back(config: Config, value: Any, code: str, drawn: Sequence[DomainEvent]) -> None:  # noqa: ANN401  # JSON
    """A value and other events, accepted, stored, folded and served: unchanged, in pages equal to the model's."""
    skus = {each.sku for each in drawn}
    payload = {"attributes": {code: value}}
    events = [event("catalog", payload, sku=sku, channel="web-us", source="pim2", version=9) for sku in skus]
    async with pagefold.open(config) as shop:
        results = await read_and_append(shop, [as_line(each) for each in [*drawn, *events]])
        assert {result.outcome for result in results} == {"appended"}
        await shop.catch_up()
        assert await shop.dead_letters.newest() == []
        model = a_model(config)
        for each in [*drawn, *events]:
            model.submit(as_document(each))
        assert await pages_of(shop) == pages_in(model)
        for sku in skus:
            page = await shop.pages.get_json(sku, "web-us")
            if page is not None:
                served = json.loads(page)["catalog"]["attributes"][code]
                assert repr(served) == repr(json.loads(json.dumps(value, sort_keys=True)))


skus = texts(20).filter(is_valid)
some_events = st.lists(skus.flatmap(lambda sku: events((sku,))), min_size=1, max_size=4, unique_by=key_of)
normal_events = some_events.filter(lambda drawn: all(each.sku == normalise_sku(each.sku) for each in drawn))


@given(json_values, texts(8), normal_events)
@settings(max_examples=40)
async def test_accepted_values_come_back(value: object, code: str, drawn: list[DomainEvent]) -> None:
    """Any JSON value, also floats and nested ones, under any code and SKU (SQLite)."""
    with tempfile.TemporaryDirectory() as folder:
        await comes_back(configured(f"sqlite:///{folder}/shop"), value, code, drawn)


@given(json_values, texts(8), normal_events)
@settings(max_examples=12)
async def test_accepted_values_come_back_on_postgres(
    postgres_url: str, value: object, code: str, drawn: list[DomainEvent]
) -> None:
    """The same on PostgreSQL, with fewer examples."""
    store = {"url": postgres_url, "schema": f"shop_{uuid4().hex}"}
    await comes_back(configured(postgres_url, store=store), value, code, drawn)


def test_an_escape_hides_no_repeated_key() -> None:
    """An escaped colon does not make up for one that belonged to a repeated key."""
    payload = b'{"attributes":{"a":1,"a":2,"b":"\\u003a"}}'
    with pytest.raises(Rejected, match="'a' is repeated"):
        VALIDATOR.validate(event("catalog", payload))
