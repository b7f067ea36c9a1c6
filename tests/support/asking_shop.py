"""A shop with its dashboard that asks a source for changes, for tests of a browser."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Queue

import pagefold
from pagefold.engine.command.work import work_and_run_schedule
from pagefold.engine.configuration.delta_config import written
from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside
from tests.support.fake_endpoint import serving as source_serving
from tests.sync.test_delta_sync import configured
from tests.sync.test_removal_brake import CONTRACT, Products


class ChangedProducts(Products):
    """Products that have changed just now."""

    def say(self, *skus: str, **fields: object) -> None:
        super().say(*skus, **fields)
        at = written(datetime.now(UTC), "timestamp")
        self.records = [{**each, "updated": at} if each["code"] in skus else each for each in self.records]


@contextmanager
def asking_shop(folder: Path, feed: Products) -> Iterator[str]:
    """A shop that asks a source for changes every second, in a thread of its own; yields its address."""
    addresses: Queue[str] = Queue()
    ends = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve_asking(folder, feed, addresses, ends)))
    thread.start()
    try:
        yield addresses.get(timeout=30)
    finally:
        ends.set()
        thread.join(30)


async def _serve_asking(folder: Path, feed: Products, addresses: Queue[str], ends: threading.Event) -> None:
    """Serves the shop and its source until the end."""
    async with source_serving(feed) as source:
        url = f"sqlite:///{folder}/shop"
        config = configured(url, source, source="pim", contract=CONTRACT, max_orphans="25%", every="1s")
        async with pagefold.open(config) as shop:
            service = ServerContext(shop, BearerAuthenticator(EVERYTHING, shop.tokens))
            listener = listen("127.0.0.1", 0)
            async with (
                run_beside(partial(work_and_run_schedule, shop)),
                serving(service, listener, dashboard=Dashboard(service)),
            ):
                addresses.put(address_of(listener))
                while not ends.is_set():  # noqa: ASYNC110  # another thread sets it
                    await asyncio.sleep(0.05)
