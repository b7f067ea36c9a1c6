"""Rows that were deleted and inserted again, in Debezium's messages; on both stores."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from pagefold import Config, Shop
from pagefold.projections.epochs import MAX_NAMED_EPOCH, epoch_of, version_of
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document, section

CDC = "/v1/cdc/erp"
STREAM = "A/*/inventory/erp"
DAY = 86_400_000
"""Milliseconds."""


@pytest.fixture(params=["row", "changed_at"])
def config(store_url: str, request: pytest.FixtureRequest) -> Config:
    """A shop with a table of stock, whose rows get their version from the database, or from a column."""
    parsed = document(store_url)
    contract: Document = {"sku": "item", "sourceVersion": "row_version", "inventory": {"available": "on_hand"}}
    if request.param == "changed_at":
        contract["occurredAt"] = "changed_at"
    parsed["sources"]["erp"] = {"domains": ["inventory"], "cdc": {"contract": contract}}
    return Config.parse(parsed, store=store_url)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """Debezium, with the token of the source erp."""
    async with client_of(service_of(shop, None), "erp") as opened:
        yield opened


def row(version: int, on_hand: int, sku: str = "A") -> Document:
    """A row of the table."""
    return {"item": sku, "row_version": version, "on_hand": on_hand, "changed_at": f"2026-01-01T00:00:{on_hand:02}Z"}


def change(op: str, day: int, before: Document | None = None, after: Document | None = None) -> Document:
    """A message of Debezium, of one day."""
    origin = {"schema": "public", "table": "stock", "lsn": day + 1, "ts_ms": day * DAY}
    return {"op": op, "before": before, "after": after, "source": origin}


def created(day: int, version: int, on_hand: int, sku: str = "A") -> Document:
    """A row is inserted."""
    return change("c", day, None, row(version, on_hand, sku))


def updated(day: int, version: int, on_hand: int) -> Document:
    """A row is updated."""
    return change("u", day, row(version - 1, 0), row(version, on_hand))


def removed(day: int, version: int, on_hand: int) -> Document:
    """A row is deleted."""
    return change("d", day, row(version, on_hand), None)


async def post(client: httpx2.AsyncClient, *messages: Document) -> list[str]:
    """The outcomes of one request."""
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    answer = await client.post(CDC, content=lines, headers={"content-type": "application/x-ndjson"})
    return [each["outcome"] for each in answer.json()["results"]]


async def head(shop: Shop) -> tuple[int, int]:
    """Epoch and version of the row's newest event."""
    version = (await shop.store.log.newest_versions([STREAM]))[STREAM]
    return epoch_of(version), version_of(version)


async def available(shop: Shop) -> Any:  # noqa: ANN401  # JSON
    """The stock on the page."""
    await shop.catch_up()
    found = await section(shop, "inventory", sku="A")
    return None if found is None else found["available"]


FIRST = (created(1, 5, 3), removed(2, 5, 3))
"""The first life of a row."""


