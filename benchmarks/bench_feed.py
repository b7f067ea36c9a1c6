"""The change feed: pages per second beside bare reads, folding beside a follower, thousands of followers that wait."""

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import pagefold
from benchmarks.measurement import PAGEFOLD, Claim, Line, Side, Spread, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import run_pagefold, started
from benchmarks.throwaway_stores import SQLiteStores, Stores
from benchmarks.workload import config
from pagefold import Shop
from pagefold.engine.feed.feed_cursor import FeedCursor, Walk
from pagefold.engine.feed.feed_reader import FeedReader
from pagefold.engine.reading.page_tags import tag_of

READS, REPLAY, TAIL = "bare reads", "replay from 0", "tail from position 0"
ALONE, FOLLOWED = "without a follower", "with a follower"
CHUNK_SKUS = 50
"""SKUs of a bare read in all channels, as many as the feed reads at a time."""

FOLLOWERS, QUICK_FOLLOWERS = 10_000, 200
STREAMS, ANSWERS = "streams", "answers that wait"
EVENTS = b"text/event-stream"
IDLE_SECONDS, QUICK_IDLE_SECONDS = 20.0, 1.0

FOLLOW = """
import sys, uvloop, pagefold
from benchmarks.workload import config
async def main():
    async with pagefold.open(config(sys.argv[1])) as shop:
        print("following", flush=True)
        async for step in shop.changes("now").steps():
            pass
uvloop.run(main())
"""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """All of them; followers that wait on one store, since they do not touch it."""
    events = min(bench.sizes)
    found = [await _reads(bench, stores, events), await _applied(bench, stores, events)]
    if isinstance(stores, SQLiteStores):
        found += [await _idle(bench, stores, kind) for kind in (STREAMS, ANSWERS)]
    return found


async def _reads(bench: Bench, stores: Stores, events: int) -> Line:
    url = await stores.copy(await stores.log(events))
    try:
        async with pagefold.open(config(url)) as shop:
            await shop.catch_up()
            reader = shop.feed.reader
            replay = await reader.start(replay=True)
            tail = FeedCursor(replay.log_id, 0, replay.witness, replay.number, replay.noted)
            skus = await shop.store.pages.page_skus("", 10_000_000)
            sides = [
                Side(READS, lambda: _read(shop, skus)),
                Side(REPLAY, lambda: _follow(reader, replay)),
                Side(TAIL, lambda: _follow(reader, tail)),
            ]
            rates = await interleave(sides, bench.rounds)
    finally:
        await stores.drop(url)
    claims = [ratio(rates, REPLAY, READS, what=f"replay × {READS}"), ratio(rates, TAIL, READS, what=f"tail × {READS}")]
    note = "pages with their tags, of all channels; the tail finds them in the log, each once a window"
    return Line("feed", stores.name, events, "pages/s", spreads(rates), claims, note)


async def _read(shop: Shop, skus: Sequence[str]) -> Timed:
    """Reads and tags every page, channel by channel, as a program does that knows which."""
    pages, watch = 0, Stopwatch()
    with watch:
        for start in range(0, len(skus), CHUNK_SKUS):
            for channel in shop.config.channels:
                found = await shop.pages.get_many_json(skus[start : start + CHUNK_SKUS], channel, disabled=True)
                pages += len([tag_of(page) for page in found.values()])
    return Timed(watch.seconds, pages)


async def _follow(reader: FeedReader, cursor: FeedCursor) -> Timed:
    pages, watch, up_to_date = 0, Stopwatch(), False
    with watch:
        while not up_to_date:
            step = await reader.step(cursor)
            pages, cursor, up_to_date = pages + len(step.changes), step.cursor, step.up_to_date
    assert not isinstance(cursor.walk, Walk)
    return Timed(watch.seconds, pages)


