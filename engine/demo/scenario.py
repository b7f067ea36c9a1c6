"""The demo, act by act: sources deliver while consumers fold; then every page is compared with the model.

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
from pagefold.engine.demo.faults import Faults, deliver
from pagefold.engine.demo.live_phase import Stage
from pagefold.engine.demo.loss_scenario import LossScenario, Rebuilt
from pagefold.engine.demo.observers import Listener, Pace, Storefront
from pagefold.engine.demo.page_check import Verdict, check_counters, reads_a_second
from pagefold.engine.demo.reference_model import DOMAINS, Document, Model
from pagefold.engine.demo.report_data import Report, Throughput, fault_reports, hot_product, problems_of, rebuild_report
from pagefold.engine.demo.source_feeds import Ledger
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.shop import Shop, open_shop

LOOKS = 10
LONGEST_WAIT = 1.0
"""Looking at the status of the store takes one part in so many of the time; a look is never put off by more seconds."""

EVENING = 20
"""One in so many changes comes in the phase with losses."""

LAUNCHED = 50
"""One in so many products is launched in the phase with losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the shop is, how much happens in it, and, by its seed, which of all such shops it is."""

    skus: int = 2_000
    changes: int = 50_000
    seed: int = 7

    @property
    def lossy_changes(self) -> int:
        """How many of the changes come in the phase with losses."""
        return self.changes // EVENING

    def story(self) -> sample_shop.Shop:
        """The shop itself."""
        return sample_shop.Shop(self.seed, self.skus, launched=self.skus // LAUNCHED)


async def play(size: Size, url: str, snapshots: Path, screen: Screen) -> Report:
    """Plays the whole demo on an empty store. Raises `ConfigurationError` when it is not empty.

    The sources write their snapshots into a folder, which must be there.
    """
    story = size.story()
    text = story.config(url, snapshots)
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
        self, shop: Shop, size: Size, story: sample_shop.Shop, model: Model, listener: Listener, screen: Screen
    ) -> None:
        self._shop = shop
        self._size = size
        self._story = story
        self._model = model
        self._screen = screen
        self._ledger = Ledger()
        self._looked_until = 0.0
        channels = list(shop.config.channels)
        skus = [product.sku for product in (*story.products, *story.launched)]
        self._scene = DisplayState(
            title=f"Halm & Faden, {size.skus:,} SKUs in {len(channels)} channels, on {shop.store.name}",
            channels=dict.fromkeys(channels, size.skus),
            ledger=self._ledger,
            listener=listener,
            storefront=Storefront(shop.pages, skus, channels),
            pace=Pace(),
        )
        self._stage = Stage(shop, self._scene, self._ledger)

    async def play(self) -> Report:
        """Every phase in turn, while the screen shows it. A shop that is wrong gets no phase with losses."""
        rebuilt = None
        changes = self._story.changes(self._size.changes)
        with self._screen.showing():
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch)
                await self._trade(changes, self._size.changes - self._size.lossy_changes)
                verdict = await self._judge()
                if not verdict.differing:
                    rebuilt = await LossScenario(self._stage, self._story, self._model).play(
                        changes, self._size.lossy_changes
                    )
                    verdict = rebuilt.after
                reads = await reads_a_second(self._shop, self._model)
                group.cancel_scope.cancel()
            self._looked_until = 0.0
            await self._look()
        return await self._report(verdict, rebuilt, reads)

    async def _trade(self, changes: Iterator[Document], count: int) -> None:
        """The catalog, and the day's changes."""
        self._scene.begin("Delivering and folding", sum(1 for _ in self._story.catalog()) + count, "events")
        said = itertools.chain(self._story.catalog(), itertools.islice(changes, count))
        await self._stage.deliver(deliver(said, Faults(), self._size.seed), self._model)

    async def _judge(self) -> Verdict:
        self._scene.begin("Comparing with the model", len(self._story.products) * len(self._scene.channels), "pages")
        return await self._stage.judge(self._model)

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

    async def _report(self, verdict: Verdict, rebuilt: Rebuilt | None, reads: float) -> Report:
        status = await self._shop.status()
        events = rebuilt.events if rebuilt else {domain: self._model.events(domain) for domain in DOMAINS}
        counters = check_counters(status, events, self._ledger.conflicts)
        problems = problems_of(self._ledger, verdict, rebuilt)
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
            throughput=Throughput(
                lines=self._ledger.lines / self._stage.delivering,
                folded=self._ledger.outcomes["appended"] / self._stage.folding,
                reads=reads,
            ),
            rebuild=None if rebuilt is None else await rebuild_report(self._shop, rebuilt),
            product=await hot_product(self._shop, self._ledger.hottest()),
            problems=problems + counters,
        )
