"""Rows of tables that were deleted and inserted again, as Debezium tells of them; on both stores."""

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
    """The shop with a table of stock. When a row is as it is, the database tells, or a column."""
    parsed = document(store_url)
    columns = {"sku": "item", "sourceVersion": "row_version", "payload": {"available": "on_hand"}}
    if request.param == "changed_at":
        columns["occurredAt"] = "changed_at"
    parsed["sources"]["erp"] = {"domains": ["inventory"], "cdc": {"columns": columns}}
    return Config.parse(parsed, store=store_url)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """Debezium, with the token of the source erp."""
    async with client_of(service_of(shop, None), "erp") as opened:
        yield opened


def row(version: int, on_hand: int, sku: str = "A") -> Document:
    """As a table has it."""
    return {"item": sku, "row_version": version, "on_hand": on_hand, "changed_at": f"2026-01-01T00:00:{on_hand:02}Z"}


def change(op: str, day: int, before: Document | None = None, after: Document | None = None) -> Document:
    """What Debezium says of a day."""
    origin = {"schema": "public", "table": "stock", "lsn": day + 1, "ts_ms": day * DAY}
    return {"op": op, "before": before, "after": after, "source": origin}


def created(day: int, version: int, on_hand: int, sku: str = "A") -> Document:
    """A row is inserted."""
    return change("c", day, None, row(version, on_hand, sku))


def updated(day: int, version: int, on_hand: int) -> Document:
    """It is changed."""
    return change("u", day, row(version - 1, 0), row(version, on_hand))


def removed(day: int, version: int, on_hand: int) -> Document:
    """It is deleted."""
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
    """What the page says."""
    await shop.catch_up()
    found = await section(shop, "inventory", sku="A")
    return None if found is None else found["available"]


FIRST = (created(1, 5, 3), removed(2, 5, 3))
"""A row's first life."""


async def test_a_row_is_made_again_above_what_sources_may_name(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The epoch was found, not named: of what an operator has raised that high, too."""
    await shop.epochs.raise_epoch("erp", reason="so", operator="kim", epoch=MAX_NAMED_EPOCH)
    assert await post(client, *FIRST) == ["appended"] * 2
    assert await post(client, created(3, 1, 4)) == ["appended"]
    assert (await head(shop), await available(shop)) == ((MAX_NAMED_EPOCH + 1, 1), 4)


@pytest.mark.parametrize("version", [1, 5, 6])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("op", ["c", "r"])
async def test_a_row_that_is_inserted_again_lives(
    shop: Shop, client: httpx2.AsyncClient, version: int, op: str, *, together: bool
) -> None:
    """Whatever its version, from its deletion's down; what is said of it then counts, and so does its next deletion."""
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
async def test_what_is_delivered_again_changes_nothing(shop: Shop, client: httpx2.AsyncClient, first: int) -> None:
    """At least once: whatever part of the past comes again, together or one by one, is a duplicate."""
    assert await post(client, *LIVES) == ["appended"] * len(LIVES)
    assert (await available(shop), await head(shop)) == (6, (2, 2))
    assert await post(client, *LIVES[first:]) == ["duplicate"] * len(LIVES[first:])
    for message in LIVES[first:]:
        assert await post(client, message) == ["duplicate"]
    assert (await available(shop), await head(shop)) == (6, (2, 2))


async def test_an_old_creation_is_no_new_life(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A creation that comes again after the deletion, or late, is of before it: the row stays gone."""
    await post(client, *FIRST)
    assert await post(client, FIRST[0]) == ["duplicate"]
    assert await post(client, created(1, 4, 2)) == ["appended"]
    assert (await available(shop), await head(shop)) == (None, (0, 6))


async def test_all_in_one_moment(shop: Shop, client: httpx2.AsyncClient) -> None:
    """One transaction deletes a row and inserts it: the order tells, and the same creation that comes again is none."""
    life = (created(1, 1, 3), removed(1, 1, 3), created(1, 1, 4))
    assert await post(client, *life) == ["appended"] * 3
    assert (await available(shop), await head(shop)) == (4, (1, 1))
    assert await post(client, *life) == ["duplicate"] * 3
    await post(client, removed(2, 1, 4))
    assert await post(client, removed(2, 1, 4), life[2]) == ["duplicate"] * 2
    assert (await available(shop), await head(shop)) == (None, (1, 2))


async def test_without_a_moment_the_version_decides(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Where the connector does not tell when a change was made, nothing is proved."""
    await post(client, *FIRST)
    again = created(3, 1, 9)
    del again["source"]["ts_ms"]
    again["after"]["changed_at"] = "2026-01-01T00:00:09Z"
    await post(client, again)
    assert await available(shop) is None


async def test_a_row_that_is_renamed_and_back(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A row whose SKU changes ends under the old one; when it comes back there with a low version, it lives there."""
    await post(client, created(1, 5, 3))
    assert await post(client, change("u", 2, row(5, 3), row(1, 3, "B"))) == ["appended"] * 2
    assert await available(shop) is None
    assert await post(client, change("u", 3, row(1, 3, "B"), row(2, 4))) == ["appended"] * 2
    assert (await available(shop), await head(shop)) == (4, (1, 2))


async def test_an_epoch_that_was_raised_is_entered(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Where an operator has raised the source, a row that comes again is simply in the new epoch."""
    await post(client, *FIRST)
    await shop.epochs.raise_epoch("erp", reason="restored", operator="kim")
    assert await post(client, created(3, 1, 9)) == ["appended"]
    assert (await available(shop), await head(shop)) == (9, (1, 1))
    assert await post(client, created(3, 1, 9)) == ["duplicate"]
