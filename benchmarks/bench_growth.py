"""Growth: what more channels and sources, a longer log, larger payloads and longer streams cost.

Each line compares Pagefold with itself, with one thing grown and everything else the same. Nothing may be superlinear.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise

import pagefold
from benchmarks.measurement import Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import BEGINS, Workload, config, sku_of
from pagefold import Config, DomainEvent

EVENTS = 20_000
KEYS = 2_000
PIECES = 5

CHANNELS = (4, 40)
SOURCES = (5, 50)

LOGS = (100_000, 1_000_000, 3_000_000)

PAYLOAD_BYTES = (100, 1_000, 10_000, 100_000)
PAYLOAD_TOTAL = 20_000_000
"""Bytes of all payloads of one size."""

VERSIONS = 100_000
VERSIONS_PER_STEP = 500
"""Versions of one stream that are appended and folded together."""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """One line for each thing that grows."""
    return [
        await _more(bench, stores, "channels", {n: _with_channels(n) for n in CHANNELS}, at_least=0.5),
        await _reads(bench, stores),
        await _more(bench, stores, "sources", {n: _with_sources(n) for n in SOURCES}, at_least=1 / 1.5),
        await _log(bench, stores),
        await _payloads(bench, stores),
        await _versions(bench, stores),
    ]


def _with_channels(number: int) -> Callable[[str], Config]:
    return lambda url: config(url, channels=number)


def _with_sources(number: int) -> Callable[[str], Config]:
    return lambda url: config(url, sources=number)


async def _more(
    bench: Bench, stores: Stores, what: str, configurations: Mapping[int, Callable[[str], Config]], *, at_least: float
) -> Line:
    """One log, folded from nothing under configurations with few and with many of something."""
    url = await stores.log(_events(bench))
    sides = [
        Side(f"{number} {what}", _applying(stores, url, _events(bench), configuration))
        for number, configuration in configurations.items()
    ]
    rates = await interleave(sides, bench.rounds)
    claim = ratio(rates, sides[-1].name, sides[0].name, at_least=at_least)
    return Line(f"apply, more {what}", stores.name, _events(bench), "events/s", spreads(rates), [claim])


def _applying(
    stores: Stores, url: str, events: int, configuration: Callable[[str], Config]
) -> Callable[[], Awaitable[Timed]]:
    """Folds a whole log from nothing."""

    async def run() -> Timed:
        await stores.reset_pages(url)
        async with pagefold.open(configuration(url)) as shop:
            watch = Stopwatch()
            with watch:
                await shop.catch_up()
        return Timed(watch.seconds, events)

    return run


async def _log(bench: Bench, stores: Stores) -> Line:
    """Logs of several lengths, each folded from nothing."""
    sizes = [events // (200 if bench.quick else 1) for events in LOGS]
    sides = [
        Side(f"{events:,} events", _applying(stores, await stores.log(events), events, config)) for events in sizes
    ]
    rates = await interleave(sides, min(bench.rounds, 3))
    claims = [ratio(rates, long.name, short.name, at_least=0.8) for short, long in pairwise(sides)]
    return Line("apply, a longer log", stores.name, sizes[-1], "events/s", spreads(rates), claims)


async def _reads(bench: Bench, stores: Stores) -> Line:
    """Pages of one log under few and many channels, read one at a time."""
    keys = Workload().keys(KEYS // 10 if bench.quick else KEYS)
    log = await stores.log(_events(bench))
    sides: list[Side] = []
    copies: list[str] = []
    async with AsyncExitStack() as stack:
        for number in CHANNELS:
            copies.append(await stores.copy(log))
            await stores.reset_pages(copies[-1])
            shop = await stack.enter_async_context(pagefold.open(config(copies[-1], channels=number)))
            await shop.catch_up()
            sides.append(Side(f"{number} channels", _reading(shop, keys)))
        rates = await interleave(sides, bench.rounds, PIECES)
    for url in copies:
        await stores.drop(url)
    claim = ratio(rates, sides[-1].name, sides[0].name, at_least=0.9)
    return Line("read a page, more channels", stores.name, _events(bench), "pages/s", spreads(rates), [claim])


def _reading(shop: pagefold.Shop, keys: Sequence[tuple[str, str]]) -> Callable[[], Awaitable[Timed]]:
    async def run() -> Timed:
        watch = Stopwatch()
        with watch:
            for key in keys:
                await shop.pages.get_json(*key)
        return Timed(watch.seconds, len(keys))

    return run


async def _payloads(bench: Bench, stores: Stores) -> Line:
    """Catalog events of several sizes, appended and folded: bytes of payload a second."""
    sides: list[Side] = []
    for size in PAYLOAD_BYTES:
        events = [_catalog(number, size) for number in range(PAYLOAD_TOTAL // (20 if bench.quick else 1) // size)]
        sides.append(Side(f"{size:,} bytes", _appending(stores, events[: _events(bench)], size)))
    rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, large.name, small.name, at_least=0.8) for small, large in pairwise(sides)]
    return Line("append and apply, larger payloads", stores.name, 0, "bytes/s", spreads(rates), claims)


def _catalog(number: int, size: int) -> DomainEvent:
    payload = b'{"attributes":{"text":"%b"}}' % (b"x" * size)[: size - 28]
    return _event("catalog", sku_of(number), "pim", 1, payload)


def _appending(stores: Stores, events: Sequence[DomainEvent], size: int) -> Callable[[], Awaitable[Timed]]:
    """Appends in batches of about a megabyte, folds all of them, and counts bytes."""
    batch = max(1, min(5_000, 1_000_000 // size))

    async def run() -> Timed:
        url = await stores.new()
        async with pagefold.open(config(url)) as shop:
            watch = Stopwatch()
            with watch:
                for start in range(0, len(events), batch):
                    await shop.append(events[start : start + batch])
                await shop.catch_up()
        await stores.drop(url)
        return Timed(watch.seconds, len(events) * size)

    return run


async def _versions(bench: Bench, stores: Stores) -> Line:
    """One stream: its first tenth, and its last one, appended and folded in small steps."""
    count = VERSIONS // (50 if bench.quick else 1)
    tenth = count // 10
    rates: dict[str, list[float]] = {"first versions": [], "last versions": []}
    for _ in range(min(bench.rounds, 3)):
        url = await stores.new()
        async with pagefold.open(config(url)) as shop:
            rates["first versions"].append(await _step(shop, 0, tenth))
            for start in range(tenth, count - tenth, 5_000):
                await shop.append([_price(number) for number in range(start, min(start + 5_000, count - tenth))])
            await shop.catch_up()
            rates["last versions"].append(await _step(shop, count - tenth, count))
        await stores.drop(url)
    claim = ratio(rates, "last versions", "first versions", at_least=0.8)
    return Line("append and apply, a long stream", stores.name, count, "events/s", spreads(rates), [claim])


async def _step(shop: pagefold.Shop, begin: int, end: int) -> float:
    """The rate of appending and folding versions of one stream, in steps."""
    steps = range(begin, end, VERSIONS_PER_STEP)
    batches = [[_price(number) for number in range(start, min(start + VERSIONS_PER_STEP, end))] for start in steps]
    watch = Stopwatch()
    with watch:
        for batch in batches:
            await shop.append(batch)
            await shop.catch_up()
    return (end - begin) / watch.seconds


def _price(number: int) -> DomainEvent:
    payload = b'{"amount":"%d.00","currency":"EUR"}' % (number % 1_000)
    return _event("pricing", sku_of(0), "erp", number + 1, payload)


def _event(domain: str, sku: str, source: str, version: int, payload: bytes) -> DomainEvent:
    return DomainEvent(
        type=domain,
        sku=sku,
        channel="*",
        source=source,
        source_version=version,
        occurred_at=BEGINS + timedelta(milliseconds=version),
        payload=payload,
    )


def _events(bench: Bench) -> int:
    return EVENTS // 10 if bench.quick else EVENTS