async def test_a_row_is_recreated_above_the_epochs_of_sources(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The registry chooses the epoch: also above one that an operator has raised to the sources' maximum."""
    await shop.epochs.raise_epoch("erp", reason="so", operator="kim", epoch=MAX_NAMED_EPOCH)
    assert await post(client, *FIRST) == ["appended"] * 2
    assert await post(client, created(3, 1, 4)) == ["appended"]
    assert (await head(shop), await available(shop)) == ((MAX_NAMED_EPOCH + 1, 1), 4)


@pytest.mark.parametrize("version", [1, 5, 6])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("op", ["c", "r"])
async def test_a_row_that_is_inserted_again_counts(
    shop: Shop, client: httpx2.AsyncClient, version: int, op: str, *, together: bool
) -> None:
    """Whatever its version, from the deletion's down; its next changes count, and so does its next deletion."""
    again = change(op, 3, None, row(version, 9))
    for messages in [(*FIRST, again)] if together else [FIRST[:1], FIRST[1:], (again,)]:
        assert await post(client, *messages) == ["appended"] * len(messages)
    assert (await available(shop), await head(shop)) == (9, (1, version))
    assert await post(client, updated(4, version + 1, 8)) == ["appended"]
    assert await available(shop) == 8
    assert await post(client, removed(5, version + 1, 8)) == ["appended"]
    assert (await available(shop), await head(shop)) == (None, (1, version + 2))
    assert await post(client, created(6, 1, 7)) == ["appended"]
    assert (await available(shop), await head(shop)) == (7, (2, 1))


LIVES = (
    *FIRST,
    created(3, 1, 9),
    updated(4, 2, 8),
    removed(5, 2, 8),
    created(6, 1, 7),
    updated(7, 2, 6),
)
"""Three lives of a row."""


@pytest.mark.parametrize("first", range(len(LIVES)))
async def test_repeated_deliveries_change_nothing(shop: Shop, client: httpx2.AsyncClient, first: int) -> None:
    """At least once: any part of the past that is delivered again, together or one by one, is a duplicate."""
    assert await post(client, *LIVES) == ["appended"] * len(LIVES)
    assert (await available(shop), await head(shop)) == (6, (2, 2))
    assert await post(client, *LIVES[first:]) == ["duplicate"] * len(LIVES[first:])
    for message in LIVES[first:]:
        assert await post(client, message) == ["duplicate"]
    assert (await available(shop), await head(shop)) == (6, (2, 2))


async def test_an_old_creation_is_no_new_life(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A creation that is delivered again after the deletion, or late, occurred before it: the row stays deleted."""
    await post(client, *FIRST)
    assert await post(client, FIRST[0]) == ["duplicate"]
    assert await post(client, created(1, 4, 2)) == ["appended"]
    assert (await available(shop), await head(shop)) == (None, (0, 6))


async def test_all_at_one_timestamp(shop: Shop, client: httpx2.AsyncClient) -> None:
    """One transaction deletes and inserts a row: the order decides, and the same creation again changes nothing."""
    life = (created(1, 1, 3), removed(1, 1, 3), created(1, 1, 4))
    assert await post(client, *life) == ["appended"] * 3
    assert (await available(shop), await head(shop)) == (4, (1, 1))
    assert await post(client, *life) == ["duplicate"] * 3
    await post(client, removed(2, 1, 4))
    assert await post(client, removed(2, 1, 4), life[2]) == ["duplicate"] * 2
    assert (await available(shop), await head(shop)) == (None, (1, 2))


async def test_without_a_timestamp_the_version_decides(shop: Shop, client: httpx2.AsyncClient) -> None:
    """If the connector sends no timestamp of the change, the row is not taken as new."""
    await post(client, *FIRST)
    again = created(3, 1, 9)
    del again["source"]["ts_ms"]
    again["after"]["changed_at"] = "2026-01-01T00:00:09Z"
    await post(client, again)
    assert await available(shop) is None


async def test_a_row_that_is_renamed_and_back(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A row whose SKU changes is withdrawn under the old one; if it returns there with a low version, it counts."""
    await post(client, created(1, 5, 3))
    assert await post(client, change("u", 2, row(5, 3), row(1, 3, "B"))) == ["appended"] * 2
    assert await available(shop) is None
    assert await post(client, change("u", 3, row(1, 3, "B"), row(2, 4))) == ["appended"] * 2
    assert (await available(shop), await head(shop)) == (4, (1, 2))


async def test_an_epoch_that_was_raised_is_entered(shop: Shop, client: httpx2.AsyncClient) -> None:
    """If an operator has raised the source's epoch, an inserted row is in the new epoch."""
    await post(client, *FIRST)
    await shop.epochs.raise_epoch("erp", reason="restored", operator="kim")
    assert await post(client, created(3, 1, 9)) == ["appended"]
    assert (await available(shop), await head(shop)) == (9, (1, 1))
    assert await post(client, created(3, 1, 9)) == ["duplicate"]
