"""A body that is empty, or shorter than announced, is refused by every route that needs one."""

import asyncio
import json

import pytest

from pagefold import Config, Shop
from pagefold.engine.http.route_table import ROUTES
from tests.http.test_connection_limits import status
from tests.support.command_line import on_sqlite
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.intake_routes import (
    ENTRANCES,
    ENVIRONMENT,
    HOW,
    JSON,
    NDJSON,
    Entrance,
    configured,
    placed,
    settle,
    state_of,
)
from tests.support.processes import eventually
from tests.support.small_shop import say

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SILENCE = (b"", b" ", b"\r\n", b"\n\n \t\n", BYTE_ORDER_MARK, BYTE_ORDER_MARK + b"\n")
OFFER = ("connection: Upgrade, HTTP2-Settings", "http2-settings: AAEAAEAAAAIAAAAA", "upgrade: h2c")

each_entrance = pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop with every way of intake."""
    return configured(store_url)


@on_sqlite
def test_every_route_with_a_body_is_tested(store_url: str) -> None:
    """A route that is added later has to be among those of these tests."""
    assert store_url
    assert {entrance.route for entrance in ENTRANCES.values()} == {route.path for route in ROUTES if route.bodies}
    types = {(each.path, media_type) for each in ROUTES for media_type in each.bodies}
    assert types == {(entrance.route, entrance.media_type) for entrance in ENTRANCES.values()}


@each_entrance
async def test_the_complete_requests_are_accepted(shop: Shop, entrance: Entrance) -> None:
    """The requests of these tests are valid: only their bodies make the others invalid."""
    await settle(shop)
    async with client_of(service_of(shop, environment=ENVIRONMENT)) as client:
        answer = await client.post(entrance.path, content=entrance.body, headers=entrance.headers_for(entrance.body))
    assert answer.status_code in {200, 202}


@each_entrance
async def test_an_empty_body_is_refused(shop: Shop, entrance: Entrance) -> None:
    """An empty body, blanks, or a byte order mark alone is refused, signed or not, and nothing is stored."""
    await settle(shop)
    before = await state_of(shop)
    async with client_of(service_of(shop, environment=ENVIRONMENT)) as client:
        for body in SILENCE:
            answer = await client.post(entrance.path, content=body, headers=entrance.headers_for(body))
            assert problem_in(answer)["status"] in {400, 422}
    assert await state_of(shop) == before


@on_sqlite
async def test_the_error_says_that_the_body_is_empty(shop: Shop) -> None:
    """The error leads to the cause, which is in the transport and not in the events."""
    async with client_of(service_of(shop, environment=ENVIRONMENT)) as client:
        for path, media_type in (("/v1/events", NDJSON), ("/v1/events", JSON), ("/v1/cdc/erp", JSON)):
            answer = await client.post(path, content=b"", headers={"content-type": media_type})
            assert "the body is empty" in problem_in(answer)["detail"]


async def test_an_empty_array_is_accepted(shop: Shop) -> None:
    """An empty array is valid, and so is a tombstone in any of its forms."""
    tombstones = [None, {"schema": None, "payload": None}, {"key": {"id": 1}, "value": None}]
    async with client_of(service_of(shop, environment=ENVIRONMENT)) as client:
        for path in ("/v1/events", "/v1/cdc/erp"):
            answer = await client.post(path, json=[])
            assert (answer.status_code, answer.json()) == (202, {"results": []})
        for tombstone in tombstones:
            body = json.dumps(tombstone).encode()
            answer = await client.post("/v1/cdc/erp", content=body, headers={"content-type": JSON})
            assert [each["outcome"] for each in answer.json()["results"]] == ["ignored"]
    assert await state_of(shop) == (0, [])


# --- raw bytes ------------------------------------------------------------------------------------


def bodiless(entrance: Entrance, *more: str) -> list[bytes]:
    """Requests without a body: without a length, of length 0, in chunks without a chunk."""
    head = entrance.head(b"", "connection: close", *more)
    return [
        head + b"\r\n",
        head + b"content-length: 0\r\n\r\n",
        head + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        head + b"transfer-encoding: chunked\r\n\r\n0\r\nx-checksum: 7\r\n\r\n",
    ]


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_an_absent_body_is_no_success(shop: Shop, how: str) -> None:
    """However it is absent, and whether or not the client offers another protocol."""
    await settle(shop)
    before = await state_of(shop)
    async with placed(shop, how) as (place, _):
        for name, entrance in ENTRANCES.items():
            for request in [*bodiless(entrance), *bodiless_with_offer(entrance)]:
                assert status(await place.says(request)) in {400, 422}, name
    assert await state_of(shop) == before


def bodiless_with_offer(entrance: Entrance) -> list[bytes]:
    """The same from a client that would prefer another protocol."""
    head = entrance.head(b"", "connection: close", *OFFER)
    return [head + b"content-length: 0\r\n\r\n", head + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"]


def cut_short(entrance: Entrance, *more: str) -> list[bytes]:
    """Requests whose bodies are valid, and shorter than announced."""
    head, body = entrance.head(entrance.body, *more), entrance.body
    half = len(body) // 2
    return [
        head + b"content-length: %d\r\n\r\n" % (len(body) + 1) + body,
        head + b"content-length: %d\r\n\r\n" % len(body) + body[:-1],
        head + b"content-length: %d\r\n\r\n" % len(body),
        head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body),
        head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body),
        head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx: y\r\n" % (len(body), body),
        head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (half, body[:half]),
        head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b" % (len(body) + 1, body),
        head + b"transfer-encoding: chunked\r\n\r\n",
    ]


@pytest.mark.parametrize("how", HOW)
async def test_a_truncated_body_is_refused(shop: Shop, how: str) -> None:
    """Complete events or none may have arrived: after a disconnect before the announced end, none is taken."""
    await settle(shop)
    before = await state_of(shop)
    requests = [
        each for entrance in ENTRANCES.values() for each in (*cut_short(entrance), *cut_short(entrance, *OFFER))
    ]
    async with placed(shop, how) as (place, server):
        for request in requests:
            line = await place.line()
            await line.send(request)
            await line.end()
            assert status(await line.everything()) == 0, request
        await eventually(lambda: server.gone == len(requests), "all of them are missed")
        assert server.arriving == 0
        assert await state_of(shop) == before


@on_sqlite
@pytest.mark.parametrize("how", HOW)
async def test_a_body_that_does_not_end_in_time_is_refused(shop: Shop, how: str) -> None:
    """Its sender waits for an answer, which says that the request is incomplete."""
    shop.config = configured(shop.config.store.url, receive_seconds=0.5)
    await settle(shop)
    before = await state_of(shop)
    requests = [each for entrance in ENTRANCES.values() for each in cut_short(entrance)]
    async with placed(shop, how) as (place, _):
        answers = await asyncio.gather(*(place.says(request) for request in requests))
    assert {status(answer) for answer in answers} == {408}
    assert await state_of(shop) == before


@on_sqlite
async def test_a_length_below_the_bodys_is_no_event(shop: Shop) -> None:
    """The rest of the body is no JSON, and no request either."""
    await say(shop)
    entrance = ENTRANCES["an event"]
    async with placed(shop, "alone") as (place, _):
        request = (
            entrance.head(entrance.body) + b"content-length: %d\r\n\r\n" % (len(entrance.body) - 5) + entrance.body
        )
        said = await place.says(request)
    assert [each[:3] for each in said.split(b"HTTP/1.1 ")[1:]] == [b"422", b"400"]
    assert await state_of(shop) == (0, [])
