"""Requests that offer another protocol: the offer is ignored, and the body is read as usual.

The recorded ones are what stock clients send over plain HTTP, byte for byte.
"""

import re
import time

import pytest

from pagefold import Config, Shop
from tests.http.test_connection_limits import Line, Place, status
from tests.support.command_line import event, ndjson, on_sqlite
from tests.support.intake_routes import ENTRANCES, HOW, configured, placed, settle, state_of
from tests.support.processes import eventually
from tests.support.small_shop import SKU, catalog, everything, say

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
H2C += b"Upgrade: h2c\r\n"
OFFERS = {
    "h2c": H2C,
    "h2c, and an end": b"Connection: close\r\n" + H2C,
    "a WebSocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "TLS": b"Upgrade: TLS/1.2, HTTP/1.1\r\nConnection: upgrade\r\n",
    "several": b"Upgrade: h2c\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n",
    "by a proxy": b"Proxy-Connection: Upgrade\r\nUpgrade: h2c\r\n",
    "what there is not": b"Connection: upgrade\r\nUpgrade: \r\n",
    "half an offer": b"Upgrade: h2c\r\n",
}

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GET = f"GET /v1/pages/web-de/{SKU} HTTP/1.1\r\nHost: localhost\r\n".encode()
CLOSE = b"Connection: close\r\n\r\n"

RECORDED = {
    "Java": b"POST /v1/events HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\n"
    b"Host: 127.0.0.1:8080\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    b"User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n%b",
    "Java, which waits": b"POST /v1/events HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nExpect: 100-Continue\r\n"
    b"Host: 127.0.0.1:8080\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
    b"Transfer-encoding: chunked\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\n"
    b"Content-Type: application/json\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    "curl": b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    b"content-type: application/json\r\nContent-Length: %d\r\n\r\n%b",
    "curl, which waits": b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n"
    b"Accept: */*\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\ncontent-type: application/json\r\nExpect: 100-continue\r\n\r\n"
    b"%x\r\n%b\r\n0\r\n\r\n",
}


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop with every way of intake."""
    return configured(store_url)


def posting(offer: bytes, body: bytes) -> bytes:
    """A request with events, with a length."""
    return HEAD + offer + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(offer: bytes, body: bytes, size: int) -> bytes:
    """The same in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + offer + CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n"


def statuses(said: bytes) -> list[int]:
    """Those of several responses, without interim ones."""
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+) ", said) if each != b"100"]


async def answers(place: Place, number: int, *pieces: bytes) -> list[int]:
    """The responses to pieces that are sent one by one, until there are enough."""
    line = await place.line()
    for piece in pieces:
        await line.send(piece)
        if len(pieces) > 1:
            await eventually(lambda: True, "others have their turn")
    said = await read(line, number)
    await line.close()
    return said


async def read(line: Line, number: int) -> list[int]:
    """The statuses of the next responses on a connection."""
    found: list[int] = []
    while len(found) < number:
        head = await line.answer()
        if (length := re.search(rb"(?i)content-length: (\d+)", head)) is not None:
            await line.exactly(int(length[1]))
        found += statuses(head)
    return found


# --- what clients send ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
async def test_requests_of_stock_clients_are_accepted(shop: Shop, recorded: bytes, how: str) -> None:
    """In one piece, byte by byte, and cut at any point: acknowledged, and in the log."""
    async with placed(shop, how) as (place, _):
        for number, size in enumerate((10_000, 1, 7, 150, 330)):
            body = ndjson([event(f"S{number}")])
            text = recorded % (len(body), body)
            assert await answers(place, 1, *[text[at : at + size] for at in range(0, len(text), size)]) == [202]
            assert len(await everything(shop.store)) == number + 1


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_every_route_reads_the_body(shop: Shop, how: str) -> None:
    """No body is taken for a tombstone, an empty batch, or an empty query."""
    deciding = {"a correction", "discards", "a start"}  # they leave nothing to be decided, or need what has ended
    entrances = {name: entrance for name, entrance in ENTRANCES.items() if name not in deciding}
    await settle(shop)
    async with placed(shop, how) as (place, _):
        for name, entrance in entrances.items():
            head = entrance.head(entrance.body, "connection: close").replace(b"\r\n", b"\r\n" + H2C, 1)
            answer = await place.says(head + b"content-length: %d\r\n\r\n" % len(entrance.body) + entrance.body)
            assert status(answer) in {200, 202}, name
    said = 7 + 5 + 1 + 8  # of releases, of a held sync, of a saga
    assert await state_of(shop) == (said, ["raised", "dismissed", 3, 4, 5, 6, "box paused", "paused idle"])


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@on_sqlite
async def test_every_offer_is_ignored(shop: Shop, offer: bytes) -> None:
    """Whatever the protocol, with a body of known length, in chunks, or none: it is answered as without the offer."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone") as (place, server):
        requests = [
            posting(offer, ndjson([event("A")])),
            chunked(offer, ndjson([event("B"), event("C")]), 9),
            GET + offer + b"\r\n",
            GET + offer + b"Content-Length: 0\r\n\r\n",
            b"HEAD" + GET[3:] + offer + b"\r\n",
        ]
        found = [await answers(place, 1, each) for each in requests[:-1]]
        said = await place.says(requests[-1].replace(b"\r\n\r\n", b"\r\n" + CLOSE))
        assert [*found, statuses(said)] == [[202], [202], [200], [200], [200]]
        assert not [key for each in server.services for key in each.traffic.requests if key[2] in {101, 426}]
    assert len(await everything(shop.store)) == 4


@on_sqlite
async def test_a_page_is_read_on_the_fast_path_beside_an_offer(shop: Shop) -> None:
    """The response is that of the same request without the offer."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone") as (place, _):
        date = re.compile(rb"\r\ndate: [^\r]*")
        plain, offered = [date.sub(b"", await place.says(GET + offer + CLOSE)) for offer in (b"", H2C)]
    assert plain == offered
    assert status(plain) == 200


