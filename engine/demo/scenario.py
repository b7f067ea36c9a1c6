"""Runs the demo: sources deliver while consumers fold; then every page is compared with the model.

At the end some events are lost, and a rebuild finds them.
"""

import itertools
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from pagefold.engine.configuration.config import Config
from pagefold.engine.demo import sample_shop
from pagefold.engine.demo.display import DisplayState, Screen
from pagefold.engine.demo.faults import Faults, inject_faults
from pagefold.engine.demo.live_phase import LivePhase
from pagefold.engine.demo.loss_scenario import LossResult, LossScenario
from pagefold.engine.demo.observers import FoldRates, LogObserver, Storefront
from pagefold.engine.demo.page_check import Verdict, check_counters, reads_a_second
from pagefold.engine.demo.reference_model import DOMAINS, Document, Model
from pagefold.engine.demo.report_data import Report, Throughput, fault_reports, hot_product, problems_of, rebuild_report
from pagefold.engine.demo.source_feeds import Ledger
from pagefold.engine.demo.views_check import ViewsVerdict, check_views
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime.extras import is_installed
from pagefold.engine.shop import Shop, open_shop

STATUS_PAUSE_FACTOR = 10
MAX_STATUS_PAUSE_SECONDS = 1.0
"""After reading the store's status, the demo pauses this many times as long, up to a maximum."""

LOSSY_DIVISOR = 20
"""One in this many changes is sent in the phase with losses."""

LAUNCHED_DIVISOR = 50
"""One in this many products is launched in the phase with losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of the shop, the number of changes, and the seed from which both are made."""

    skus: int = 2_000
    changes: int = 50_000
    seed: int = 7

    @property
    def lossy_changes(self) -> int:
        """The number of changes in the phase with losses."""
        return self.changes // LOSSY_DIVISOR

    def sample(self) -> sample_shop.Shop:
        """The shop of this size."""
        return sample_shop.Shop(self.seed, self.skus, launched=self.skus // LAUNCHED_DIVISOR)


async def run_demo(size: Size, url: str, snapshots: Path, screen: Screen) -> Report:
    """Runs the whole demo on an empty store. Raises `ConfigurationError` if it is not empty.

    The sources write their snapshots into an existing folder.
    """
    sample = size.sample()
    text = sample.config(url, snapshots, requirements=is_installed("contracts"))
    log_observer = LogObserver()
    log_observer.warn = screen.note
    with log_observer.listening():
        async with open_shop(Config.parse(text, store=url)) as shop:
            await _check_empty(shop)
            return await _DemoRun(shop, size, sample, text, log_observer, screen).run_demo()


async def _check_empty(shop: Shop) -> None:
    used = await shop.store.log.end() > 0
    async for _ in shop.store.pages.keys():
        used = True
        break
    if used:
        problem = "the demo needs an empty store, because it checks everything in it"
        raise ConfigurationError("store.url", f"{shop.store.name} is in use; {problem}")


class _DemoRun:
    """One run of the demo."""

    def __init__(
        self, shop: Shop, size: Size, sample: sample_shop.Shop, config: str, log_observer: LogObserver, screen: Screen
    ) -> None:
        self._shop = shop
        self._size = size
        self._sample = sample
        self._config = config
        self._model = Model(tomllib.loads(config))
        self._screen = screen
        self._ledger = Ledger()
        self._next_status_at = 0.0
        channels = list(shop.config.channels)
        skus = [product.sku for product in (*sample.products, *sample.launched)]
        self._display = DisplayState(
            title=f"Halm & Faden, {size.skus:,} SKUs in {len(channels)} channels, on {shop.store.name}",
            channels=dict.fromkeys(channels, size.skus),
            ledger=self._ledger,
            log_observer=log_observer,
            storefront=Storefront(shop.pages, skus, channels),
            fold_rates=FoldRates(),
        )
        self._phase = LivePhase(shop, self._display, self._ledger)

    async def run_demo(self) -> Report:
        """Runs both phases and displays them. The phase with losses is skipped if a page is wrong."""
        loss_result, views = None, None
        changes = self._sample.changes(self._size.changes)
        with self._screen.showing():
            async with anyio.create_task_group() as group:
                group.start_soon(self._refresh_continuously)
                await self._send_changes(changes, self._size.changes - self._size.lossy_changes)
                verdict = await self._compare_pages()
                if not verdict.differing:
                    self._display.begin("Comparing views with the model", 0, "views")
                    views = await check_views(self._shop, self._model, self._config)
                    loss_result = await LossScenario(self._phase, self._sample, self._model).run_demo(
                        changes, self._size.lossy_changes
                    )
                    verdict = loss_result.after
                reads = await reads_a_second(self._shop, self._model)
                group.cancel_scope.cancel()
            self._next_status_at = 0.0
            await self._refresh()
        return await self._report(verdict, views, loss_result, reads)

    async def _send_changes(self, changes: Iterator[Document], count: int) -> None:
        """Delivers the catalog and a day's changes."""
        self._display.begin("Delivering and folding", sum(1 for _ in self._sample.catalog()) + count, "events")
        events = itertools.chain(self._sample.catalog(), itertools.islice(changes, count))
        await self._phase.deliver(inject_faults(events, Faults(), self._size.seed), self._model)

    async def _compare_pages(self) -> Verdict:
        self._display.begin(
            "Comparing with the model", len(self._sample.products) * len(self._display.channels), "pages"
        )
        return await self._phase.compare_pages(self._model)

    async def _refresh_continuously(self) -> None:
        while True:
            await self._refresh()
            await anyio.sleep(self._screen.pause)

    async def _refresh(self) -> None:
        started = time.perf_counter()
        if started >= self._next_status_at:
            status = self._display.status = await self._shop.status()
            self._display.fold_rates.update(status)
            self._next_status_at = started + min(
                (time.perf_counter() - started) * STATUS_PAUSE_FACTOR, MAX_STATUS_PAUSE_SECONDS
            )
        self._screen.show(self._display)

    async def _report(
        self, verdict: Verdict, views: ViewsVerdict | None, loss_result: LossResult | None, reads: float
    ) -> Report:
        status = await self._shop.status()
        events = loss_result.events if loss_result else {domain: self._model.events(domain) for domain in DOMAINS}
        counters = check_counters(status, events, self._ledger.conflicts)
        problems = problems_of(self._ledger, verdict, views, loss_result)
        return Report(
            seed=self._size.seed,
            skus=self._size.skus,
            changes=self._size.changes,
            store=self._shop.store.name,
            seconds=self._display.seconds,
            lines=self._ledger.lines,
            outcomes=dict(self._ledger.outcomes),
            faults=fault_reports(self._ledger),
            unexpected_count=self._ledger.unexpected_count,
            unexpected=self._ledger.unexpected,
            domains=status.domains,
            sections_written=dict(self._display.log_observer.written),
            pages=verdict,
            views=views,
            throughput=Throughput(
                lines=self._ledger.lines / self._phase.delivering,
                folded=self._ledger.outcomes["appended"] / self._phase.folding,
                reads=reads,
            ),
            rebuild=None if loss_result is None else await rebuild_report(self._shop, loss_result),
            product=await hot_product(self._shop, self._ledger.hottest()),
            problems=problems + counters,
        )
