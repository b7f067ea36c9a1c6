"""Where the acts take place, and what several of them do: deliver while others look on, and compare every page."""

import time
from collections.abc import Iterable

import anyio

from pagefold.engine.demo.display import DisplayState
from pagefold.engine.demo.faults import Arrival
from pagefold.engine.demo.page_check import Verdict, compare_pages
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.demo.source_feeds import Ledger, SourceFeeds
from pagefold.engine.shop import Shop


class Stage:
    """One shop, with the ledger of what it was sent, and the scene that is shown of it.

    `delivering` and `folding` are how many seconds it took in all until the last line was answered, and until
    every page was up to date.
    """

    def __init__(self, shop: Shop, scene: DisplayState, ledger: Ledger) -> None:
        self.shop = shop
        self.scene = scene
        self.ledger = ledger
        self.delivering = 0.0
        self.folding = 0.0

    async def deliver(self, deliveries: Iterable[Arrival], told: Model) -> None:
        """The sources deliver, the consumers fold, a storefront reads. The model is told what the shop is told."""
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(self.shop.work)
            group.start_soon(self.scene.storefront.browse)
            await SourceFeeds(self.shop, told, self.ledger, self.scene.advance).deliver(deliveries)
            self.delivering += time.perf_counter() - started
            await self.shop.catch_up()
            self.folding += time.perf_counter() - started
            self.scene.pace.settle(self.folding)
            group.cancel_scope.cancel()

    async def judge(self, model: Model) -> Verdict:
        """Every page against the model."""
        verdict = await compare_pages(self.shop, model, self.scene.advance)
        await self.scene.storefront.look_around()
        return verdict
