"""Remembered pages of the PostgreSQL store: never stale, whatever commits in which order, and not on a standby."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeAlias

import psycopg
import pytest

from pagefold.engine.stores.postgres import PostgresStore
from pagefold.engine.stores.store import BatchReader
from pagefold.projections.splicer import StoredSection
from tests.support.databases import opened
from tests.support.postgres import PostgresServer
from tests.support.small_shop import SKU, a_section, configured, folded
from tests.support.standbys import standby

Read: TypeAlias = BatchReader[Sequence[StoredSection]]

OTHER, THIRD = "HAT", "CAP"
CHANGE = "UPDATE pagefold.sections SET contents = overlay(contents PLACING %s::bytea FROM octet_length(contents))"
"""Replaces the last byte of the body, in one SKU."""


class Change(Protocol):
    """Changes the body of a page."""

    def __call__(self, body: bytes, sku: str = SKU) -> None:
        """In a transaction that is under way."""


@pytest.fixture
def kind() -> str:
    """PostgreSQL alone."""
    return "postgres"


@contextmanager
def writer(url: str) -> Iterator[Change]:
    """A transaction that changes bodies, and commits at the end of the block."""
    with psycopg.connect(url) as connection:

        def change(body: bytes, sku: str = SKU) -> None:
            connection.execute(f"{CHANGE} WHERE sku = %s".encode(), (body, sku))

        yield change


def reader(store: PostgresStore) -> Read:
    """Reads many pages, as their sections."""
    return store.pages.batch_reader(lambda _sku, _channel, rows: rows)


async def body(read: Read, sku: str = SKU) -> bytes | None:
    """The body of a page's section."""
    [section] = (await read([sku], "web-de", None))[sku]
    found: bytes | None = section[4]
    return found


def wait_for(url: str, content: bytes, sku: str) -> None:
    """Waits until a standby has a body."""
    deadline = time.monotonic() + 20
    statement = b"SELECT substr(contents, octet_length(contents)) FROM pagefold.sections WHERE sku = %s"
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(statement, (sku,)).fetchone() != (content,):
            assert time.monotonic() < deadline


@pytest.fixture
async def read(store: PostgresStore) -> Read:
    """A reader of three pages that are stored."""
    await folded(store, *[a_section(sku, body=b"0") for sku in (THIRD, OTHER, SKU)])
    return reader(store)


async def test_an_unchanged_page_is_not_read_again(read: Read, store: PostgresStore) -> None:
    """It is the same object until a transaction commits; a missing page is remembered, too."""
    skus = [SKU, OTHER, "nobody's"]
    first, second = await read(skus, "web-de", None), await read(skus, "web-de", None)
    assert all(first[sku] is second[sku] for sku in skus)
    assert first["nobody's"] == []
    await folded(store, a_section("nobody's", body=b"1"))
    assert await body(read, "nobody's") == b"1"


async def test_every_commit_is_seen_immediately(read: Read, store_url: str) -> None:
    """Also that of a transaction that had written before the page was remembered."""
    for number in range(1, 9):
        with writer(store_url) as change:
            change(b"%d" % number)
            assert await body(read) == await body(read) == b"%d" % (number - 1)
        assert await body(read) == await body(read) == b"%d" % number


async def test_transactions_may_commit_in_any_order(read: Read, store_url: str) -> None:
    """What one of several has changed is seen after its commit, while the others go on."""
    for number in range(1, 4):
        with writer(store_url) as first:
            first(b"%d" % number, OTHER)
            with writer(store_url) as second:
                second(b"%d" % number)
                with writer(store_url) as third:
                    third(b"%d" % number, THIRD)
                assert await body(read) == b"%d" % (number - 1)
            assert await body(read) == b"%d" % number
            assert await body(read, OTHER) == b"%d" % (number - 1)
        assert await body(read, OTHER) == b"%d" % number


async def test_a_standby_remembers_nothing(postgres_server: PostgresServer, store_url: str, read: Read) -> None:
    """Its snapshots do not tell which of several transactions has ended: a later commit could be missed."""
    assert await body(read) == b"0"
    with standby(postgres_server, store_url) as url, ExitStack() as stack:
        async with opened(configured(url)) as store:
            there = reader(store)
            stack.enter_context(writer(store_url))(b"5", OTHER)
            with writer(store_url) as second:
                second(b"1")
                with writer(store_url) as third:
                    third(b"1", THIRD)
                wait_for(url, b"1", THIRD)
                assert await body(there) == b"0"
            wait_for(url, b"1", SKU)
            assert await body(there) == b"1"
