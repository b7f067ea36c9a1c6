"""The change feed over HTTP: at once, as soon as there is something, and as a stream of events."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
from starlette.types import Message, Receive, Scope, Send

import pagefold
from pagefold import Config, Shop
from pagefold.engine.feed.feed_cursor import FeedCursor
from pagefold.engine.feed.page_change import FeedStep
from pagefold.engine.http import followers
from pagefold.engine.http.application import application
from pagefold.engine.http.authorization import READS
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.reading.page_tags import tag_of
from tests.support.http_clients import client_of, problem_in, served, service_of
from tests.support.rebuild_fixtures import without_channel
from tests.support.small_shop import CHANNELS, SKU, apply_file, catalog, configured, price, say, stock

CHANGES = "/v1/changes"
STREAM = {"accept": "text/event-stream"}


class Event(msgspec.Struct):
    """A server-sent event."""

    name: str = ""
    id: str | None = None
    data: Any = None


@asynccontextmanager
async def streaming(
    address: tuple[str, int], query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of a stream, as they come."""
    url = f"http://{address[0]}:{address[1]}{CHANGES}{query}"
    async with (
        httpx2.AsyncClient(timeout=5.0) as client,
        client.stream("GET", url, headers={**STREAM, **(headers or {})}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        assert "no-transform" in response.headers["cache-control"]
        yield parsed(response.aiter_lines())


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events in some lines. One without a name has an id only."""
    event = Event()
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            event.name = value
        elif field == "id":
            event.id = value
        elif field == "data":
            event.data = json.loads(value)
        elif not line and (event.name or event.id):
            yield event
            event = Event()


async def get(client: httpx2.AsyncClient, **query: object) -> Any:  # noqa: ANN401  # JSON
    """The JSON of an answer."""
    response = await client.get(CHANGES, params=query)  # type: ignore[arg-type]  # texts, numbers and lists
    assert response.status_code == 200, response.text
    return response.json()


def named(answer: Any) -> set[tuple[str, str]]:  # noqa: ANN401  # JSON
    """The pages that an answer names."""
    return {(each["sku"], each["channel"]) for each in answer["changes"]}


@pytest.fixture
async def service(shop: Shop) -> ServerContext:
    """A server over a shop with two products."""
    await say(shop, catalog("a"), catalog("b", sku="B"))
    return service_of(shop)


async def test_from_nothing_to_the_end(shop: Shop, service: ServerContext) -> None:
    """Every page with its tag, in steps; then what changes; then nothing, with a cursor all the same."""
    async with client_of(service) as client:
        pages: dict[tuple[str, str], str] = {}
        cursor, replaying = "0", True
        while replaying:
            answer = await get(client, after=cursor, limit=3)
            assert len(answer["changes"]) <= len(CHANNELS)
            pages |= {(each["sku"], each["channel"]): each["tag"] for each in answer["changes"]}
            cursor, replaying = answer["cursor"], answer["replaying"]
        assert set(pages) == {(sku, channel) for sku in (SKU, "B") for channel in CHANNELS}
        assert pages[SKU, "web-de"] == tag_of(await shop.pages.get_json(SKU, "web-de") or b"")
        await say(shop, price("1", channel="web-de"))
        answer = await get(client, after=cursor)
        assert named(answer) == {(SKU, "web-de")}
        assert answer["changes"][0]["domains"] == ["pricing"]
        empty = await get(client, after=answer["cursor"])
        assert (empty["changes"], empty["upToDate"], empty["replaying"]) == ([], True, False)


async def test_selections_and_pages(shop: Shop, service: ServerContext) -> None:
    """Repeated channels and domains, a prefix, and the pages themselves."""
    async with client_of(service) as client:
        answer = await get(client, channel=["web-de", "web-us"], prefix="B", include="page")
        assert named(answer) == {("B", "web-de"), ("B", "web-us")}
        assert answer["changes"][0]["page"] == json.loads(await shop.pages.get_json("B", "web-de") or b"")
        now = (await get(client, after="now"))["cursor"]
        await say(shop, stock(1), price("1", sku="B"))
        assert {sku for sku, _ in named(await get(client, after=now, domain=["pricing", "media"]))} == {"B"}
        for wrong in (
            "channel=x",
            "domain=x",
            "after=x",
            "after=",
            "limit=0",
            "wait=61",
            "include=x",
            "after=0&after=0",
        ):
            assert (await client.get(f"{CHANGES}?{wrong}")).status_code == 422, wrong


async def test_an_answer_waits_for_changes(shop: Shop, service: ServerContext) -> None:
    """For those that are wanted, and no longer than it is told to; with the page, if it was asked for."""
    async with client_of(service) as client:
        now = (await get(client, after="now"))["cursor"]
        found: list[Any] = []

        async def wait(**query: object) -> None:
            found.append(await get(client, after=now, wait=5, **query))

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: wait(channel="web-de"))
            group.start_soon(lambda: wait(prefix="B", channel="web-us", include="page"))
            await anyio.sleep(0.1)
            await say(shop, stock(1))
            await anyio.sleep(0.1)
            await say(shop, stock(1, sku="B"))
        assert [named(each) for each in found] == [{(SKU, "web-de")}, {("B", "web-us")}]
        assert found[1]["changes"][0]["page"]["inventory"]["available"] == 1
        later = await get(client, after=found[1]["cursor"], wait=0.1)
        assert (later["changes"], later["upToDate"]) == ([], True)
        assert (await client.head(CHANGES, params={"after": later["cursor"], "wait": 60})).status_code == 200


async def test_a_cursor_of_another_log_is_gone(shop: Shop, service: ServerContext) -> None:
    """410, for an answer and for a stream, and what to do."""
    async with client_of(service) as client:
        cursor = FeedCursor.parse((await get(client, after="now"))["cursor"])
        wrong = str(msgspec.structs.replace(cursor, log_id="another"))
        for headers in ({}, STREAM, {**STREAM, "last-event-id": wrong}):
            response = await client.get(CHANGES, params={"after": wrong}, headers=headers)
            assert problem_in(response)["status"] == 410
            assert "start again from 0" in problem_in(response)["detail"]
    assert shop.feed.reader is not None


async def test_a_channel_that_is_gone_is_withdrawn_first(config: Config) -> None:
    """Who follows it learns that its pages are gone. After that, the channel is unknown."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a"))
        cursor = str(await shop.feed.reader.start(replay=False))
    async with pagefold.open(without_channel(config, "web-us")) as shop, client_of(service_of(shop)) as client:
        await apply_file(shop)
        await shop.catch_up()
        answer = await get(client, after=cursor, channel="web-us")
        assert [(each["sku"], each["status"], each["tag"]) for each in answer["changes"]] == [(SKU, "disabled", None)]
        cursor = (await get(client, after=answer["cursor"]))["cursor"]  # what was removed meanwhile
        assert (await client.get(CHANGES, params={"after": cursor, "channel": "web-us"})).status_code == 422


