"""A webhook comes when there is no room for it: it is refused, or kept whole and taken later, as is configured."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import NamedTuple

import anyio
import httpx2
import pytest

import pagefold
from pagefold import Shop, StoreUnavailable
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.event_state import EncodedEvent
from tests.http.test_webhooks import ENVIRONMENT, STANDARD, configured, delivery, send, signed
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.processes import eventually
from tests.support.small_shop import Document, everything

KEEP = STANDARD | {"busy": "keep"}
HURRIED = KEEP | {"answer_within": "300ms"}
TWO = delivery(("A", "1.00"), ("B", "2.00"))


class Served(NamedTuple):
    """An open shop, and a client of its server."""

    shop: Shop
    client: httpx2.AsyncClient

    def fill(self, room: int = 0) -> None:
        """From now on, the append queue has room for so many events."""
        self.shop._appender.queued = self.shop.config.append.queue - room

    def empty(self) -> None:
        """The queue is empty again."""
        self.shop._appender.queued = 0

    async def is_done(self) -> bool:
        """Whether nothing is kept any more."""
        return not await self.waiting()

    async def waiting(self) -> list[bytes]:
        """The bodies that were kept, oldest first."""
        letters = await self.shop.dead_letters.newest(kind="waiting")
        return [letter.state for letter in reversed(letters)]


@asynccontextmanager
async def serving(url: str, hook: Document) -> AsyncIterator[Served]:
    """A shop whose source erp has these webhooks, and its server."""
    async with (
        pagefold.open(configured(url, erp=hook)) as shop,
        client_of(service_of(shop, None, environment=ENVIRONMENT)) as client,
    ):
        yield Served(shop, client)


@pytest.mark.parametrize(("busy", "status"), [({}, 503), ({"busy": "503"}, 503), ({"busy": "429"}, 429)])
@pytest.mark.parametrize("room", [0, 1])
async def test_a_sender_that_repeats_is_refused(store_url: str, busy: Document, status: int, room: int) -> None:
    """Before its body is read, or when that has more events than there is room for. Nothing is stored."""
    async with serving(store_url, STANDARD | busy) as served:
        served.fill(room)
        answer = await served.client.post("/v1/webhooks/erp", content=TWO, headers=signed(TWO))
        assert problem_in(answer)["status"] == status
        assert answer.headers["retry-after"] == "1"
        assert (await everything(served.shop.store), await served.waiting()) == ([], [])


@pytest.mark.parametrize("room", [0, 1])
async def test_a_delivery_is_kept_whole(store_url: str, room: int) -> None:
    """It is answered as if it were taken, and is in the log after the workers got to it. Nothing is left of it then."""
    async with serving(store_url, KEEP) as served:
        served.fill(room)
        assert await send(served.client, TWO) == (202, ["kept"])
        assert (await everything(served.shop.store), await served.waiting()) == ([], [TWO])
        [letter] = await served.shop.dead_letters.newest()
        assert letter.error.startswith(
            "waits for its turn, because it came when it could not be taken: the append queue"
        )
        assert (letter.kind, letter.source, letter.via) == ("waiting", "erp", "webhook")
        served.empty()
        async with run_beside(served.shop.work):
            await eventually(served.is_done, "what was kept is taken")
        assert len(await everything(served.shop.store)) == 2
        resolved = await served.shop.dead_letters.get(letter.id)
        assert (resolved.resolution, resolved.resolved_by) == ("appended", None)


async def test_a_delivery_is_kept_while_pages_are_far_behind(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the queue is full."""
    async with serving(store_url, KEEP) as served:

        async def seconds() -> float:
            return 1_000.0

        monkeypatch.setattr(served.shop.lag, "seconds", seconds)
        assert await send(served.client, TWO) == (202, ["kept"])
        assert await served.waiting() == [TWO]


