"""Feeds, clocks and processes that fail: nothing is lost, nothing stated twice, nothing withdrawn; on both stores."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration import endpoint_config
from pagefold.engine.errors import SourceFailed, SyncInProgress
from pagefold.engine.events import NULL
from pagefold.engine.intake.canonical_payloads import content_of
from pagefold.engine.schedule import scheduler
from pagefold.engine.schedule.scheduler import Scheduler
from pagefold.engine.stores.schedule_records import KEPT_RUNS
from pagefold.engine.sync import delta_sync
from pagefold.engine.sync.delta_sync import DeltaSync
from tests.support.command_line import PROGRAM
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.small_shop import section
from tests.sync.test_delta_sync import NOON, Clock, Feed, configured

CONTRACT = {
    "sku": "code",
    "sourceVersion": "rev",
    "occurredAt": "updated",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "price"},
}
SKUS = [f"SKU-{number}" for number in range(9)]
OVERLAP = timedelta(minutes=5)


class Source(Feed):
    """A source of prices with a version each. Its own clock goes on; some changes show late."""

    def __init__(self) -> None:
        super().__init__()
        self.at = NOON
        self.versions: Counter[str] = Counter()
        self.hidden: set[str] = set()
        self.asked = 0

    def say(self, *skus: str) -> None:
        """These prices change, a second after the other."""
        for sku in skus:
            self.at += timedelta(seconds=1)
            self.versions[sku] += 1
            self.change(sku, self.at, f"{self.versions[sku]}.00")
            self.records[-1]["rev"] = self.versions[sku]

    def rows(self, asked: Asked) -> list[dict[str, Any]]:
        """What it has that changed since a time, without what shows late."""
        found = [each for each in self.records if each["updated"] >= asked.query["since"]]
        return sorted((each for each in found if each["code"] not in self.hidden), key=lambda each: each["updated"])

    def __call__(self, asked: Asked) -> Reply:
        """A page."""
        self.asked += 1
        if (reply := self.broken(asked)) is not None:
            return reply
        rows, page = self.rows(asked), int(asked.query.get("page", "1"))
        return answer(rows[self.pages * (page - 1) : self.pages * page], len(rows))


def answer(rows: Sequence[object], total: int) -> Reply:
    """A page with its total."""
    return Reply(orjson.dumps({"items": rows, "total": total}))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after two requests; steps are of one event."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 2)
    monkeypatch.setattr(delta_sync, "STEP_EVENTS", 1)


class Asking:
    """A shop and the source that it asks."""

    def __init__(self, shop: Shop, source: Source) -> None:
        self.shop = shop
        self.source = source
        self.clock = Clock()

    async def sync(self) -> Any:  # noqa: ANN401  # a `SyncReport`
        """Asks once."""
        return await DeltaSync(self.shop, self.clock).run("erp")

    async def is_whole(self) -> None:
        """After a last run, pages are those of the source; the log has each version once, and no withdrawal."""
        self.source.broken, self.source.hidden = lambda _asked: None, set()
        self.clock.at = self.source.at + timedelta(seconds=1)
        await self.sync()
        await self.shop.catch_up()
        for sku in self.source.versions:
            assert (await section(self.shop, "pricing", sku=sku))["amount"] == f"{self.source.versions[sku]}.00"
        end = await self.shop.store.log.end()
        events = await self.shop.store.log.window("pricing", 0, end)
        keys = [(each.originator_id, each.originator_version) for each in events]
        assert len(keys) == len(set(keys))
        assert not [each for each in events if content_of(each) == NULL]
        assert await self.shop.dead_letters.count() == 0


@asynccontextmanager
async def asking_at(store_url: str, **settings: object) -> AsyncIterator[Asking]:
    """A shop and its source."""
    source = Source()
    async with serving(source) as server:
        config = configured(store_url, server, source="erp", contract=CONTRACT, **settings)
        async with pagefold.open(config) as shop:
            yield Asking(shop, source)


@pytest.fixture
async def asking(store_url: str) -> AsyncIterator[Asking]:
    """A shop and its source."""
    async with asking_at(store_url) as found:
        yield found


# --- processes that die ---------------------------------------------------------------------------


async def test_a_process_that_dies_at_any_page(asking: Asking) -> None:
    """While a page is fetched, however many came before."""
    for number in range(1, 7):
        asking.source.say(*SKUS)
        asking.source.asked = 0
        with anyio.CancelScope() as scope:
            asking.source.broken = dying_at(asking.source, number, scope)
            await asking.sync()
        assert scope.cancelled_caught == (number <= 5)
    await asking.is_whole()


def dying_at(source: Source, number: int, scope: anyio.CancelScope) -> Callable[[Asked], None]:
    """Ends whoever asks for this page."""

    def died(_asked: Asked) -> None:
        if source.asked == number:
            scope.cancel()

    return died


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_process_that_dies_at_any_append(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, *, is_committed: bool
) -> None:
    """Before the transaction of any event or note, or after it and before it hears of that."""
    append = asking.shop.append_noted
    number = 0
    while True:
        number += 1
        asking.source.say(*SKUS[: 1 + number % 4])
        left = number

        async def dying(*arguments: Any) -> Any:  # noqa: ANN401  # of the method
            nonlocal left
            left -= 1
            if left == 0 and not is_committed:
                raise ProcessLookupError
            found = await append(*arguments)
            if left == 0:
                raise ProcessLookupError
            return found

        monkeypatch.setattr(asking.shop, "append_noted", dying)
        with suppress(ProcessLookupError):
            await asking.sync()
        if left > 0:
            break
    assert number > 5
    monkeypatch.setattr(asking.shop, "append_noted", append)
    await asking.is_whole()


# --- feeds that fail ------------------------------------------------------------------------------


def repeats(source: Source, asked: Asked) -> Reply:
    """Each row twice, and the last row of a page again on the next one."""
    rows = [each for each in source.rows(asked) for _ in range(2)]
    start = max(0, 4 * (int(asked.query.get("page", "1")) - 1) - 1)
    return answer(rows[start : start + 5], len(rows))


def goes_back(source: Source, asked: Asked) -> Reply:
    """The newest first, and then versions of before, with their old prices and times."""
    rows = list(reversed(source.rows(asked)))
    old = [{**each, "rev": each["rev"] - 1, "price": f"{each['rev'] - 1}.00"} for each in rows if each["rev"] > 1]
    return answer([*rows, *old], len(rows) + len(old)) if asked.query.get("page", "1") == "1" else answer([], 0)


def is_empty(_source: Source, _asked: Asked) -> Reply:
    """It says that nothing changed."""
    return answer([], 0)


def skips(source: Source, asked: Asked) -> Reply:
    """It says how many there are, and leaves some out."""
    rows = source.rows(asked)
    return answer(rows[1:] if asked.query.get("page", "1") == "1" else [], len(rows))


def is_cut(source: Source, asked: Asked) -> Reply:
    """The connection ends in a page."""
    rows = source.rows(asked)
    return answer(rows, len(rows) + 1)._replace(cut=40) if rows else answer([], 0)


def says_error(_source: Source, _asked: Asked) -> Reply:
    """It answers 200, with an error."""
    return Reply(b'{"error":"down for maintenance"}')


def is_html(_source: Source, _asked: Asked) -> Reply:
    """A proxy answers 200, with a page of its own."""
    return Reply(b"<html>We will be back</html>", headers={"content-type": "text/html"})


def is_busy(_source: Source, _asked: Asked) -> Reply:
    """It has no time."""
    return Reply(status=503)


FAULTS = [repeats, goes_back, is_empty, skips, is_cut, says_error, is_html, is_busy]


def faulty(source: Source, fault: Callable[[Source, Asked], Reply], page: int = 1) -> Callable[[Asked], Reply | None]:
    """A feed that has a fault from a page on."""
    return lambda asked: fault(source, asked) if int(asked.query.get("page", "1")) >= page else None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("page", [1, 2])
async def test_a_feed_that_fails(asking: Asking, fault: Callable[[Source, Asked], Reply], page: int) -> None:
    """Three runs of it; what it says afterwards makes up for it."""
    asking.source.say(*SKUS)
    await asking.sync()
    for _ in range(3):
        asking.source.say(*SKUS[2:7])
        asking.source.broken = faulty(asking.source, fault, page)
        asking.clock.at = asking.source.at
        with suppress(SourceFailed):
            await asking.sync()
    await asking.is_whole()


async def test_changes_that_show_late(asking: Asking) -> None:
    """As late as the overlap: the run that comes after it asks for them again."""
    asking.source.say(*SKUS)
    asking.source.hidden = {SKUS[0], SKUS[4]}
    await asking.sync()
    asking.source.say(*SKUS[5:])
    await asking.sync()
    await asking.is_whole()


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [365, 2, -2, -365])
async def test_a_clock_that_is_wrong_at_the_first_run(store_url: str, days: int) -> None:
    """Without `start`, the first run asks since a day before it; once the clock is right, so does the next one."""
    async with asking_at(store_url, start=None) as asking:
        asking.source.say(*SKUS[:4])
        asking.clock.at = NOON + timedelta(days=days)
        await asking.sync()
        asking.source.say(*SKUS[4:])
        await asking.is_whole()


async def test_a_clock_that_jumps_between_runs(asking: Asking) -> None:
    """In both directions, by an hour and by years."""
    for jump in (1, -1, 24 * 400, -24 * 400, -2, 24 * 30):
        asking.source.say(*SKUS[::2])
        asking.clock.at = asking.source.at + timedelta(hours=jump)
        await asking.sync()
    await asking.is_whole()


# --- several at once ------------------------------------------------------------------------------


async def test_two_syncs_without_a_claim(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that froze takes its claim for its own: both append, one of them learns that it lost."""
    asking.source.say(*SKUS)

    @asynccontextmanager
    async def claim(_name: str) -> AsyncIterator[bool]:
        yield True

    monkeypatch.setattr(asking.shop.store.coordination, "claim", claim)
    lost: list[SyncInProgress] = []

    async def sync() -> None:
        try:
            await asking.sync()
        except SyncInProgress as error:
            lost.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(sync)
        group.start_soon(sync)
    assert len(lost) == 1
    await asking.is_whole()


