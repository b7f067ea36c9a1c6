"""Where a request ends and the next begins: ambiguous requests are refused, with everything after them."""

import re

import anyio
import anyio.lowlevel
import pytest

from pagefold import Config, Shop
from pagefold.engine.http.page_reads import TEMPLATE
from pagefold.engine.http.request_head import host_error
from tests.http.test_allowed_hosts import OURS
from tests.http.test_connection_limits import HEALTH, status
from tests.http.test_upgrades import statuses
from tests.support.command_line import event, ndjson, on_sqlite
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.intake_routes import ENTRANCES, ENVIRONMENT, HOW, configured, placed
from tests.support.processes import eventually
from tests.support.small_shop import SKU, catalog, everything, say

BODY = ndjson([event("GOOD")])
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
SMUGGLED = HEAD + LENGTH + b"\r\n" + ndjson([event("EVIL")])
PAGE = f"/v1/pages/web-de/{SKU}".encode()
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n" % PAGE
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop with every way of intake."""
    return configured(store_url)


AMBIGUOUS = {
    # required headers (RFC 9112, section 3.2)
    "no host": (HEAD.replace(b"Host: localhost\r\n", b"") + LENGTH + b"\r\n" + BODY, 400),
    "no host for a page": (GET.replace(b"Host: localhost\r\n", b"") + b"\r\n", 400),
    "two hosts": (HEAD + b"Host: localhost\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "two hosts for a page": (GET + b"host: shop.example\r\n\r\n", 400),
    "no host's name": (GET.replace(b"localhost", b"local host") + b"\r\n", 400),
    "a host with a path": (GET.replace(b"localhost", b"localhost/x") + b"\r\n", 400),
    "a host with a user": (GET.replace(b"localhost", b"a@localhost") + b"\r\n", 400),
    "several hosts in one": (GET.replace(b"localhost", b"localhost, localhost:80") + b"\r\n", 400),
    # the length of a body (section 6)
    "two lengths": (HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY, 400),
    "the same length twice": (HEAD + LENGTH + LENGTH + b"\r\n" + BODY, 400),
    "a list of lengths": (HEAD + b"Content-Length: 5, 5\r\n\r\n" + BODY, 400),
    "a length with a sign": (HEAD + b"Content-Length: +5\r\n\r\n" + BODY, 400),
    "a length below nothing": (HEAD + b"Content-Length: -5\r\n\r\n" + BODY, 400),
    "a length that is hexadecimal": (HEAD + b"Content-Length: 0x5\r\n\r\n" + BODY, 400),
    "a length in two parts": (HEAD + b"Content-Length: 1 1\r\n\r\n" + BODY, 400),
    "a length beyond all bounds": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY, 400),
    "a length that says nothing": (HEAD + b"Content-Length: \r\n\r\n" + BODY, 400),
    "a length before chunks": (HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a length behind chunks": (HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n", 400),
    "chunks that are packed": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "packed chunks": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (HEAD + b"Transfer-Encoding: identity\r\n\r\n" + BODY, 400),
    "a coding of that name": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "a coding with more behind it": (HEAD + b"Transfer-Encoding: chunked x\r\n\r\n0\r\n\r\n", 400),
    "chunks twice": (HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", 400),
    # lines (sections 2.2, 5)
    "a folded line": (HEAD + b"X: a\r\n b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a folded length": (HEAD + b"Content-Length:\r\n 5\r\n\r\n" + BODY, 400),
    "a lonely line feed": (HEAD + b"X: a\nY: b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "line feeds alone": ((HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY, 400),
    "a line feed at the end": (HEAD + LENGTH + b"\n" + BODY, 400),
    "a lonely carriage return": (HEAD + b"X: a\rY: b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a zero": (HEAD + b"X: a\0b\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a blank before the colon": (HEAD + b"Content-Length : 5\r\n\r\n" + BODY, 400),
    "a blank before the name": (HEAD.replace(b"Host", b" Host") + LENGTH + b"\r\n" + BODY, 400),
    "no name": (HEAD + b": x\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "a line without a colon": (HEAD + b"Transfer-Encoding\r\n" + LENGTH + b"\r\n" + BODY, 400),
    # chunks (section 7.1)
    "chunks with line feeds": (CHUNKED + b"1\na\n0\n\n", 400),
    "a line feed in an extension": (CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "a chunk that is longer": (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY) - 1, BODY), 400),
    "a chunk that is shorter": (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY) + 2, BODY), 400),
    "a chunk's size with a prefix": (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "a chunk's size with a blank": (CHUNKED + b"1 \r\na\r\n0\r\n\r\n", 400),
    "a chunk's size with a sign": (CHUNKED + b"+1\r\na\r\n0\r\n\r\n", 400),
    "a chunk's size beyond all bounds": (CHUNKED + b"f" * 17 + b"\r\na\r\n0\r\n\r\n", 400),
    # other versions (section 2.3)
    "HTTP/2 as text": (SMUGGLED.replace(b"1.1", b"2.0"), 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n\r\n", 505),
    "HTTP/1.2": (SMUGGLED.replace(b"1.1", b"1.2"), 400),
    "no version": (b"GET /\r\n\r\n", 505),
    "a tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 501),
}


@on_sqlite
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("text", "expected"), AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_ambiguous_requests_are_refused(shop: Shop, text: bytes, expected: int, how: str) -> None:
    """It is answered once, and the connection is closed: neither it nor the request after it is taken."""
    async with placed(shop, how) as (place, _):
        said = await place.says(text + SMUGGLED)
        assert statuses(said) == [expected]
        assert b"\r\nconnection: close\r\n" in said
        assert b"application/problem+json" in said
    assert await everything(shop.store) == []


UNUSUAL = {
    "blank lines in front": b"\r\n\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "chunks in capitals": CHUNKED.replace(b"chunked", b"CHUNKED") + b"%X\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "leading zeros": CHUNKED + b"00%x\r\n%b\r\n000\r\n\r\n" % (len(BODY), BODY),
    "an extension": CHUNKED + b'%x;a=b;c="d"\r\n%b\r\n0\r\n\r\n' % (len(BODY), BODY),
    "a port": HEAD.replace(b"localhost", b"LOCALHOST:80") + LENGTH + b"\r\n" + BODY,
    "HTTP/1.0": HEAD.replace(b"1.1", b"1.0").replace(b"Host: localhost\r\n", b"") + LENGTH + b"\r\n" + BODY,
    "the address whole": HEAD.replace(b" /v1", b" http://localhost:80/v1") + LENGTH + b"\r\n" + BODY,
}


@on_sqlite
@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL)
async def test_unusual_and_unambiguous_requests_are_accepted(shop: Shop, text: bytes) -> None:
    """RFC 9112 allows it."""
    async with placed(shop, "alone") as (place, _):
        assert (
            status(await place.says(text.replace(b"\r\nContent-Type", b"\r\nConnection: close\r\nContent-Type", 1)))
            == 202
        )
    assert len(await everything(shop.store)) == 1


@pytest.mark.parametrize(
    "host", [*OURS, b"", b"shop.example", b"a_b", b"x:", b"[fe80::1%25eth0]:80", b"xn--bcher-kva.test"]
)
def test_hosts_that_are_well_formed(host: bytes) -> None:
    """Names and addresses, with a port or without."""
    assert host_error(host) is None


@on_sqlite
async def test_the_absolute_target_counts_over_the_header(shop: Shop) -> None:
    """A target in absolute form names the host (section 3.2.2), in place of `Host`."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone") as (place, _):
        for target, host, expected in (
            (b"http://localhost", b"localhost", 200),
            (b"http://127.0.0.1:8080", b"shop.example", 200),
            (b"http://shop.example", b"localhost", 421),
            (b"http://shop.example:80", b"localhost", 421),
        ):
            text = b"GET %b%b HTTP/1.1\r\nHost: %b\r\n" % (target, PAGE, host)
            assert status(await place.says(text + CLOSE)) == expected
        assert status(await place.says(b"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n" + CLOSE)) == 404


