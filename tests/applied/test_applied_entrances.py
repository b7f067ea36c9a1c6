"""What comes in is validated under the configuration that counts, whatever the file of a process says."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from tests.support.http_clients import client_of, service_of
from tests.support.processes import eventually
from tests.support.small_shop import (
    SOURCES,
    apply_file,
    as_document,
    configured,
    document,
    event,
    pages_of,
    price,
    say,
    section,
)

MANY = 12
"""Events that are validated together."""


def changed(config: Config) -> Config:
    """Another file: prices come from sap instead of erp, and there is a channel in Switzerland."""
    sources = {name: {"domains": domains} for name, domains in SOURCES.items() if name != "erp"}
    channels = {**document()["channels"], "web-ch": {"locale": "de-CH", "currency": "CHF"}}
    return configured(config.store.url, sources={**sources, "sap": {"domains": ["pricing"]}}, channels=channels)


def never(config: Config) -> Config:
    """The same, applied by people only."""
    return msgspec.structs.replace(config, apply="never")


def swiss(number: int) -> list[DomainEvent]:
    """Prices of the new source in the new channel."""
    payload = {"currency": "CHF", "amount": "25.00"}
    return [event("pricing", payload, sku=f"S-{each}", channel="web-ch", source="sap") for each in range(number)]


@pytest.fixture
async def shop(config: Config) -> AsyncIterator[Shop]:
    """A shop of the first file, with a product."""
    async with pagefold.open(never(config)) as opened:
        await say(opened, price("10.00"))
        yield opened


async def outcomes(shop: Shop, events: Sequence[DomainEvent]) -> set[tuple[str, str]]:
    """What becomes of events, and why."""
    return {(each.outcome, each.reason or "") for each in await shop.append(events)}


async def test_a_running_process_takes_what_others_apply(shop: Shop, config: Config) -> None:
    """Sources and channels that its file does not have are accepted, and those that count no longer are not."""
    [(outcome, reason)] = await outcomes(shop, swiss(1))
    assert (outcome, "unknown source 'sap'; the configuration does not have it" in reason) == ("rejected", True)
    async with pagefold.open(changed(config)) as other, shop.working():
        await apply_file(other)

        async def is_known() -> bool:
            return (await outcomes(shop, swiss(1))) <= {("appended", ""), ("duplicate", "")}

        await eventually(is_known, "the source is known")
    assert await outcomes(shop, swiss(MANY)[1:]) == {("appended", "")}
    for number in (1, MANY):
        rejected = [price("11.00", version=2, sku=f"E-{each}") for each in range(number)]
        [(outcome, reason)] = await outcomes(shop, rejected)
        assert (outcome, "unknown source 'erp'" in reason, "not applied yet" in reason) == ("rejected", True, True)
    await shop.catch_up()
    assert (await section(shop, "pricing", "web-ch", "S-0"))["amount"] == "25.00"


async def test_what_only_the_file_has_waits_until_it_is_applied(shop: Shop, config: Config) -> None:
    """A held file's sources and channels are rejected, which says so; at one go and one by one."""
    pages = await pages_of(shop)
    async with pagefold.open(never(changed(config))) as held:
        for number in (1, MANY):
            [(outcome, reason)] = await outcomes(held, swiss(number))
            assert (outcome, reason) == (
                "rejected",
                "unknown source 'sap'; it is in the file, whose configuration is not applied yet: `pagefold plan`",
            )
        [(_, reason)] = await outcomes(held, [price("1.00", currency="CHF", channel="web-ch", version=3)])
        assert "unknown channel 'web-ch'; it is in the file" in reason
        assert await outcomes(held, [price("11.00", version=2)]) == {("appended", "")}
        assert set(await pages_of(held)) == set(pages)
        await apply_file(held)
        assert await outcomes(held, swiss(MANY)) == {("appended", "")}


async def test_http_takes_what_is_applied(shop: Shop, config: Config) -> None:
    """Events and CloudEvents of a source that only the applied configuration has; no request reads it."""
    async with client_of(service_of(shop)) as client, pagefold.open(changed(config)) as other:
        [first, second] = swiss(2)
        assert (await client.post("/v1/events", json=as_document(first))).status_code == 422
        await apply_file(other)
        await shop.refresh()
        assert (await client.post("/v1/events", json=as_document(first))).status_code == 202
        sent = {
            "specversion": "1.0",
            "id": "1",
            "source": "https://shop.example/sap",
            "type": "com.example.pricing",
            "subject": second.sku,
            "time": "2026-01-03T09:00:00Z",
            "sequence": "1",
            "channel": "web-ch",
            "data": second.payload,
        }
        headers = {"content-type": "application/cloudevents+json"}
        answer = await client.post("/v1/events", content=msgspec.json.encode(sent), headers=headers)
        assert (answer.status_code, answer.json()["results"][0]["outcome"]) == (202, "appended")