async def test_two_schedulers(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them asks, as often as it should; when it ends, the other does."""
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(scheduler, "RETRY_SECONDS", 0.01)
    async with asking_at(store_url, every=0.05) as asking, pagefold.open(asking.shop.config) as other:
        asking.source.say(*SKUS)
        async with anyio.create_task_group() as group:
            first = anyio.CancelScope()
            group.start_soon(_scheduling, asking.shop, first)
            group.start_soon(_scheduling, other, anyio.CancelScope())
            for number in (3, 6, 9):
                await _until_ran(asking.shop, number)
                asking.source.say(SKUS[number - 3])
                first.cancel()
            group.cancel_scope.cancel()
        runs = await asking.shop.store.schedule.newest(KEPT_RUNS, "sync erp")
        for later, earlier in pairwise(runs):
            assert earlier.ended_at is not None
            assert earlier.ended_at <= later.started_at
        await asking.is_whole()


async def _until_ran(shop: Shop, number: int) -> None:
    """Waits until the ERP was asked so often."""
    with anyio.fail_after(30):
        while len(await shop.store.schedule.newest(KEPT_RUNS, "sync erp")) < number:  # noqa: ASYNC110  # it is a store
            await anyio.sleep(0.01)


async def _scheduling(shop: Shop, scope: anyio.CancelScope) -> None:
    with scope:
        await Scheduler(shop).run()


# --- everything together --------------------------------------------------------------------------


async def _worse(asking: Asking, dice: random.Random) -> None:
    """A run in which anything may go wrong."""
    asking.source.say(*dice.sample(SKUS, dice.randrange(1, len(SKUS))))
    asking.source.hidden = set(dice.sample(SKUS, dice.randrange(3)))
    asking.source.asked = 0
    asking.clock.at = asking.source.at + timedelta(hours=dice.choice([0, 0, 0, 1, -1, 10_000, -10_000]))
    with anyio.CancelScope() as scope, suppress(SourceFailed):
        asking.source.broken = dice.choice(
            [
                lambda _asked: None,
                dying_at(asking.source, dice.randrange(1, 6), scope),
                faulty(asking.source, dice.choice(FAULTS), dice.randrange(1, 4)),
            ]
        )
        await asking.sync()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_goes_wrong(asking: Asking, seed: int) -> None:
    """Many runs, each with a fault, a clock and an end of its own."""
    dice = random.Random(seed)
    for _ in range(25):
        await _worse(asking, dice)
    await asking.is_whole()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + SOAK_ROUNDS))
async def test_whatever_goes_wrong_for_a_long_time(asking: Asking, seed: int) -> None:
    """The same with other random choices each time."""
    dice = random.Random(seed)
    for _ in range(100):
        await _worse(asking, dice)
    await asking.is_whole()


# --- kill -9 --------------------------------------------------------------------------------------

TOML = """
[store]
url = "STORE"
[sources.erp]
domains = ["pricing"]
[sources.erp.delta]
url = "URL/prices?since={since}"
items = "items"
total = "total"
paging = { parameter = "page" }
start = "2026-07-01T00:00:00Z"
requests_per_second = 1000.0
[sources.erp.contract]
sku = "code"
sourceVersion = "rev"
occurredAt = "updated"
pricing = { currency = { constant = "EUR" }, amount = "price" }
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + max(1, SOAK_ROUNDS // 10)))
async def test_kill_minus_nine(store_url: str, tmp_path: Path, seed: int) -> None:
    """`pagefold sync` is killed at random moments, while the source changes and some of its pages are slow."""
    dice, source = random.Random(seed), Source()
    async with serving(source) as server:
        (tmp_path / "pagefold.toml").write_text(TOML.replace("STORE", store_url).replace("URL", server.url))
        config = Config.load(tmp_path / "pagefold.toml")
        async with pagefold.open(config) as shop:
            asking = Asking(shop, source)
            for _ in range(20):
                source.say(*dice.sample(SKUS, 5))
                source.broken = slow(source, dice.uniform(0.0, 0.1))
                async with await anyio.open_process([*PROGRAM, "sync"], cwd=tmp_path) as process:
                    with anyio.move_on_after(dice.uniform(0.5, 2.0)):
                        await process.wait()
                    with suppress(ProcessLookupError):
                        process.kill()
            await asking.is_whole()


def slow(source: Source, seconds: float) -> Callable[[Asked], Reply]:
    """A source whose pages take a while."""

    def reply(asked: Asked) -> Reply:
        rows, page = source.rows(asked), int(asked.query.get("page", "1"))
        return answer(rows[2 * (page - 1) : 2 * page], len(rows))._replace(delay=seconds)

    return reply
