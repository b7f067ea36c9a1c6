"""Channels with contracts and requirements: a log folded for them, and for channels that have neither.

Products have 50 attributes, of which 5 are texts in three languages. The contract shows 50 under the channel's names:
37 renamed, 10 looked up, 3 computed. The requirement set asks for 45 of them, 5 in the channel's own language and 10 by
a rule.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import chain

import pagefold
from benchmarks.cpu_time import CpuCosts
from benchmarks.measurement import Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config
from pagefold import DomainEvent

EVENTS = 20_000
CODES, NUMBERS, TEXTS, FEATURES = range(10), range(5), range(5), range(30)
COLORS = 500

PLAIN, SHOWN = "channels without", "with contracts"


class RichProducts(Workload):
    """The workload, whose products have 50 attributes. With `catalog_alone`, nothing else changes."""

    def __init__(self, *, catalog_alone: bool) -> None:
        super().__init__()
        self._catalog_alone = catalog_alone

    def changes(self, count: int) -> Iterator[DomainEvent]:
        """The next changes."""
        found = chain.from_iterable(self.batches(count if not self._catalog_alone else count * 8))
        wanted = (each for each in found if not self._catalog_alone or each.type == "catalog")
        return (each for _, each in zip(range(count), wanted, strict=False))

    def _catalog(self, chance: int) -> tuple[str, str, str]:
        phrase, other = self._phrases[chance % 256], self._phrases[chance // 256 % 256]
        attributes: list[str] = [f'"feature{n}":"{phrase[n:][: 12 + (chance + n) % 24]}"' for n in FEATURES]
        attributes += [f'"code{n}":"c{(chance + n) % COLORS}"' for n in CODES]
        attributes += [f'"number{n}":{chance % 4_000 + n}' for n in NUMBERS]
        texts = [f'"text{n}":{{"de":"{other[:24]}","en":"{phrase[:30]}","fr":"{other[-24:]}"}}' for n in TEXTS]
        place = f'"categories":["home/textiles","models/m{chance % 500}"],"family":"textiles"'
        payload = f'{{"attributes":{{{",".join(attributes)}}},{place},"localized":{{{",".join(texts)}}}}}'
        return "pim", "*", payload


def contract() -> dict[str, object]:
    """The contract of every channel."""
    attributes: dict[str, object] = {f"name_{n}": f"text{n}" for n in TEXTS}
    attributes |= {f"shown_{n}": f"feature{n}" for n in FEATURES if n >= 3}  # the first are computed
    attributes |= {f"title_{n}": {"computed": f"{{{{ feature{n} }}}} ({{{{ number{n} }}}})"} for n in range(3)}
    attributes |= {f"count_{n}": f"number{n}" for n in NUMBERS}
    attributes |= {f"color_{n}": {"from": f"code{n}", "lookup": "colors"} for n in CODES if n % 2}
    attributes |= {f"label_{n}": {"from": f"code{n}", "translate": "labels"} for n in CODES if n % 2 == 0}
    tables = {"colors": {"rows": {f"c{n}": f"Color {n}" for n in range(COLORS)}}, "labels": {"rows": labels()}}
    return {"name": "benchmark", "version": 1, "attributes": attributes, "tables": tables}


def labels() -> dict[str, dict[str, str]]:
    """Texts in three languages, by code."""
    return {f"c{n}": {"de": f"Farbe {n}", "en": f"Color {n}", "fr": f"Couleur {n}"} for n in range(COLORS)}


def requirements() -> dict[str, object]:
    """The requirement set of every channel."""
    names = [f"name_{n}" for n in TEXTS]
    plain = [f"shown_{n}" for n in FEATURES if n >= 3] + [f"title_{n}" for n in range(3)]
    ruled = [f"count_{n}" for n in NUMBERS], [f"color_{n}" for n in CODES if n % 2]
    return {
        "name": "benchmark",
        "requires": [
            {"attributes": plain},
            {"attributes": names, "locale": "channel"},
            {"attributes": ruled[0], "check": {"min": 0}},
            {"attributes": ruled[1], "check": {"max_length": 40}, "severity": "warns"},
        ],
    }


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """All domains in their usual shares, and the catalog alone, in which each event passes the contract."""
    return [await _line(bench, stores, catalog_alone=alone) for alone in (False, True)]


async def _line(bench: Bench, stores: Stores, *, catalog_alone: bool) -> Line:
    events = EVENTS // (200 if bench.quick else 1)
    plain = await stores.new()
    await stores.fill(plain, RichProducts(catalog_alone=catalog_alone).changes(events))
    shown = await stores.copy(plain)
    more = {"contract": contract(), "requirements": [requirements()]}
    costs = CpuCosts()
    sides = [
        Side(name, await _folding(stores, url, events, said, costs, name))
        for name, url, said in ((PLAIN, plain, {}), (SHOWN, shown, more))
    ]
    rates = await interleave(sides, bench.rounds)
    for url in (plain, shown):
        await stores.drop(url)
    name = "apply, channels with contracts" + (", catalog alone" if catalog_alone else "")
    claims = [ratio(rates, SHOWN, PLAIN), costs.ratio(SHOWN, PLAIN, at_least=None if catalog_alone else 0.6)]
    return Line(name, stores.name, events, "events/s", spreads(rates), claims)


async def _folding(
    stores: Stores, url: str, events: int, shown: Mapping[str, object], costs: CpuCosts, side: str
) -> Callable[[], Awaitable[Timed]]:
    """Folds the whole log for channels that show this, which its log says already: nothing is planned."""
    async with pagefold.open(config(url, shown=shown)) as shop:
        await shop.catch_up()

    async def run() -> Timed:
        await stores.reset_pages(url)
        async with pagefold.open(config(url, shown=shown)) as shop:
            watch = Stopwatch()
            with costs.measuring(side, events), watch:
                await shop.catch_up()
        return Timed(watch.seconds, events)

    return run
