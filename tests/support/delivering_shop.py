"""A shop with its dashboard that delivers to a target, for tests of a browser."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import msgspec

import pagefold
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside
from tests.support.hostile_target import Behaviour, HostileTarget, hostile_target
from tests.support.small_shop import catalog, configured

DOWN = Behaviour(applies=False, status=503)


@contextmanager
def delivering_shop(folder: Path) -> Iterator[tuple[str, HostileTarget]]:
    """A shop in a thread of its own, with a product, whose target `shop` is down; its address, and the target."""
    started: Queue[tuple[str, HostileTarget]] = Queue()
    ends = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(folder, started, ends)))
    thread.start()
    try:
        yield started.get(timeout=30)
    finally:
        ends.set()
        thread.join(30)


async def _serve(folder: Path, started: Queue[tuple[str, HostileTarget]], ends: threading.Event) -> None:
    """Serves the shop and its target until the end."""
    async with hostile_target(lambda: DOWN) as target:
        http = HttpTargetConfig(url=target.url, networks=["127.0.0.0/8"])
        config = configured(f"sqlite:///{folder}/shop")
        config = msgspec.structs.replace(config, targets={"shop": TargetConfig(http=http)})
        async with pagefold.open(config) as shop:
            await shop.append([catalog("a", sku="A")])
            service = ServerContext(shop, BearerAuthenticator(EVERYTHING, shop.tokens))
            listener = listen("127.0.0.1", 0)
            async with (
                shop.working(),
                run_beside(shop.follow),
                serving(service, listener, dashboard=Dashboard(service)),
            ):
                started.put((address_of(listener), target))
                while not ends.is_set():  # noqa: ASYNC110  # another thread sets it
                    await asyncio.sleep(0.05)
