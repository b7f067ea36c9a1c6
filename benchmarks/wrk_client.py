"""Requests random pages with `wrk` over persistent connections."""

import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pagefold
from benchmarks.baseline_read_server import Key
from benchmarks.measurement import Timed
from benchmarks.server_processes import started
from benchmarks.workload import Workload, config

CONNECTIONS = 32
TIMEOUT_SECONDS = 30
"""A response that takes longer counts as failed."""

MISSING_MESSAGE = (
    "wrk is not installed, so page reads over HTTP are skipped: `apt-get install wrk` or `brew install wrk`"
)

SCRIPT = """
local requests = {}
local pause = tonumber(os.getenv("PAUSE"))
init = function()
  math.randomseed(os.time())
  for path in io.lines(os.getenv("PATHS")) do requests[#requests + 1] = wrk.format("GET", path) end
end
request = function() return requests[math.random(#requests)] end
if pause > 0 then delay = function() return math.random(pause / 2, 1.5 * pause) end end
done = function(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "longest": %d, "failed": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
"""The script of `wrk`. It prepares the requests before the clock starts, in `init`: before that, they have no Host."""


class Load(NamedTuple):
    """The load of one turn: a file with paths, the script, and the duration in seconds.

    Each connection waits about `pause` milliseconds between a response and the next request.
    """

    paths: Path
    script: Path
    seconds: int
    pause: int = 0


class ReadLatencies(NamedTuple):
    """The pages read and the time that took, and the latency of a read in milliseconds."""

    timed: Timed
    p50: float
    p99: float
    longest: float


def is_wrk_missing() -> bool:
    """Whether `wrk` is not installed; prints how to install it."""
    if shutil.which("wrk") is not None:
        return False
    print(MISSING_MESSAGE, file=sys.stderr)
    return True


async def pages_of(url: str, count: int) -> dict[Key, bytes]:
    """Folds everything, and returns live pages, the most popular first."""
    found: dict[Key, bytes] = {}
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()
        for sku, channel in dict.fromkeys(Workload().keys(20 * count)):
            if len(found) == count:
                break
            if (page := await shop.pages.get_json(sku, channel)) is not None:
                found[channel, sku] = page
    return found


def load_of(folder: Path, pages: Iterable[Key], seconds: int, pause: int = 0) -> Load:
    """Writes the files that `wrk` needs into a folder."""
    load = Load(folder / "paths", folder / "wrk.lua", seconds, pause)
    load.paths.write_text("".join(f"{path_of(key)}\n" for key in pages), encoding="ascii")
    load.script.write_text(SCRIPT, encoding="ascii")
    return load


def path_of(key: Key) -> str:
    """The path of a page."""
    return f"/v1/pages/{key[0]}/{key[1]}"


async def run_wrk(server: str, load: Load) -> ReadLatencies:
    """Requests pages from one server. Every response must be a page."""
    options = (
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{load.seconds}s",
        f"--timeout={TIMEOUT_SECONDS}s",
        "-s",
        str(load.script),
        server,
    )
    environment: Mapping[str, str] = {"PATHS": str(load.paths), "PAUSE": str(load.pause)}
    process = await started("wrk", *options, core=1, stderr=PIPE, environment=environment)
    _, output = await process.communicate()
    results = json.loads(output)
    assert not results["failed"], results
    timed = Timed(results["microseconds"] / 1e6, results["requests"])
    return ReadLatencies(timed, results["p50"] / 1e3, results["p99"] / 1e3, results["longest"] / 1e3)
