"""More is posted than can be appended: reads are not affected, and every sender gets a correct answer."""

from collections import Counter

import anyio
import httpx2
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.http import request_intake
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.store import Log
from tests.support.command_line import event, ndjson
from tests.support.http_clients import problem_in, served, service_of
from tests.support.small_shop import SKU, catalog, configured, everything, say

NDJSON = {"content-type": "application/x-ndjson"}
SENDERS, REQUESTS, EVENTS = 12, 6, 20
QUEUE = {"batch": EVENTS, "queue": 2 * EVENTS}
"""Two requests may wait while a third is appended."""

READS = 20


class Load:
    """Senders that post as much as they can, and a reader beside them."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.reads: Counter[int] = Counter()
        self.hurt = anyio.Event()

    async def run(self) -> None:
        """Runs until every sender is done."""
        async with anyio.create_task_group() as readers:
            readers.start_soon(self._read)
            async with anyio.create_task_group() as senders:
                for sender in range(SENDERS):
                    senders.start_soon(self._send, sender)
            readers.cancel_scope.cancel()

    async def _send(self, sender: int) -> None:
        """Sends requests of events whose SKUs name the request. A refused one is not sent again."""
        for number in range(REQUESTS):
            name = f"{sender}-{number}"
            events = [event(f"{name}-{each}") for each in range(EVENTS)]
            answer = await self._client.post("/v1/events", content=ndjson(events), headers=NDJSON)
            if answer.status_code == 429:
                assert problem_in(answer)["detail"]
                assert int(answer.headers["retry-after"]) >= 1
                self.refused.append(name)
            else:
                assert answer.status_code == 202, answer.text
                assert [each["outcome"] for each in answer.json()["results"]] == ["appended"] * EVENTS
                self.accepted.append(name)
            self._check()

    async def _read(self) -> None:
        while True:
            answer = await self._client.get(f"/v1/pages/web-de/{SKU}")
            self.reads[answer.status_code] += 1
            self._check()

    def _check(self) -> None:
        """Sets `hurt` once a request was refused and enough pages were read."""
        if self.refused and self.reads.total() >= READS:
            self.hurt.set()


async def judge(shop: Shop, load: Load) -> None:
    """Every request that was answered 202 is completely in the log, once; of the others, nothing is."""
    names = Counter(each.originator_id.split("/")[0].rpartition("-")[0] for each in await everything(shop.store))
    del names[SKU.rpartition("-")[0]]
    assert names == dict.fromkeys(load.accepted, EVENTS)
    assert load.accepted
    assert load.refused
    assert set(load.reads) == {200}


@pytest.mark.parametrize("large", [request_intake.MIN_THREAD_BYTES, 1])
async def test_under_overload_no_request_is_half_taken(
    store_url: str, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """The append queue is full, or too many request bodies arrive: reads succeed all the time.

    Each request is taken completely or not at all, and a refused one gets `Retry-After`.
    """
    monkeypatch.setattr(request_intake, "MIN_THREAD_BYTES", large)
    monkeypatch.setattr(request_intake, "MAX_WAITING", 2)
    async with pagefold.open(configured(store_url, append=QUEUE)) as shop:
        await say(shop, catalog("a"))
        async with (
            served(service_of(shop, reads_open=True)) as (host, port),
            httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client,
            run_beside(shop.work),
        ):
            load = Load(client)
            slow(shop.store.log, load, monkeypatch)
            await load.run()
        await judge(shop, load)


def slow(log: Log, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that appends nothing until a request was refused."""
    insert = log.insert

    async def late(events: list[EncodedEvent], fence: Fence | None = None) -> list[int | None]:
        await load.hurt.wait()
        return await insert(events, fence)

    monkeypatch.setattr(log, "insert", late)
