"""Planning a change of the configuration, beside verifying the same pages: both fold every page from the log.

The change is a requirement set of one channel of four: its catalog sections get another field, so that a fourth of all
pages change. Verifying folds each page once, and compares it with the stored one; planning also folds the changed
catalog sections.
"""

import msgspec

import pagefold
from benchmarks.cpu_time import CpuCosts
from benchmarks.measurement import Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import CHANNELS, config
from pagefold import Config

PLAN, VERIFY = "plan", "verify"

CHANNEL = "web-de"
REQUIREMENTS = {"name": "benchmark", "requires": [{"attributes": ["name", "claim"]}]}


def changed(before: Config) -> Config:
    """The configuration with requirements in one channel."""
    channel = msgspec.structs.replace(before.channels[CHANNEL], requirements=[REQUIREMENTS])
    return msgspec.structs.replace(before, channels={**before.channels, CHANNEL: channel})


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Plans a change of the pages of a log of each size."""
    return [await _line(bench, stores, events) for events in bench.sizes]


async def _line(bench: Bench, stores: Stores, events: int) -> Line:
    url = await stores.log(events)
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()
        products = (await shop.plan(changed(shop.config))).plan.skus
        costs = CpuCosts("page")
        pages = products * len(CHANNELS)

        async def run_plan() -> Timed:
            watch = Stopwatch()
            with costs.measuring(PLAN, pages), watch:
                found = (await shop.plan(changed(shop.config), processes=None)).plan
            assert set(found.channels[CHANNEL].domains) == {"catalog"}
            assert found.changed == found.channels[CHANNEL].changed > 0
            return Timed(watch.seconds, pages)

        async def run_verify() -> Timed:
            watch = Stopwatch()
            with costs.measuring(VERIFY, pages), watch:
                found = await shop.replay(processes=None)
            assert found.changed == found.behind == 0
            return Timed(watch.seconds, pages)

        rates = await interleave([Side(PLAN, run_plan), Side(VERIFY, run_verify)], bench.rounds_of(events))
    claims = [ratio(rates, PLAN, VERIFY), costs.ratio(PLAN, VERIFY, at_least=0.8)]
    return Line("plan of a change in one channel", stores.name, events, "pages/s", spreads(rates), claims)
