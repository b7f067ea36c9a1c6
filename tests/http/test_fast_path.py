"""The fast path of page reads: the same answers as the application's, in order, and never an older state."""

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.http.fast_path import FastPageReads, PreparedPage
from pagefold.engine.http.headers import Header
from pagefold.engine.http.page_reads import TEMPLATE, PageReads
from pagefold.engine.http.server_context import ServerContext
from tests.http.test_connection_limits import GET, HEALTH, POST, Place, status
from tests.support.command_line import on_sqlite
from tests.support.http_clients import served, service_of
from tests.support.small_shop import SKU, catalog, configured, price, say

UNNAMED = f"GET /v1/pages/web-de/{SKU} HTTP/1.1\r\n".encode()
"""A request without `Host`."""
PAGE = UNNAMED + b"host: localhost\r\n"
CLOSE = b"connection: close\r\n\r\n"
DATE = re.compile(rb"\r\ndate: [^\r]*")


@asynccontextmanager
async def placed(shop: Shop, *, reads_open: bool = True) -> AsyncIterator[tuple[Place, ServerContext]]:
    """A server, and its internals."""
    service = service_of(shop, reads_open=reads_open)
    async with served(service) as (host, port):
        place = Place(host, port)
        try:
            yield place, service
        finally:
            await place.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths that were left to the application."""
    paths: list[bytes] = []
    answer = PageReads._answer

    async def noted(
        self: PageReads, method: str, found: tuple[bytes, bytes], headers: list[Header], query: bytes
    ) -> object:
        paths.append(b"/".join(found))
        return await answer(self, method, found, headers, query)

    monkeypatch.setattr(PageReads, "_answer", noted)
    return paths


REQUESTS = [
    PAGE + CLOSE,
    PAGE.replace(b"GET", b"HEAD") + CLOSE,
    PAGE.replace(b"1.1", b"1.0") + b"\r\n",
    PAGE + b'if-none-match: "x"\r\n' + CLOSE,
    PAGE + b"if-none-match: *\r\n" + CLOSE,
    PAGE + b'if-none-match: "x"\r\nIf-None-Match: *\r\n' + CLOSE,
    PAGE.replace(b"GET", b"HEAD") + b"if-none-match: *\r\n" + CLOSE,
    PAGE.replace(b" HTTP", b"?a=b HTTP") + CLOSE,
    PAGE.replace(b"-M ", b"%2DM ") + CLOSE,
    PAGE.replace(b"GET", b"DELETE") + CLOSE,
    PAGE.replace(b"-M ", b"-M/ ") + CLOSE,
    PAGE.replace(b"-M ", b"-XXL ") + CLOSE,
    PAGE.replace(b"web-de", b"nowhere") + CLOSE,
    PAGE + b"content-length: 3\r\n" + CLOSE + b"abc",
    PAGE + b"transfer-encoding: chunked\r\n" + CLOSE + b"3\r\nabc\r\n0\r\n\r\n",
    PAGE + b"upgrade: h2c\r\n" + CLOSE,
    PAGE + b"\r\n" + PAGE + CLOSE + PAGE + b"\r\n",
]


@pytest.mark.parametrize("request_text", REQUESTS, ids=range(len(REQUESTS)))
async def test_answers_are_the_same_either_way(
    shop: Shop, request_text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, on either path, and counted alike."""
    await say(shop, catalog("a"), price("1.00"))
    async with placed(shop) as (place, service):
        quick = await place.says(request_text)
    monkeypatch.setattr(FastPageReads, "answer", lambda *_: None)
    async with placed(shop) as (place, other):
        slowly = await place.says(request_text)
    assert DATE.sub(b"", quick) == DATE.sub(b"", slowly) != b""
    assert service.traffic.requests == other.traffic.requests
    assert (service.traffic.reads, service.traffic.not_modified) == (other.traffic.reads, other.traffic.not_modified)


