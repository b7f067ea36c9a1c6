"""Consumers that are up to date read the end of the log once for all of them, on both stores."""

import time

import anyio
import pytest

from pagefold import Shop
from pagefold.engine.consumers.recent_events import (
    MAX_KEPT_EVENTS,
    MAX_KEPT_SECONDS,
    MAX_READ_EVENTS,
    REST_SECONDS,
    RecentEvents,
)
from pagefold.engine.stores.log_records import LoggedEvent, TouchedStreams
from pagefold.engine.stores.store import Store
from tests.support.small_shop import Raw, insert

LONG = 60.0


class CountedLog:
    """A log that counts how often its end was read."""

    def __init__(self, store: Store) -> None:
        self._log = store.log
        self.reads = self.finds = 0

    async def next_events(self, after: int, limit: int) -> list[LoggedEvent]:
        """As the log."""
        self.reads += 1
        found = await self._log.next_events(after, limit)
        self.finds += bool(found)
        return found

    def __getattr__(self, name: str) -> object:
        """As the log."""
        return getattr(self._log, name)


async def read(events: RecentEvents, domain: str = "inventory", after: int = 0, seconds: float = 0.05) -> None:
    """Waits as a consumer at a position does."""
    with anyio.fail_after(20):
        await events.wait(domain, after, seconds)


async def test_nothing_is_known_before_the_first_read(store: Store) -> None:
    """A consumer that starts reads the log itself."""
    await insert(store, "A")
    assert RecentEvents(store.log).window("inventory", 0) is None


async def test_a_window_is_what_the_log_would_give(store: Store) -> None:
    """For each domain and from each position that is known; below, it is unknown."""
    await insert(store, "A")
    await store.log.insert([Raw("B", state=b"{1}"), Raw("B", 2, state=b"{22}"), Raw("P", topic="pricing"), Raw("A", 2)])
    events = RecentEvents(store.log)
    await read(events, after=1)
    assert events.end == await store.log.end()
    for domain in ("inventory", "pricing", "media"):
        for after in range(1, events.end + 1):
            assert events.window(domain, after) == await store.log.touched(domain, after, 100)
    assert events.window("inventory", 0) is None
    assert events.window("inventory", events.end + 5) == TouchedStreams([], 0, 0, events.end + 5, 0)


async def test_one_read_serves_all_that_wait(store: Store) -> None:
    """Those whose domain has new events are woken at once, the others when no more events come."""
    log = CountedLog(store)
    events = RecentEvents(log)  # type: ignore[arg-type]  # as the log
    woken: list[str] = []

    async def wait(domain: str) -> None:
        await events.wait(domain, 0, LONG)
        woken.append(domain)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for domain in ("catalog", "pricing", "inventory", "media"):
                group.start_soon(wait, domain)
            await anyio.sleep(0.1)
            assert woken == []
            before = log.reads
            await store.log.insert([Raw("P", topic="pricing"), Raw("A")])
    assert sorted(woken[:2]) == ["inventory", "pricing"]
    assert sorted(woken[2:]) == ["catalog", "media"]
    assert log.reads - before < 15  # polls of one reader, not of four