async def _applied(bench: Bench, stores: Stores, events: int) -> Line:
    log = await stores.log(events)

    async def run(*, followed: bool) -> Timed:
        url = await stores.copy(log)
        try:
            async with _follower(url) if followed else nullcontext(), pagefold.open(config(url)) as shop:
                watch = Stopwatch()
                with watch:
                    await shop.catch_up()
        finally:
            await stores.drop(url)
        return Timed(watch.seconds, events)

    sides = [Side(ALONE, lambda: run(followed=False)), Side(FOLLOWED, lambda: run(followed=True))]
    rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, FOLLOWED, ALONE, at_least=0.95)]
    note = "the whole log, folded from the beginning, while another process follows the feed"
    return Line("apply beside a follower", stores.name, events, "events/s", spreads(rates), claims, note)


@asynccontextmanager
async def _follower(url: str) -> AsyncIterator[None]:
    """Another process follows the pages."""
    process = await started(sys.executable, "-c", FOLLOW, url, core=None, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline()
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _idle(bench: Bench, stores: Stores, kind: str) -> Line:
    """Memory and CPU time of a server with followers that wait."""
    followers = QUICK_FOLLOWERS if bench.quick else FOLLOWERS
    url = await stores.copy(await stores.log(min(bench.sizes)))
    try:
        async with pagefold.open(config(url)) as shop:
            await shop.catch_up()
        with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
            limits = {"followers": followers + 10, "connections": 2_000}
            async with run_pagefold(url, Path(folder), "--workers", "1", http=limits) as address:
                bytes_each, share = await _measured(address, followers, kind, bench)
    finally:
        await stores.drop(url)
    claims = [
        Claim("KB of memory a follower", Spread.of([bytes_each / 1024]), at_most=40.0),
        Claim("share of one core", Spread.of([share]), at_most=0.05),
    ]
    sides = {PAGEFOLD: Spread.of([float(followers)])}
    return Line(
        f"{kind}, idle", stores.name, followers, "followers", sides, claims, "one server process, nothing changes"
    )


async def _measured(address: str, followers: int, kind: str, bench: Bench) -> tuple[float, float]:
    """Bytes that each follower takes, and the share of a core that all of them take."""
    place = urlsplit(address)
    assert place.hostname is not None
    assert place.port is not None
    process = _process_at(place.port)
    before = _memory(process)
    head = "GET /v1/changes?after=now&wait=60 HTTP/1.1\r\nhost: localhost\r\n"
    request = b"%baccept: %b\r\n\r\n" % (head.encode(), EVENTS if kind == STREAMS else b"*/*")
    writers = []
    for start in range(0, followers, 50):
        opened = [_opened(place.hostname, place.port, request) for _ in range(min(50, followers - start))]
        writers += await asyncio.gather(*opened)
        await asyncio.sleep(0.02)  # so that answers wait before the next ask: they are connections until then
    seconds = QUICK_IDLE_SECONDS if bench.quick else IDLE_SECONDS
    await asyncio.sleep(seconds / 10)
    spent, begun = _cpu_seconds(process), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (_cpu_seconds(process) - spent) / (time.perf_counter() - begun)
    grown = _memory(process) - before
    for each in writers:
        each.close()
    return grown / followers, share


async def _opened(host: str, port: int, request: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    line = socket.socket()
    line.settimeout(0)
    await loop.sock_connect(line, (host, port))
    await loop.sock_sendall(line, request)
    if EVENTS in request:
        answer = await loop.sock_recv(line, 1_000)
        assert b" 200 " in answer, answer
    return line


def _process_at(port: int) -> int:
    """The process that listens at a port: a child of this one."""
    wanted = f":{port:04X} 00000000:0000 0A"
    inode = next(line.split()[9] for line in Path("/proc/net/tcp").read_text("ascii").splitlines() if wanted in line)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(each.readlink()) == f"socket:[{inode}]" for each in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # another user's, or gone
            continue
    raise AssertionError


def _memory(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