@on_sqlite
async def test_the_usual_request_takes_the_fast_path(shop: Shop, slow: list[bytes]) -> None:
    """The application does not see a request for an existing page, and sees every other."""
    await say(shop, catalog("a"))
    async with placed(shop) as (place, service):
        assert status(await place.says(PAGE + CLOSE)) == 200
        assert slow == []
        assert service.traffic.requests["GET", TEMPLATE, 200] == 1
        assert status(await place.says(PAGE.replace(b"-M", b"-XXL") + CLOSE)) == 404
        assert len(slow) == 1


@on_sqlite
async def test_the_fast_path_needs_open_reads(shop: Shop) -> None:
    """If reads are not open, nothing is answered before the caller is known."""
    await say(shop, catalog("a"))
    async with placed(shop, reads_open=False) as (_, service):
        assert FastPageReads(service).answer(b"GET", PAGE.split()[1], []) is None


async def test_a_server_with_tokens_has_no_anonymous_fast_path(shop: Shop) -> None:
    """After the first token, callers without one are refused, whatever the same server answered before."""
    await say(shop, catalog("a"))
    async with placed(shop) as (place, service):
        assert status(await place.says(PAGE + CLOSE)) == 200
        service.restrict(None)
        assert status(await place.says(PAGE + CLOSE)) == 401


async def test_the_next_request_sees_the_commit(shop: Shop) -> None:
    """A commit by another process is in the next response on a connection."""
    async with pagefold.open(shop.config) as other, placed(shop) as (place, _):
        line = await place.line()
        tags = set[bytes]()
        for version in range(1, 30):
            await say(other, catalog(f"name {version}", version=version))
            for _ in range(2):
                await line.send(PAGE.replace(b"GET", b"HEAD") + b"\r\n")
                tags.add(await tag(line.answer()))
            assert len(tags) == version


async def tag(answer: Awaitable[bytes]) -> bytes:
    """The entity tag of a response."""
    found = re.search(rb'etag: ("\w+")', await answer)
    assert found is not None
    return found[1]


@on_sqlite
async def test_answers_come_in_the_order_of_their_requests(shop: Shop) -> None:
    """A fast answer waits for the requests before it."""
    await say(shop, catalog("a"))
    head = GET.replace(b"GET", b"HEAD") + b"\r\n"
    batch = POST + b'content-length: 40\r\n\r\n{"channel":"web-de","skus":["TSHIRT-M"]}'
    async with placed(shop) as (place, _):
        said = await place.says(head + batch + head + HEALTH + GET + CLOSE)
    routes = [b"etag" in each.partition(b"\r\n\r\n")[0] for each in said.split(b"HTTP/1.1 200 OK")[1:]]
    assert routes == [True, False, True, False, True]


@on_sqlite
async def test_a_client_that_does_not_read_is_not_answered_further(shop: Shop, slow: list[bytes]) -> None:
    """If the client does not read, the next answer waits until it does."""
    await say(shop, catalog("a" * 20_000))
    async with placed(shop) as (place, _):
        line = await place.line()
        await line.send((GET + b"\r\n") * 1_000 + GET + CLOSE)
        assert (await line.everything()).count(b"HTTP/1.1 200 OK") == 1_001
        assert slow


@on_sqlite
async def test_the_application_answers_errors(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing store is a problem like on any other path."""
    await say(shop, catalog("a"))

    def away(*_: object) -> PreparedPage:
        raise StoreUnavailable(shop.store.name, OSError("gone"))

    monkeypatch.setattr(shop.pages, "sync_reader", lambda _: away)
    async with placed(shop) as (place, _):
        assert status(await place.says(PAGE + CLOSE)) == 200
        monkeypatch.setattr(shop.pages, "_sections", away)
        assert status(await place.says(PAGE + CLOSE)) == 503


@on_sqlite
async def test_an_idle_connection_is_closed_after_a_fast_answer(store_url: str) -> None:
    """Each response restarts its time, as with any other."""
    async with pagefold.open(configured(store_url, http={"idle_seconds": 0.3, "receive_seconds": 5.0})) as shop:
        await say(shop, catalog("a"))
        async with placed(shop) as (place, _):
            assert status(await place.says(PAGE + b"\r\n")) == 200
