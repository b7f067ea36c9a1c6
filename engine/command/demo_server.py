"""`pagefold demo --serve`: a server and its dashboard over the sample shop, in motion until a signal comes."""

from functools import partial
from pathlib import Path

import anyio

from pagefold.engine.command.console import print_message
from pagefold.engine.command.options import Exit
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.work import work_and_run_schedule
from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.demo.sample_shop import Shop as SampleShop
from pagefold.engine.demo.shop_in_motion import ShopInMotion
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside

HOST = "127.0.0.1"
"""On this machine everybody may do everything, and nobody else may do anything."""


async def serve_demo(sample: SampleShop, url: str, folder: Path, port: int) -> int:
    """Prepares the shop, and serves it until a signal comes."""
    listener = listen(HOST, port)
    print_message(f"filling a shop of {len(sample.products):,} products …")
    motion = ShopInMotion(sample, url, folder)
    async with stoppable() as stop:
        with stop.scope:
            await motion.prepare()
            async with motion.opened() as shop:
                access = BearerAuthenticator(EVERYTHING, shop.tokens)
                service = ServerContext(shop, access, reads_open=True, environment=motion.environment)
                address = address_of(listener)
                async with (
                    run_beside(partial(work_and_run_schedule, shop, enduring=True)),
                    run_beside(shop.follow),
                    serving(service, listener, dashboard=Dashboard(service)),
                    run_beside(partial(motion.run, shop, address)),
                ):
                    print_message(f"{address}/ui shows it; Ctrl-C ends it")
                    await anyio.sleep_forever()
    return Exit.DONE