# --- trailers ---------------------------------------------------------------------

TOKEN = b"Authorization: Bearer all\r\n"


def trailing(head: bytes, body: bytes, trailers: bytes, size: int = 10_000) -> list[bytes]:
    """A body in chunks with trailers, sent in pieces of a size."""
    text = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)
    return [text[at : at + size] for at in range(0, len(text), size)]


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_trailers_are_no_headers(shop: Shop, how: str) -> None:
    """Neither a token, a type, a signature nor an event's attribute may come after the body, however it is sent."""
    webhook, cloud = ENTRANCES["a webhook"], ENTRANCES["a CloudEvent in headers"]
    signature = b"x-shop-signature: %b\r\n" % webhook.headers_for(webhook.body)["x-shop-signature"].encode()
    bare = b"POST %b HTTP/1.1\r\nHost: localhost\r\n"
    typed = b"Content-Type: application/json\r\n"
    attributes = "".join(f"{name}: {value}\r\n" for name, value in cloud.headers.items()).encode()
    requests = [
        (HEAD, BODY, TOKEN, 401),
        (bare % b"/v1/events" + TOKEN, BODY, b"Content-Type: application/x-ndjson\r\n", 415),
        (bare % webhook.path.encode() + typed, webhook.body, signature, 401),
        (bare % b"/v1/events" + TOKEN + typed, cloud.body, attributes, 422),
        (HEAD + TOKEN, BODY, b"Content-Encoding: gzip\r\nHost: shop.example\r\n", 202),
        (HEAD + TOKEN, BODY, b"Connection: Upgrade\r\nUpgrade: h2c\r\n", 202),
    ]
    async with placed(shop, how, anonymous=None) as (place, _):
        for head, body, trailers, expected in requests:
            for size in (10_000, 50):
                line = await place.line()
                for piece in trailing(head, body, trailers, size):
                    await line.send(piece)
                    await anyio.lowlevel.checkpoint()
                assert status(await line.answer()) == expected
                await line.close()
    assert len(await everything(shop.store)) == 1


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_trailers_are_not_headers_of_the_next_request(shop: Shop, how: str) -> None:
    """The next request has its own headers, and no others."""
    async with placed(shop, how, anonymous=None) as (place, _):
        for trailers in (TOKEN, b"X: y\r\n" + TOKEN, b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + TOKEN):
            first = b"".join(trailing(HEAD + TOKEN, BODY, trailers))
            said = await place.says(first + HEAD + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY)
            assert statuses(said) == [202, 401]