# --- several requests -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
async def test_requests_after_an_offer_are_answered(shop: Shop, how: str) -> None:
    """In one piece, at every cut, with or without offers: each is answered, in order, on one connection."""
    await say(shop, catalog("a"))
    four = [
        posting(H2C, ndjson([event("A")])),
        chunked(H2C, ndjson([event("B")]), 20),
        GET + H2C + b"\r\n",
        posting(b"", ndjson([event("C")])),
    ]
    text = b"".join(four)
    cuts = [0, 1, len(four[0]) - 1, len(four[0]), len(four[0]) + 1, len(four[0] + four[1]), len(text) - 1]
    async with placed(shop, how) as (place, _):
        for cut in cuts:
            pieces = [piece for piece in (text[:cut], text[cut:]) if piece]
            assert await answers(place, 4, *pieces) == [202, 202, 200, 202]
    assert len(await everything(shop.store)) == 4


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_a_connection_continues_after_an_offer(shop: Shop, how: str) -> None:
    """One request after the other, as a client sends them that has learned that there is no HTTP/2."""
    await say(shop, catalog("a"))
    async with placed(shop, how) as (place, _):
        line = await place.line()
        for number in range(3):
            for offer in (H2C, b""):
                await line.send(posting(offer, ndjson([event(f"S{number}")])))
                await line.send(GET + offer + b"\r\n")
                assert await read(line, 2) == [202, 200]
    assert len(await everything(shop.store)) == 4


@on_sqlite
async def test_very_many_offers_in_one_piece_take_no_time(shop: Shop) -> None:
    """The bytes after an offer are not copied for each of them."""
    await say(shop, catalog("a"))
    request = b"HEAD" + GET[3:] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with placed(shop, "alone") as (place, _):
        begun = time.monotonic()
        said = await place.says(request * 2_000 + GET + CLOSE)
        assert statuses(said) == [200] * 2_001
        assert time.monotonic() - begun < 5


@on_sqlite
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("framing", [b"Content-Length: %d\r\n", CHUNKED])
async def test_expect_100_continue_is_answered(shop: Shop, framing: bytes, how: str) -> None:
    """`Expect: 100-continue` counts beside an offer; in HTTP/1.0 it does not."""
    body = ndjson([event()])
    length = framing % len(body) if b"%d" in framing else framing
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if framing == CHUNKED else body
    async with placed(shop, how) as (place, _):
        line = await place.line()
        await line.send(HEAD + H2C + length + b"Expect: 100-continue\r\n\r\n")
        assert await line.answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await line.send(sent)
        assert status(await line.answer()) == 202
        if framing != CHUNKED:
            old = HEAD.replace(b"1.1", b"1.0") + H2C + length + b"Expect: 100-continue\r\n\r\n" + sent
            assert (await place.says(old)).startswith(b"HTTP/1.1 202 ")


# --- invalid requests ---------------------------------------------------------------------------------------

BODY = ndjson([event()])
FAULTS = {
    "two lengths": (HEAD + H2C + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + BODY, 400),
    "a length and chunks": (HEAD + H2C + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "no chunks": (HEAD + H2C + CHUNKED + b"\r\n" + BODY, 400),
    "another coding": (HEAD + H2C + b"Transfer-Encoding: gzip\r\n\r\n" + BODY, 400),
    "no host": (posting(H2C, BODY).replace(b"Host: localhost\r\n", b""), 400),
    "two hosts": (posting(H2C + b"Host: localhost\r\n", BODY), 400),
    "a large head": (HEAD + H2C + b"x: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "many headers": (HEAD + H2C + b"x: y\r\n" * 101 + b"\r\n", 431),
    "a long address": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + H2C + b"\r\n", 414),
    "a large body": (HEAD + H2C + b"Content-Length: 2000000\r\n\r\n", 413),
    "a tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + posting(b"", BODY), 501),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + posting(b"", BODY), 400),
    "an unknown type": (posting(H2C + b"Connection: close\r\n", BODY).replace(b"x-ndjson", b"octet-stream"), 415),
}


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_invalid_requests_are_refused_beside_an_offer(shop: Shop, how: str) -> None:
    """Each is answered once, as without the offer, and nothing of it is taken."""
    async with placed(shop, how) as (place, _):
        for name, (text, expected) in FAULTS.items():
            assert statuses(await place.says(text)) == [expected], name
    assert await everything(shop.store) == []


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_an_offer_gives_no_more_time(shop: Shop, how: str) -> None:
    """The deadline is that of the request, whose body is still to come."""
    shop.config = configured(shop.config.store.url, receive_seconds=0.5)
    async with placed(shop, how) as (place, _):
        begun = time.monotonic()
        assert status(await place.says(posting(H2C, BODY)[:-1])) == 408
        assert 0.4 < time.monotonic() - begun < 5
    assert await everything(shop.store) == []
