"""Uploads that fail, in every way: afterwards none of them counts against the limits, and a valid one is accepted."""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from pagefold import Config, Shop
from pagefold.engine.http.server_context import BODY_BYTES
from tests.http.test_connection_limits import INGEST, Line, Place, status
from tests.support.command_line import event, ndjson, on_sqlite
from tests.support.intake_routes import ENTRANCES, HOW, Listening, configured, placed
from tests.support.processes import eventually
from tests.support.small_shop import everything

LIMIT = 128 * 1024
"""Bytes of a body, at most, in these tests."""

AT_A_TIME = 64
"""The number of such bodies that may arrive at a time."""

PER_ADDRESS = 8
"""Connections that may be open at a time: those of failed uploads must not count either."""

SPACES = b" " * (LIMIT - 1_000)
JSON = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer all\r\n"
TOKEN = b"authorization: Bearer all\r\n"

Failure: TypeAlias = Callable[[Place, Line], Awaitable[None]]


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop with a small body limit, so that few bodies fill the budget."""
    return small(store_url)


def small(url: str, **limits: float) -> Config:
    """The same with other limits."""
    settings: dict[str, float] = {
        "max_body_bytes": LIMIT,
        "connections_per_address": PER_ADDRESS,
        "receive_seconds": 30.0,
    } | limits
    return configured(url, **settings)


@asynccontextmanager
async def narrow(shop: Shop, how: str) -> AsyncIterator[tuple[Place, Listening]]:
    """A server with that byte budget, which requires a token."""
    async with placed(shop, how, anonymous=None) as (place, server):
        for service in server.services:
            service.incoming.most = AT_A_TIME * LIMIT
        yield place, server


def announced(length: int = LIMIT, head: bytes = INGEST + TOKEN) -> bytes:
    """The head of a request with a body of that length."""
    return head + b"content-length: %d\r\n\r\n" % length


def chunk(piece: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


CHUNKED = INGEST + TOKEN + b"transfer-encoding: chunked\r\n\r\n"


async def hang_up(_place: Place, line: Line) -> None:
    """Closes the connection in the middle of it."""
    await line.send(announced() + SPACES)


async def end(_place: Place, line: Line) -> None:
    """Ends the sending side, and waits."""
    await line.send(announced() + SPACES)
    await line.end()
    assert await line.everything() == b""


async def reset(_place: Place, line: Line) -> None:
    """Resets the connection, as when a process is killed or a machine switched off."""
    await line.send(announced() + SPACES)
    line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def break_a_chunk(_place: Place, line: Line) -> None:
    """Sends an invalid chunk after a large one."""
    await line.send(CHUNKED + chunk(SPACES) + b"zz\r\n")
    assert status(await line.everything()) == 400


async def send_too_much(_place: Place, line: Line) -> None:
    """Sends more than a body may have."""
    await line.send(CHUNKED + chunk(SPACES) + chunk(b" " * 1_001))
    assert status(await line.answer()) == 413


async def announce_too_much(_place: Place, line: Line) -> None:
    """Announces a body that is too large."""
    await line.send(announced(LIMIT + 1) + SPACES)
    assert status(await line.answer()) == 413


async def trail_too_much(_place: Place, line: Line) -> None:
    """Sends too many trailers."""
    await line.send(CHUNKED + chunk(SPACES) + b"0\r\n" + b"x: y\r\n" * 101)
    assert status(await line.everything()) == 431


async def have_no_token(_place: Place, line: Line) -> None:
    """Sends it without a token."""
    await line.send(announced(LIMIT - 1_000, INGEST) + SPACES)
    assert status(await line.answer()) == 401


async def sign_wrongly(_place: Place, line: Line) -> None:
    """Sends the signature of another body."""
    head = ENTRANCES["a webhook"].head(b"another")
    await line.send(announced(LIMIT - 999, head) + SPACES + b"{")
    assert status(await line.answer()) == 401


async def say_nothing(_place: Place, line: Line) -> None:
    """Sends only blanks."""
    await line.send(announced(LIMIT - 1_000) + SPACES)
    assert status(await line.answer()) == 422


async def write_badly(_place: Place, line: Line) -> None:
    """Sends invalid JSON."""
    await line.send(announced(LIMIT - 999, JSON) + SPACES + b"{")
    assert status(await line.answer()) == 422


FAILURES: Mapping[str, Failure] = {
    each.__name__: each
    for each in (
        hang_up,
        end,
        reset,
        break_a_chunk,
        send_too_much,
        announce_too_much,
        trail_too_much,
        have_no_token,
        sign_wrongly,
        say_nothing,
        write_badly,
    )
}


async def valid_one_is_accepted(shop: Shop, place: Place, server: Listening) -> None:
    """A body of the maximum size, in chunks, so that it is counted as it arrives, is accepted."""
    await eventually(lambda: server.arriving == 0, "what has failed is not counted")
    body = b" " * (LIMIT - 1_000) + event_of(len(await everything(shop.store)))
    line = await place.line()
    await line.send(CHUNKED)
    for at in range(0, len(body), 20_000):
        await line.send(chunk(body[at : at + 20_000]))
    await line.send(b"0\r\n\r\n")
    assert status(await line.answer()) == 202
    await line.close()
    assert server.arriving == 0


def event_of(number: int) -> bytes:
    """A new event."""
    return ndjson([event(f"S{number}")])


async def fail(place: Place, failure: Failure) -> None:
    """One failing upload on a connection of its own, which is closed."""
    line = await place.line()
    await failure(place, line)
    await line.close()


@on_sqlite
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failed_uploads_are_not_counted(shop: Shop, failure: Failure, how: str) -> None:
    """After more bytes of failed uploads than the budget, one after the other, a valid upload is accepted."""
    async with narrow(shop, how) as (place, server):
        for _ in range(AT_A_TIME + 6):
            await fail(place, failure)
        await valid_one_is_accepted(shop, place, server)
    assert len(await everything(shop.store)) == 1


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_timed_out_uploads_are_not_counted(shop: Shop, how: str) -> None:
    """Uploads that timed out leave nothing behind, even if there were more of them than the budget."""
    shop.config = small(shop.config.store.url, receive_seconds=0.3, connections_per_address=1_000)
    async with narrow(shop, how) as (place, server):
        lines = [await place.line() for _ in range(AT_A_TIME + 6)]
        for line in lines:
            await line.send(announced() + SPACES)
        assert {status(await line.everything()) for line in lines} <= {408, 429, 0}
        for line in lines:
            await line.close()
        await valid_one_is_accepted(shop, place, server)


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_refused_uploads_are_not_counted(shop: Shop, how: str) -> None:
    """While the budget is full, another upload is refused; afterwards, everything is as before."""
    shop.config = small(shop.config.store.url, connections_per_address=1_000)
    async with narrow(shop, how) as (place, server):
        for _ in range(2):
            lines = [await place.line() for _ in range(AT_A_TIME + 6)]
            for line in lines:
                await line.send(announced() + SPACES)
            await eventually(lambda: refused(server) > 0, "it is too much")
            for line in lines:
                await line.close()
            await valid_one_is_accepted(shop, place, server)
            await eventually(lambda: server.arriving == 0, "nothing is left")


def refused(server: Listening) -> int:
    """The number of uploads that were refused with `Retry-After`."""
    return sum(
        number for each in server.services for (_, _, code), number in each.traffic.requests.items() if code == 429
    )


@on_sqlite
async def test_sixty_four_megabytes_of_all_kinds(store_url: str, shop: Shop) -> None:
    """With the default limits: as many failed uploads of every kind as the budget, and a valid one."""
    shop.config = configured(store_url)
    megabyte = shop.config.http.max_body_bytes
    body = b" " * (megabyte - 1_000)
    texts = [
        announced(megabyte) + body,
        CHUNKED + chunk(body) + b"zz\r\n",
        CHUNKED + chunk(body) + chunk(b" " * 1_001),
        announced(megabyte - 999, JSON) + body + b"{",
        announced(megabyte - 999, ENTRANCES["a webhook"].head(b"another")) + body + b"{",
    ]
    async with placed(shop, "alone", anonymous=None) as (place, server):
        for number in range(BODY_BYTES // megabyte + 6):
            line = await place.line()
            await line.send(texts[number % len(texts)])
            if number % len(texts):
                assert 400 <= status(await line.answer()) < 500
            await line.close()
        await eventually(lambda: server.arriving == 0, "what has failed is not counted")
        line = await place.line()
        await line.send(announced(megabyte) + body)
        await line.send(b" " * (1_000 - len(event_of(0))) + event_of(0))
        assert status(await line.answer()) == 202
    assert len(await everything(shop.store)) == 1
