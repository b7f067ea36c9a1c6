"""The demo, act by act: sources deliver while consumers fold; then every page is compared with the model."""

import itertools
import time
import tomllib
from collections import Counter
from dataclasses import dataclass

import anyio

from engine.config import Config
from engine.demo import generator
from engine.demo.delivering import Ledger, Sources
from engine.demo.display import Scene, Screen
from engine.demo.faults import Faults, deliver
from engine.demo.model import Model
from engine.demo.report import Report, Throughput, fault_reports, hot_product, problems_of
from engine.demo.verify import Verdict, check_counters, compare_pages, reads_a_second
from engine.demo.watching import Listener, Pace, Storefront
from engine.errors import ConfigurationError
from engine.shop import Shop
from engine.shop import open as open_shop

LOOKS = 10
LONGEST_WAIT = 1.0
"""Looking at the status of the store takes one part in so many of the time; a look is never put off by more seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the shop is, how much happens in it, and, by its seed, which of all such shops it is."""

    skus: int = 2_000
    changes: int = 50_000
    seed: int = 7


async def play(size: Size, url: str, screen: Screen) -> Report:
    """Plays the whole demo on an empty store. Raises `ConfigurationError` when it is not empty."""
    story = generator.Shop(size.seed, size.skus)
    text = story.config(url)
    listener = Listener()
    listener.warn = screen.note
    with listener.listening():
        async with open_shop(Config.parse(text, store=url)) as shop:
            await _check_empty(shop)
            return await _Play(shop, size, story, Model(tomllib.loads(text)), listener, screen).play()


async def _check_empty(shop: Shop) -> None:
    used = await shop.store.log.end() > 0
    async for _ in shop.store.pages.keys():
        used = True
        break
    if used:
        problem = "the demo compares everything in its store with what it put there, so it needs an empty one"
        raise ConfigurationError("store.url", f"{shop.store.name} is in use; {problem}")


class _Play:
    """One performance."""

    def __init__(
        self, shop: Shop, size: Size, story: generator.Shop, model: Model, listener: Listener, screen: Screen
    ) -> None:
        self._shop = shop
        self._size = size
        self._story = story
        self._model = model
        self._screen = screen
        self._ledger = Ledger()
        self._looked_until = 0.0
        channels = list(shop.config.channels)
        self._scene = Scene(
            title=f"Halm & Faden, {size.skus:,} SKUs in {len(channels)} channels, on {shop.store.name}",
            channels=dict.fromkeys(channels, size.skus),
            ledger=self._ledger,
            listener=listener,
            storefront=Storefront(shop.pages, [product.sku for product in story.products], channels),
            pace=Pace(),
        )

    async def play(self) -> Report:
        """Every act, one after the other, while the screen shows them."""
        with self._screen.showing():
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch)
                rates = await self._trade()
                verdict = await self._judge()
                reads = await reads_a_second(self._shop, self._model)
                group.cancel_scope.cancel()
            self._looked_until = 0.0
            await self._look()
        return await self._report(verdict, Throughput(lines=rates[0], folded=rates[1], reads=reads))

    async def _trade(self) -> tuple[float, float]:
        """The sources deliver, the consumers fold, a storefront reads. Gives lines and folded events a second."""
        events = sum(1 for _ in self._story.catalog()) + self._size.changes
        said = itertools.chain(self._story.catalog(), self._story.changes(self._size.changes))
        deliveries = deliver(said, Faults(), self._size.seed)
        self._scene.begin("Delivering and folding", events, "events")
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(self._shop.work)
            group.start_soon(self._scene.storefront.browse)
            await Sources(self._shop, self._model, self._ledger, self._scene.advance).deliver(deliveries)
            delivered = time.perf_counter() - started
            await self._shop.catch_up()
            folded = time.perf_counter() - started
            self._scene.pace.settle(folded)
            group.cancel_scope.cancel()
        return self._ledger.lines / delivered, events / folded

    async def _judge(self) -> Verdict:
        """Every page against the model."""
        self._scene.begin("Comparing with the model", self._size.skus * len(self._scene.channels), "pages")
        verdict = await compare_pages(self._shop, self._model, self._scene.advance)
        self._scene.storefront.ready = Counter(verdict.ready)
        return verdict

    async def _watch(self) -> None:
        while True:
            await self._look()
            await anyio.sleep(self._screen.pause)

    async def _look(self) -> None:
        started = time.perf_counter()
        if started >= self._looked_until:
            status = self._scene.status = await self._shop.status()
            self._scene.pace.look(status)
            self._looked_until = started + min((time.perf_counter() - started) * LOOKS, LONGEST_WAIT)
        self._screen.show(self._scene)

    async def _report(self, verdict: Verdict, throughput: Throughput) -> Report:
        status = await self._shop.status()
        counters = check_counters(status, self._model, self._ledger.conflicts)
        return Report(
            seed=self._size.seed,
            skus=self._size.skus,
            changes=self._size.changes,
            store=self._shop.store.name,
            seconds=self._scene.seconds,
            lines=self._ledger.lines,
            outcomes=dict(self._ledger.outcomes),
            faults=fault_reports(self._ledger),
            surprised=self._ledger.surprised,
            surprises=self._ledger.surprises,
            domains=status.domains,
            sections_written=dict(self._scene.listener.written),
            pages=verdict,
            throughput=throughput,
            product=await hot_product(self._shop, self._ledger.hottest()),
            problems=problems_of(self._ledger, verdict, counters),
        )