@on_sqlite
@pytest.mark.parametrize(
    ("begun", "more"),
    [(b"0\r\nx: ", b"a"), (b"0\r\n", b"a"), (b"0\r\n", b"x: y\r\n"), (b"1;", b"a")],
    ids=["a trailer", "a trailer's name", "trailers", "an extension"],
)
@pytest.mark.parametrize("size", [100_000, 1_000])
async def test_trailers_and_extensions_are_limited(shop: Shop, begun: bytes, more: bytes, size: int) -> None:
    """Trailers and chunk extensions are not kept and could be endless: like a head, they are refused above a size."""
    async with placed(shop, "alone") as (place, server):
        line = await place.line()
        await line.send(CHUNKED + b"1\r\n{\r\n" + begun)
        sent, refused = 0, server.services[0].traffic.refused
        while not refused:
            await line.send(more * (size // len(more)))
            await anyio.sleep(0.001)
            assert (sent := sent + size) < 2_000_000
        assert refused == {431: 1}
        await eventually(lambda: server.arriving == 0, "what came is forgotten")


@on_sqlite
async def test_small_chunks_are_not_limited_like_a_head(shop: Shop) -> None:
    """However much there is between the bytes of a body: it grows, so it is read on."""
    body = ndjson([event(f"S{number}") for number in range(30)])
    text = CHUNKED + b"".join(b"1;%b\r\n%c\r\n" % (b"x" * 20, each) for each in body) + b"0\r\n\r\n"
    assert len(text) > 5 * 16_384
    async with placed(shop, "alone") as (place, _):
        line = await place.line()
        await line.send(text)
        assert status(await line.answer()) == 202


# --- credentials ----------------------------------------------------------------------------------


async def test_two_credentials_are_refused(shop: Shop) -> None:
    """A proxy may have checked the other one: 400 on every route, in either order, equal or not."""
    await say(shop, catalog("a"))
    routes = [
        ("GET", f"/v1/pages/web-de/{SKU}"),
        ("GET", "/v1/pages/web-de"),
        ("POST", "/v1/events"),
        ("GET", "/metrics"),
    ]
    async with client_of(service_of(shop, None, environment=ENVIRONMENT)) as client:
        for method, path in [*routes, ("GET", "/healthz"), ("POST", "/v1/dead-letters:retry")]:
            for secrets in (("all", "all"), ("all", "reader"), ("guess", "all"), ("all", "")):
                headers = [("authorization", f"Bearer {secret}") for secret in secrets]
                problem = problem_in(await client.request(method, path, headers=headers))
                assert (problem["status"], problem["detail"]) == (400, "the header authorization is repeated")


@on_sqlite
@pytest.mark.parametrize("reads_open", [True, False])
async def test_two_credentials_are_refused_for_a_page(shop: Shop, *, reads_open: bool) -> None:
    """On raw connections, too, and on the fast path, whether or not a token is needed."""
    await say(shop, catalog("a"))
    async with placed(shop, "alone", anonymous=None, reads_open=reads_open) as (place, _):
        assert status(await place.says(GET + TOKEN + CLOSE)) == 200
        assert status(await place.says(GET + TOKEN + TOKEN + CLOSE)) == 400
        assert status(await place.says(GET + TOKEN + b"authorization: Basic eDp5\r\n" + CLOSE)) == 400


@on_sqlite
async def test_two_media_types_are_refused(shop: Shop) -> None:
    """With two media types, it is unknown how to read the body."""
    async with client_of(service_of(shop, environment=ENVIRONMENT)) as client:
        headers = [("content-type", "application/json"), ("content-type", "application/x-ndjson")]
        answer = await client.post("/v1/events", content=BODY, headers=headers)
        assert problem_in(answer)["detail"] == "the header content-type is repeated"
    assert await everything(shop.store) == []


# --- the order of answers ------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (b"nonsense\r\n\r\n", [202, 400]),
        (GET.replace(b"Host", b"Hose") + b"\r\n", [202, 400]),
        (GET + b"x: " + b"a" * 20_000, [202, 431]),
        (HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY, [202, 400]),
        (CHUNKED + b"zz\r\n", [202, 400]),
        (CHUNKED + b"5\r\n01234nonsense", [202, 400]),
        (GET + b"\r\n" + CHUNKED + b"zz\r\n", [202, 200, 400]),
        (GET + b"\r\n" + b"nonsense\r\n\r\n", [202, 200, 400]),
        (HEAD + LENGTH + b"\r\n" + BODY[:-1], [202, 408]),
        (GET, [202, 408]),
    ],
)
async def test_a_refusal_waits_for_its_turn(shop: Shop, behind: bytes, expected: list[int], how: str) -> None:
    """It must not be taken for the answer to the request before it, which is answered first."""
    shop.config = configured(shop.config.store.url, receive_seconds=0.5)
    await say(shop, catalog("a"))
    async with placed(shop, how) as (place, _):
        said = await place.says(HEAD + LENGTH + b"\r\n" + BODY + behind + (b"" if expected[-1] == 408 else SMUGGLED))
        assert statuses(said) == expected
    skus = {re.split(rb"/", each.originator_id.encode())[0] for each in await everything(shop.store)}
    assert skus == {SKU.encode(), b"GOOD"}


@on_sqlite
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "first",
    [
        GET + CLOSE,
        GET.replace(b"-M", b"%2DM") + CLOSE,
        GET.replace(b"1.1", b"1.0") + b"\r\n",
        GET.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n",
        GET.replace(b"1.1", b"1.0").replace(b"-M", b"%2DM") + b"Connection: keep-alive\r\n\r\n",
    ],
    ids=range(5),
)
async def test_nothing_is_taken_after_the_last_request(shop: Shop, first: bytes, how: str) -> None:
    """Requests after the last answer, by the client's will or the server's, are not even parsed, on either path."""
    await say(shop, catalog("a"))
    async with placed(shop, how) as (place, server):
        for behind in (SMUGGLED, HEALTH):
            assert statuses(await place.says(first + behind)) == [200]
        await anyio.sleep(0.05)
        assert {route for each in server.services for _, route, _ in each.traffic.requests} == {TEMPLATE}
    assert len(await everything(shop.store)) == 1
