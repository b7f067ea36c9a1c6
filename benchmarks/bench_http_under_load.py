"""Page reads over HTTP while the shop is at work, beside those of the same server when it is quiet.

`pagefold serve --work` has everything to do, on one core: it reads pages, takes events and folds them. `wrk` asks for
pages at a steady pace, well below what the server could do, so that what is measured is how long one of them waits.
Pages change while some hundred events a second are posted, one a request. Too much is posted when a crowd sends large
requests as fast as they are answered: some of them are refused for the moment, and reads should not suffer.
"""

import asyncio
import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pagefold
from benchmarks.event_poster import TAKEN, TOO_MUCH, posting, request_of
from benchmarks.measurement import Claim, Line, Spread
from benchmarks.run_settings import Bench, caught_up
from benchmarks.server_processes import run_pagefold
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config
from benchmarks.wrk_client import Asked, Load, ask, is_missing, load_of, pages_of

PAGES = 4_000
SECONDS = 5
PAUSE = 20
"""Milliseconds of rest: 32 connections ask some 1,500 times a second then."""

RATE, PACED = 500, 10
"""Events a second while pages change, and the connections on which they are posted."""

CROWD, LARGE, LESS = 128, 1_000, 100
"""Connections of those who post too much, and events in each of their requests; fewer where it has to be quick."""

SECONDS_TO_BEGIN = 60
"""Until somebody is refused."""

MADE = 2 * CROWD
"""How many of their requests are made before the clock starts; more are made while it runs."""


class Turn(NamedTuple):
    """What was asked in one turn, and what became of what was posted meanwhile."""

    asked: Asked
    answers: Counter[int]


class Server(NamedTuple):
    """A server, the store that it has, how it is asked, the changes that it has not seen, and how many are too many."""

    address: str
    url: str
    load: Load
    changes: Workload
    large: int

    async def quiet(self) -> Turn:
        """Nothing is posted."""
        return Turn(await ask(self.address, self.load), Counter())

    async def changing(self) -> Turn:
        """A change is posted at a time."""
        made = self._requests(1, RATE * self.load.seconds)
        return await self._beside(made, PACED, PACED / RATE, TAKEN)

    async def overloaded(self) -> Turn:
        """More is posted than can be taken."""
        return await self._beside(self._requests(self.large, MADE), CROWD, 0, TOO_MUCH)

    async def _beside(self, requests: Iterator[bytes], connections: int, seconds: float, first: int) -> Turn:
        """Asks once somebody has got such an answer."""
        async with posting(self.address, requests, connections, seconds) as answers:
            async with asyncio.timeout(SECONDS_TO_BEGIN):
                while not answers[first]:  # noqa: ASYNC110  # whoever posts counts, and tells nobody
                    await asyncio.sleep(0.01)
            before = answers.copy()
            asked = await ask(self.address, self.load)
            found = Turn(asked, answers - before)
        async with pagefold.open(config(self.url)) as shop:
            await caught_up(shop)
        return found

    def _requests(self, size: int, made: int) -> Iterator[bytes]:
        """Requests without end, so many of them at once."""
        endless = (request_of(self.changes.take(size)) for _ in itertools.count())
        return itertools.chain(list(itertools.islice(endless, made)), endless)


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size, which grows."""
    if is_missing():
        return []
    events = min(bench.sizes)
    turns: dict[str, list[Turn]] = defaultdict(list)
    async with _serving(bench, stores, events) as server:
        for _ in range(bench.rounds):
            turns["quiet"].append(await server.quiet())
            turns["changing"].append(await server.changing())
            turns["overloaded"].append(await server.overloaded())
    seconds = server.load.seconds
    changed = Spread.of([turn.answers[TAKEN] / seconds for turn in turns["changing"]])
    taken = Spread.of([server.large * turn.answers[TAKEN] / seconds for turn in turns["overloaded"]])
    refused = Spread.of([turn.answers[TOO_MUCH] / seconds for turn in turns["overloaded"]])
    notes = {
        "changing": f"{changed.median:,.0f} events/s, one a request",
        "overloaded": f"{taken.median:,.0f} events/s taken, {refused.median:.1f} of {server.large:,} a second refused",
    }
    names = {"changing": "while pages change", "overloaded": "while too much is posted"}
    return [
        Line(
            f"read a page over HTTP, {names[busy]}",
            stores.name,
            events,
            "ms",
            _sides(turns["quiet"], "quiet") | _sides(turns[busy], busy),
            _claims(turns["quiet"], turns[busy]),
            notes[busy],
        )
        for busy in names
    ]


@asynccontextmanager
async def _serving(bench: Bench, stores: Stores, events: int) -> AsyncIterator[Server]:
    """A server with a copy of the log, and everything folded."""
    url = await stores.copy(await stores.log(events))
    changes = Workload()
    for _ in changes.batches(events):
        pass  # the log has them
    pages = await pages_of(url, PAGES)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        load = load_of(Path(folder), pages, 1 if bench.quick else SECONDS, PAUSE)
        async with run_pagefold(url, Path(folder), "--work") as address:
            yield Server(address, url, load, changes, LESS if bench.quick else LARGE)
    await stores.drop(url)


def _sides(turns: Sequence[Turn], name: str) -> dict[str, Spread]:
    return {
        f"{name} p50": Spread.of([turn.asked.p50 for turn in turns]),
        f"{name} p99": Spread.of([turn.asked.p99 for turn in turns]),
    }


def _claims(quiet: Sequence[Turn], busy: Sequence[Turn]) -> list[Claim]:
    pairs = [(one.asked, two.asked) for one, two in zip(busy, quiet, strict=True)]
    return [
        Claim("× the quiet p50", Spread.of([one.p50 / two.p50 for one, two in pairs])),
        Claim("× the quiet p99", Spread.of([one.p99 / two.p99 for one, two in pairs])),
    ]