async def test_only_what_counts_is_kept(store_url: str) -> None:
    """Not what nobody signed, what the headers exclude, or a ping."""
    hook = KEEP | {"only_headers": {"X-Topic": ["prices"]}, "ping": "hello"}
    async with serving(store_url, hook) as served:
        served.fill()
        assert (await served.client.post("/v1/webhooks/erp", content=TWO)).status_code == 401
        assert (await served.client.post("/v1/webhooks/erp", content=b"hello")).status_code == 200
        assert await send(served.client, TWO, **{"X-Topic": "stock"}) == (202, ["ignored"])
        assert await served.waiting() == []
        assert await send(served.client, TWO, **{"X-Topic": "prices"}) == (202, ["kept"])
        served.empty()
        assert await served.shop.waiting.take_all() == 1
        assert len(await everything(served.shop.store)) == 2


async def test_each_delivery_is_kept_by_itself(store_url: str) -> None:
    """Though it is equal to another, which may have been discarded, or taken: it may mean something else by now."""
    async with serving(store_url, KEEP) as served:
        served.fill()
        assert await send(served.client, TWO) == (202, ["kept"])
        [first] = await served.shop.dead_letters.newest()
        await served.shop.dead_letters.discard(first, "a test", "ada")
        for _ in range(2):
            assert await send(served.client, TWO) == (202, ["kept"])
        assert await served.waiting() == [TWO, TWO]


async def test_kept_deliveries_are_taken_in_their_order(store_url: str) -> None:
    """So that a later one is newer in the log, too, and one that cannot be read does not stop the others."""
    async with serving(store_url, KEEP) as served:
        served.fill()
        bodies = [delivery(("A", f"{number}.00"), revision=number) for number in (1, 2, 3)]
        for body in (*bodies[:2], b"{", bodies[2]):
            assert await send(served.client, body) == (202, ["kept"])
        served.empty()
        await served.shop.waiting.take_all()
        assert [each.originator_version for each in await everything(served.shop.store)] == [1, 2, 3]
        [unreadable] = await served.shop.dead_letters.newest()
        assert (unreadable.kind, unreadable.state) == ("ingest", b"{")
        assert json.loads(unreadable.headers)["webhook-id"] == "msg_1"


async def test_what_a_slow_store_does_not_take_in_time_is_kept(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender has its answer in time. What was under way may end later: each event is in the log once."""
    async with serving(store_url, HURRIED) as served:
        log = served.shop.store.log
        insert, hurt = log.insert, anyio.Event()

        async def late(events: list[EncodedEvent], fence: Fence | None = None) -> list[int | None]:
            await hurt.wait()
            return await insert(events, fence)

        monkeypatch.setattr(log, "insert", late)
        started = monotonic()
        assert await send(served.client, TWO) == (202, ["kept"])
        assert 0.3 <= monotonic() - started < 1.2
        assert await served.waiting() == [TWO]
        hurt.set()
        assert await served.shop.waiting.take_all() == 1
        assert len(await everything(served.shop.store)) == 2
        assert await served.shop.dead_letters.newest() == []


async def test_what_is_taken_in_time_is_not_kept(store_url: str) -> None:
    """A time limit changes nothing for what is fast enough."""
    async with serving(store_url, KEEP | {"answer_within": "30s"}) as served:
        assert await send(served.client, TWO) == (202, ["appended", "appended"])
        assert await served.waiting() == []


@pytest.mark.parametrize("hook", [KEEP, HURRIED])
async def test_what_cannot_be_kept_is_refused(store_url: str, hook: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender is never told that something was taken that is nowhere."""
    async with serving(store_url, hook) as served:

        async def fail(*_: object) -> None:
            raise StoreUnavailable("test", TimeoutError())

        monkeypatch.setattr(served.shop.store.log, "insert", fail)
        monkeypatch.setattr(served.shop.store.dead_letters, "add", fail)
        answer = await served.client.post("/v1/webhooks/erp", content=TWO, headers=signed(TWO))
        assert problem_in(answer)["status"] == 503
        served.fill()
        answer = await served.client.post("/v1/webhooks/erp", content=TWO, headers=signed(TWO))
        assert problem_in(answer)["status"] == 503
