"""Page reads over HTTP: `pagefold serve` beside bare servers that answer with the same bytes.

`wrk` asks, over some connections that are kept, for pages at random. Each server is a process of its own on one core,
and `wrk` has another; a round gives each server one turn. What the bare servers do, `benchmarks.bare_http` tells.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.request import urlopen

import engine
from benchmarks.bare_http import Key, finished
from benchmarks.bench import Bench
from benchmarks.measures import PAGEFOLD, Claim, Line, Side, Spread, Timed, interleave, ratio, spreads
from benchmarks.stores import Stores
from benchmarks.workload import CHANNELS, SOURCES, Workload, config

PAGES = 4_000
CONNECTIONS = 32
SECONDS = 5
SECONDS_TO_START = 30
ROW, ROWS, MEMORY = "bare, finished row", "bare, rows spliced", "bare, memory"
BARE: Final = {ROW: "page", ROWS: "rows", MEMORY: "memory"}
AT_LEAST: Mapping[str, float] = {"sqlite": 0.85, "postgres": 0.8}
TIMES_THE_P99 = 2
INSTALLING = "wrk is missing, and with it the line of HTTP: `apt-get install wrk` or `brew install wrk` brings it"

ASKING = """
local requests = {}
for path in io.lines(os.getenv("PATHS")) do requests[#requests + 1] = wrk.format("GET", path) end
init = function() math.randomseed(os.time()) end
request = function() return requests[math.random(#requests)] end
done = function(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format('{"requests": %d, "microseconds": %d, "p99": %d, "failed": %d}',
    summary.requests, summary.duration, latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
"""What `wrk` does: requests are made before the clock starts."""


class Load(NamedTuple):
    """How it is asked: for which paths, listed in a file, by which script, for so many seconds."""

    paths: Path
    script: Path
    seconds: int


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size."""
    if shutil.which("wrk") is None:
        print(INSTALLING, file=sys.stderr)
        return []
    events = min(bench.sizes)
    url = await stores.log(events)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        place = Path(folder)
        pages = await _pages(url)
        await finished(url).keep(pages)
        load = _load(place, pages, 1 if bench.quick else SECONDS)
        async with AsyncExitStack() as stack:
            servers = {PAGEFOLD: await stack.enter_async_context(_pagefold(url, place))}
            for name, kind in BARE.items():
                servers[name] = await stack.enter_async_context(
                    _served(place / f"{kind}.log", "-m", "benchmarks.bare_http", url, kind)
                )
            await asyncio.to_thread(_compare, list(servers.values()), pages)
            return [await _line(bench, stores, events, servers, load)]


async def _line(bench: Bench, stores: Stores, events: int, servers: Mapping[str, str], load: Load) -> Line:
    slowest: dict[str, list[float]] = {name: [] for name in servers}

    def side(name: str) -> Side:
        async def run() -> Timed:
            timed, p99 = await _ask(servers[name], load)
            slowest[name].append(p99)
            return timed

        return Side(name, run)

    rates = await interleave([side(name) for name in servers], bench.rounds)
    ratios = [one / two for one, two in zip(slowest[PAGEFOLD], slowest[ROW], strict=True)]
    claims = [
        ratio(rates, PAGEFOLD, ROW, at_least=AT_LEAST[stores.name]),
        ratio(rates, PAGEFOLD, ROWS),
        ratio(rates, PAGEFOLD, MEMORY),
        Claim(f"× the p99 of {ROW}", Spread.of(ratios), at_most=TIMES_THE_P99),
    ]
    p99s = ", ".join(f"{Spread.of(values).median:.2f} ms {name}" for name, values in slowest.items())
    return Line("read a page over HTTP", stores.name, events, "pages/s", spreads(rates), claims, f"p99: {p99s}")


async def _pages(url: str) -> dict[Key, bytes]:
    """Pages that are live, the hot ones first."""
    found: dict[Key, bytes] = {}
    async with engine.open(config(url)) as shop:
        await shop.catch_up()
        for sku, channel in dict.fromkeys(Workload().keys(20 * PAGES)):
            if len(found) == PAGES:
                break
            if (page := await shop.pages.get_json(sku, channel)) is not None:
                found[channel, sku] = page
    return found


def _load(folder: Path, pages: Mapping[Key, bytes], seconds: int) -> Load:
    load = Load(folder / "paths", folder / "wrk.lua", seconds)
    load.paths.write_text("".join(f"{_path(key)}\n" for key in pages), encoding="ascii")
    load.script.write_text(ASKING, encoding="ascii")
    return load


def _path(key: Key) -> str:
    return f"/v1/pages/{key[0]}/{key[1]}"


def _compare(servers: Sequence[str], pages: Mapping[Key, bytes]) -> None:
    """All of them answer with the same bytes."""
    for key in list(pages)[:: PAGES // 10]:
        for server in servers:
            with urlopen(server + _path(key)) as answer:  # noqa: S310  # it is our own
                assert answer.read() == pages[key]


async def _ask(server: str, load: Load) -> tuple[Timed, float]:
    """How many pages there were in how much time, and the 99th percentile in milliseconds."""
    options = ("-t1", f"-c{CONNECTIONS}", f"-d{load.seconds}s", "-s", str(load.script), server)
    asking = await _started("wrk", *options, core=1, stderr=PIPE, environment={"PATHS": str(load.paths)})
    _, said = await asking.communicate()
    answers = json.loads(said)
    assert not answers["failed"], answers
    return Timed(answers["microseconds"] / 1e6, answers["requests"]), answers["p99"] / 1e3


# --- servers --------------------------------------------------------------------------------------


@asynccontextmanager
async def _pagefold(url: str, folder: Path) -> AsyncIterator[str]:
    """`pagefold serve` with the shop of the workload, everything else as it is by default; where it listens."""
    settings = folder / "pagefold.toml"
    settings.write_text(_toml(url), encoding="utf-8")
    command = ("-m", "engine.command", "serve", "--config", str(settings), "--port", "0")
    async with _served(folder / "pagefold.log", *command) as address:
        yield address


@asynccontextmanager
async def _served(log: Path, *command: str) -> AsyncIterator[str]:
    """A server whose words go to a file, which nobody has to read on; where it listens."""
    with log.open("wb") as said:
        process = await _started(sys.executable, *command, core=0, stdout=said.fileno(), stderr=said.fileno())
    try:
        yield await asyncio.to_thread(_address, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _address(log: Path) -> str:
    given_up = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < given_up:
        if found := re.search(r"listening on (\S+)\n", log.read_text("utf-8")):
            return found[1]
        time.sleep(0.05)
    message = f"a server did not start: {log.read_text('utf-8')}"
    raise RuntimeError(message)


async def _started(
    *command: str, core: int, stdout: int = DEVNULL, stderr: int = DEVNULL, environment: Mapping[str, str] | None = None
) -> Process:
    """A process on a core of its own, where there are several, and a way to say so."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    pinned = ("taskset", "-c", str(cores[core])) if len(cores) > 1 and shutil.which("taskset") else ()
    everything = {**os.environ, **(environment or {})}
    return await create_subprocess_exec(*pinned, *command, stdout=stdout, stderr=stderr, env=everything)


def _toml(url: str) -> str:
    """The configuration of the workload's shop, as a file."""
    parts = [f"[store]\nurl = {json.dumps(url)}"]
    parts += [f'[sources.{name}]\ndomains = ["{domain}"]' for name, domain in SOURCES.items()]
    for name, channel in CHANNELS.items():
        settings = {"fallbacks": ["en"], "requires": ["catalog", "pricing", "inventory"], **channel}
        own = settings.pop("sources")
        assert isinstance(own, dict)
        plain = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        parts.append(
            "\n".join([f"[channels.{name}]", *plain, *[f"sources.{k} = {json.dumps(v)}" for k, v in own.items()]])
        )
    return "\n\n".join(parts) + "\n"