@pytest.mark.parametrize("cancelled", range(4))
async def test_whoever_reads_may_leave(store: Store, cancelled: int) -> None:
    """Another one that waits then reads the log."""
    events = RecentEvents(store.log)
    scopes = [anyio.CancelScope() for _ in range(4)]
    woken: list[int] = []

    async def wait(number: int) -> None:
        with scopes[number]:
            await events.wait("inventory", 0, LONG)
            woken.append(number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(wait, number)
            await anyio.sleep(0.05)
            scopes[cancelled].cancel()
            await anyio.sleep(0.05)
            await insert(store, "A")
    assert sorted(woken) == [number for number in range(4) if number != cancelled]


async def test_events_that_come_fast_are_read_together(store: Store) -> None:
    """After a read that found something, the next one waits a moment; an event after a pause is found at once."""
    log = CountedLog(store)
    events = RecentEvents(log)  # type: ignore[arg-type]  # as the log
    position, started = 0, time.monotonic()
    async with anyio.create_task_group() as group:

        async def append() -> None:
            for number in range(40):
                await insert(store, f"S{number}")
            group.cancel_scope.cancel()

        group.start_soon(append)
        while True:
            await events.wait("inventory", position, LONG)
            position = max(position, events.end)
    assert 1 <= log.finds <= (time.monotonic() - started) / REST_SECONDS + 2


@pytest.mark.parametrize("number", [MAX_READ_EVENTS, 2 * MAX_READ_EVENTS + 1])
async def test_a_backlog_is_left_to_the_consumers(store: Store, number: int) -> None:
    """One that is behind reads its own windows: nothing of a large read is kept, and it is not waited for."""
    await store.log.insert([Raw(f"S{each}") for each in range(number)])
    events = RecentEvents(store.log)
    started = time.monotonic()
    await read(events, seconds=LONG)
    assert time.monotonic() - started < LONG / 2
    assert events.window("inventory", 0) is None
    assert events.window("inventory", number) in (None, TouchedStreams([], 0, 0, number, 0))


async def test_memory_is_bounded(store: Store) -> None:
    """A consumer that is busy for long finds that its events are no longer kept, and reads the log."""
    events = RecentEvents(store.log)
    position = 0
    await read(events, "pricing", seconds=0.01)
    while position <= MAX_KEPT_EVENTS + MAX_READ_EVENTS:
        await store.log.insert([Raw(f"S{position}-{each}") for each in range(MAX_READ_EVENTS - 1)])
        position = await store.log.end()
        await read(events, "media", events.end, seconds=0.03)
        if events.window("inventory", 0) is None:
            break
    assert events.window("inventory", 0) is None


async def test_events_are_kept_for_a_moment_only(store: Store) -> None:
    """By then the log may be another one: a consumer that was busy reads it. What it has seen is not read again."""
    events = RecentEvents(store.log)
    events.restart(0)
    await insert(store, "A")
    await read(events)
    assert events.window("inventory", 0) == TouchedStreams(["A"], 1, 1, 1, 2)
    await anyio.sleep(MAX_KEPT_SECONDS + 0.05)
    assert events.window("inventory", 0) is None
    assert events.window("inventory", 1) == TouchedStreams([], 0, 0, 1, 0)
    await insert(store, "B")
    await read(events, after=1)
    assert events.window("inventory", 1) == TouchedStreams(["B"], 1, 1, 2, 2)
    assert events.window("inventory", 0) is None


async def test_a_shorter_log_is_followed_from_its_end(store: Store) -> None:
    """After a recovery, positions that were read do not count."""
    await store.log.insert([Raw(f"S{each}") for each in range(5)])
    events = RecentEvents(store.log)
    await read(events, after=5)
    await insert(store, "A")
    await read(events, after=5)
    assert events.end == 6
    await read(events, after=2)
    assert events.window("inventory", 2) == await store.log.touched("inventory", 2, 100)
    started = time.monotonic()
    await read(events, after=9, seconds=0.2)
    assert time.monotonic() - started > 0.15


async def test_a_stream_of_no_sku_is_passed_by(shop: Shop) -> None:
    """An application's stream may have the topic of a domain: alone, it gives nothing to fold."""
    async with shop.working():
        for version in (1, 2, 3):
            [position] = await insert(shop.store, "an-application", version=version)
            with anyio.fail_after(10):
                while await checkpoint(shop) < position:  # noqa: ASYNC110  # the store has no event for it
                    await anyio.sleep(0.02)


async def checkpoint(shop: Shop) -> int:
    """How far inventory is folded."""
    return {each.domain: each.position for each in await shop.store.coordination.checkpoints()}.get("inventory", 0)


async def test_all_are_woken_when_no_more_events_come(store: Store) -> None:
    """Those of other domains, too: their checkpoints can follow. Once; then they wait for their time."""
    events = RecentEvents(store.log)
    woken: list[str] = []

    async def wait(domain: str) -> None:
        await events.wait(domain, 0, LONG)
        woken.append(domain)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for domain in ("catalog", "inventory", "media"):
                group.start_soon(wait, domain)
            await anyio.sleep(0.05)
            assert not woken
            await insert(store, "A")
    assert woken[0] == "inventory"
    assert sorted(woken) == ["catalog", "inventory", "media"]
    assert events.is_quiet
    started = time.monotonic()
    await read(events, "media", events.end, seconds=0.2)
    assert time.monotonic() - started > 0.15
