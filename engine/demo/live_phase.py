"""What both phases of the demo do: deliver events while consumers and a storefront run, and compare every page."""

import time
from collections.abc import Iterable

import anyio

from pagefold.engine.demo.display import DisplayState
from pagefold.engine.demo.faults import Arrival
from pagefold.engine.demo.page_check import Verdict, compare_pages
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.demo.source_feeds import Ledger, SourceFeeds
from pagefold.engine.shop import Shop


class LivePhase:
    """A shop, the ledger of its lines, and the display.

    `delivering` and `folding` are the total seconds until the last line was answered, and until every page was up to
    date.
    """

    def __init__(self, shop: Shop, display: DisplayState, ledger: Ledger) -> None:
        self.shop = shop
        self.display = display
        self.ledger = ledger
        self.delivering = 0.0
        self.folding = 0.0

    async def deliver(self, arrivals: Iterable[Arrival], received: Model) -> None:
        """Sources deliver, consumers fold, a storefront reads. The model receives the same events as the shop."""
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(self.shop.work)
            group.start_soon(self.display.storefront.browse)
            await SourceFeeds(self.shop, received, self.ledger, self.display.advance).deliver(arrivals)
            self.delivering += time.perf_counter() - started
            await self.shop.catch_up()
            self.folding += time.perf_counter() - started
            self.display.fold_rates.finish(self.folding)
            group.cancel_scope.cancel()

    async def compare_pages(self, model: Model) -> Verdict:
        """Compares every page with the model."""
        verdict = await compare_pages(self.shop, model, self.display.advance)
        await self.display.storefront.read_all()
        return verdict