async def test_a_stream(shop: Shop, service: ServerContext) -> None:
    """A replay, its end, what changes; it goes on from the last event, and keeps alive with the newest cursor."""
    async with served(service) as address:
        async with streaming(address, "?channel=web-de") as events:
            first = [await anext(events) for _ in range(3)]
            assert [(each.name, each.id is None) for each in first] == [
                ("change", True),
                ("change", False),
                ("replayed", False),
            ]
            await say(shop, price("1"))
            change = await anext(events)
            assert (change.data["sku"], change.data["domains"], change.id is None) == (SKU, ["pricing"], False)
        await say(shop, stock(1, sku="B"))
        async with streaming(address, "?channel=web-de&after=0", {"last-event-id": str(change.id)}) as events:
            assert (await anext(events)).data["sku"] == "B"


async def test_a_quiet_stream_keeps_alive(shop: Shop, service: ServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cursor after what was not wanted; and it ends once the caller may no longer read."""
    monkeypatch.setattr(followers, "KEEP_ALIVE_SECONDS", 0.2)
    async with served(service) as address, streaming(address, "?after=now&prefix=X") as events:
        await say(shop, price("1"))
        with anyio.fail_after(5):
            while FeedCursor.parse((event := await anext(events)).id or "").position < await shop.store.log.end():
                assert event.name == ""
        service.access.anonymous = None
        with anyio.fail_after(5):
            async for event in events:
                assert event.name == ""


async def test_a_server_that_ends_ends_its_streams(shop: Shop, service: ServerContext) -> None:
    """At once, and answers who waits."""
    await shop.store.log.end()
    answers: list[int] = []
    ended = anyio.Event()

    async def wait(url: str) -> None:
        async with httpx2.AsyncClient(timeout=30) as client:
            answers.append((await client.get(url)).status_code)

    async def stream(address: tuple[str, int]) -> None:
        async with streaming(address, "?after=now") as events:
            async for _ in events:
                pass
        ended.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, served(service) as address:
            group.start_soon(wait, f"http://{address[0]}:{address[1]}{CHANGES}?after=now&wait=60")
            group.start_soon(stream, address)
            await anyio.sleep(0.5)
    assert answers == [200]
    assert ended.is_set()


async def test_followers_are_not_counted_as_connections(store_url: str) -> None:
    """There may be as many as `followers` says, and others still get their pages."""
    config = configured(store_url).with_http(followers=2, connections=1, connections_per_address=1)
    async with pagefold.open(config) as shop, served(service_of(shop)) as address:
        await say(shop, catalog("a"))
        now = "?after=now"
        async with streaming(address, now), streaming(address, now), httpx2.AsyncClient() as client:
            refused = await client.get(f"http://{address[0]}:{address[1]}{CHANGES}", headers=STREAM)
            assert problem_in(refused)["detail"] == "too many followers"
            assert refused.headers["retry-after"]
            page = await client.get(f"http://{address[0]}:{address[1]}/v1/pages/web-de/{SKU}")
            assert page.status_code == 200
        async with streaming(address) as events:
            assert (await anext(events)).name == "change"


async def test_a_follower_that_does_not_read_costs_nothing(shop: Shop) -> None:
    """Nothing is read or kept for it: it goes on from its own cursor when it can be written to again."""
    await say(shop, *(catalog("x" * 500, sku=f"S{number:03}") for number in range(200)))
    sent: list[bytes] = []
    full, steps, real = anyio.Event(), 0, shop.feed.reader.step

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == 4:
            full.set()
            await anyio.sleep_forever()

    async def step(*given: Any, **named: Any) -> FeedStep:  # noqa: ANN401  # as the method
        nonlocal steps
        steps += 1
        return await real(*given, **named)

    async def never() -> Message:
        await anyio.sleep_forever()
        return {}

    shop.feed.reader.step = step  # type: ignore[method-assign]  # to count
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": CHANGES, "root_path": ""}
    scope |= {"raw_path": CHANGES.encode(), "headers": [(b"host", b"localhost"), (b"accept", b"text/event-stream")]}
    scope["query_string"] = b"include=page"
    async with anyio.create_task_group() as group:
        group.start_soon(_call, service_of(shop), scope, never, send)
        with anyio.fail_after(10):
            await full.wait()
        before = steps
        for version in (2, 3, 4):
            await say(shop, *(catalog("y" * 500, sku=f"S{number:03}", version=version) for number in range(200)))
        assert (steps, len(sent)) == (before, 4)
        assert not shop.feed.window_from(await shop.feed.reader.start(replay=False))
        assert sum(map(len, sent)) < 100_000
        group.cancel_scope.cancel()


async def _call(service: ServerContext, scope: Scope, receive: Receive, send: Send) -> None:
    await application(service)(scope, receive, send)


async def test_reads_may_be_open(shop: Shop) -> None:
    """As those of pages: without a token if `reads` is open, else not."""
    for anonymous, status in ((READS, 200), (None, 401)):
        async with client_of(service_of(shop, anonymous)) as client:
            assert (await client.get(CHANGES)).status_code == status
