"""Slow clients: a request that trickles in times out, however often a byte arrives."""

import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TypeAlias

import anyio
import pytest

from pagefold import Config, Shop
from tests.http.test_connection_limits import GET, HEALTH, INGEST, Line, Place, status
from tests.http.test_upgrades import H2C
from tests.support.command_line import event, ndjson, on_sqlite
from tests.support.intake_routes import HOW, Listening, configured, placed
from tests.support.small_shop import SKU, catalog, everything, say

SECONDS = 0.6
PAUSE = 0.03
LATEST = 5.0
"""Seconds within which it must be over, on a busy machine. The whole request would take much longer."""

Drops: TypeAlias = Callable[[], Iterator[bytes]]


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop in which a request has little time, and an idle connection has much."""
    return configured(store_url, receive_seconds=SECONDS, idle_seconds=600)


def dripped(*beginning: bytes, then: bytes) -> Drops:
    """Some pieces, and then one again and again."""
    return lambda: chain(beginning, repeat(then))


BODY = ndjson([event()])
CHUNKED = INGEST + b"transfer-encoding: chunked\r\n\r\n"
ANNOUNCED = INGEST + b"content-length: 1000\r\n\r\n"
DRIPS: dict[str, Drops] = {
    "an address": dripped(b"GET /", then=b"a"),
    "a header": dripped(GET + b"x: ", then=b"a"),
    "a header's name": dripped(GET, then=b"a"),
    "headers": dripped(GET, then=b"x: y\r\n"),
    "a body": dripped(ANNOUNCED, then=b" "),
    "a body of whole events": dripped(ANNOUNCED, then=BODY[:10]),
    "chunks": dripped(CHUNKED, then=b"1\r\n \r\n"),
    "a chunk": dripped(CHUNKED, b"3e8\r\n", then=b" "),
    "an extension": dripped(CHUNKED, b"1;", then=b"a"),
    "a chunk's size": dripped(CHUNKED, then=b"0"),
    "trailers": dripped(CHUNKED, b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY), then=b"x: y\r\n"),
    "a trailer": dripped(CHUNKED, b"%x\r\n%b\r\n0\r\nx: " % (len(BODY), BODY), then=b"a"),
    "a head with an offer": dripped(INGEST + H2C, then=b"x: y\r\n"),
    "a body behind an offer": dripped(INGEST + H2C + b"content-length: 1000\r\n\r\n", then=b" "),
    "chunks behind an offer": dripped(CHUNKED.replace(b"\r\n", b"\r\n" + H2C, 1), then=b"1\r\n \r\n"),
    "blank lines": dripped(then=b"\r\n"),
}


async def drip(line: Line, drops: Iterator[bytes]) -> None:
    """Sends one piece after the other, with a pause between them, while the connection lasts."""
    for drop in drops:
        await line.send(drop)
        await anyio.sleep(PAUSE)


async def answer_to(line: Line, drops: Iterator[bytes]) -> tuple[bytes, float]:
    """What the server sends until it closes the connection, while pieces are sent, and after how many seconds."""
    begun = time.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(drip, line, drops)
        said = await line.everything()
        group.cancel_scope.cancel()
    return said, time.monotonic() - begun


async def times_out(place: Place, drops: Drops, line: Line | None = None) -> bytes:
    """Sends pieces until the request times out, after no less and not much more than its time; returns the answer.

    The answer may be lost: a client that sends on a closed connection gets a reset instead.
    """
    said, seconds = await answer_to(line or await place.line(), drops())
    assert SECONDS / 2 < seconds < LATEST
    return said


def timed_out(server: Listening) -> int:
    """The number of requests that timed out and were answered."""
    return sum(each.traffic.refused[408] for each in server.services)


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_a_slow_request_times_out(shop: Shop, how: str) -> None:
    """At any point of a request: 408 after its time, however recent the last byte; nothing is taken."""
    async with placed(shop, how) as (place, server):

        async def one(name: str, drops: Drops) -> None:
            assert status(await times_out(place, drops)) in {408, 0}, name

        async with anyio.create_task_group() as group:
            for name, drops in DRIPS.items():
                group.start_soon(one, name, drops)
        assert timed_out(server) == len(DRIPS)
        assert server.arriving == 0
    assert await everything(shop.store) == []


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_every_request_of_a_connection_has_its_time(shop: Shop, how: str) -> None:
    """Not only the first: after a response, too, the time starts with the first byte, and does not restart."""
    await say(shop, catalog("a"))
    async with placed(shop, how) as (place, server):

        async def one(first: bytes, drops: Drops) -> None:
            line = await place.line()
            await line.send(first)
            assert status(await line.answer()) in {200, 202}
            await anyio.sleep(SECONDS * 1.5)
            await times_out(place, drops, line)

        async with anyio.create_task_group() as group:
            for drops in DRIPS.values():
                group.start_soon(one, HEALTH, drops)
                group.start_soon(one, GET.replace(b"GET", b"HEAD") + b"\r\n", drops)
        assert timed_out(server) == 2 * len(DRIPS)


@on_sqlite
@pytest.mark.parametrize("offer", [b"", H2C], ids=["no offer", "an offer"])
async def test_a_body_has_the_time_that_its_head_left(shop: Shop, offer: bytes) -> None:
    """Neither the end of its head nor an `Upgrade`, after which it is parsed again, extends its time."""
    shop.config = configured(shop.config.store.url, receive_seconds=4)
    async with placed(shop, "alone") as (place, _):
        line = await place.line()
        begun = time.monotonic()
        await line.send(INGEST + offer + b"content-length: 1000\r\n")
        await anyio.sleep(3)
        await line.send(b"\r\n{")
        assert status(await line.everything()) == 408
        assert 3.5 < time.monotonic() - begun < 6.5


@on_sqlite
async def test_an_unread_body_times_out(shop: Shop) -> None:
    """Its request was answered before its end: there is no other response, and the connection is closed."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone") as (place, server):
        for head in (GET, HEALTH[:-2], b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\n"):
            said = await times_out(place, dripped(head + b"content-length: 1000\r\n\r\n", then=b" "))
            assert said.count(b"HTTP/1.1 ") < 2
        assert timed_out(server) == 0


@on_sqlite
async def test_others_are_served_meanwhile(shop: Shop) -> None:
    """Hundreds of slow clients delay no reader, and all time out."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone") as (place, server):
        async with anyio.create_task_group() as group:
            for drops in [*DRIPS.values()] * 12:
                group.start_soon(times_out, place, drops)
            await anyio.sleep(SECONDS / 2)
            assert await place.reads()
        assert (server.arriving, timed_out(server)) == (0, len(DRIPS) * 12)


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_a_slow_request_in_time_is_accepted(shop: Shop, how: str) -> None:
    """Only the time of the whole request counts, whatever its pieces and pauses."""
    shop.config = configured(shop.config.store.url, receive_seconds=10)
    text = INGEST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    async with placed(shop, how) as (place, _):
        line = await place.line()
        await drip(line, (text[at : at + 10] for at in range(0, len(text), 10)))
        assert status(await line.answer()) == 202
    [stored] = await everything(shop.store)
    assert stored.originator_id.startswith("A/")
    assert SKU not in stored.originator_id
