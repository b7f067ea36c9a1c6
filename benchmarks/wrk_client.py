"""Asking for pages with `wrk`, over some connections that are kept, each time for one at random."""

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
PATIENCE = 30
"""Seconds after which an answer has failed."""

INSTALLING = "wrk is missing, and with it the lines of HTTP: `apt-get install wrk` or `brew install wrk` brings it"

ASKING = """
local requests = {}
for path in io.lines(os.getenv("PATHS")) do requests[#requests + 1] = wrk.format("GET", path) end
local pause = tonumber(os.getenv("PAUSE"))
init = function() math.randomseed(os.time()) end
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
"""What `wrk` does: requests are made before the clock starts."""


class Load(NamedTuple):
    """How it is asked: for which paths, listed in a file, by which script, for so many seconds.

    Each connection waits about `pause` milliseconds between an answer and the next question.
    """

    paths: Path
    script: Path
    seconds: int
    pause: int = 0


class Asked(NamedTuple):
    """How many pages there were in how much time, and how long one took, in milliseconds."""

    timed: Timed
    p50: float
    p99: float
    longest: float


def is_missing() -> bool:
    """Whether there is no `wrk`. Says how to get it."""
    if shutil.which("wrk") is not None:
        return False
    print(INSTALLING, file=sys.stderr)
    return True


async def pages_of(url: str, count: int) -> dict[Key, bytes]:
    """Pages that are live, the hot ones first, once everything is folded."""
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
    """What `wrk` needs, in a folder."""
    load = Load(folder / "paths", folder / "wrk.lua", seconds, pause)
    load.paths.write_text("".join(f"{path_of(key)}\n" for key in pages), encoding="ascii")
    load.script.write_text(ASKING, encoding="ascii")
    return load


def path_of(key: Key) -> str:
    """Where a server has a page."""
    return f"/v1/pages/{key[0]}/{key[1]}"


async def ask(server: str, load: Load) -> Asked:
    """Asks one server. Every answer is a page."""
    options = (
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{load.seconds}s",
        f"--timeout={PATIENCE}s",
        "-s",
        str(load.script),
        server,
    )
    environment: Mapping[str, str] = {"PATHS": str(load.paths), "PAUSE": str(load.pause)}
    asking = await started("wrk", *options, core=1, stderr=PIPE, environment=environment)
    _, said = await asking.communicate()
    answers = json.loads(said)
    assert not answers["failed"], answers
    timed = Timed(answers["microseconds"] / 1e6, answers["requests"])
    return Asked(timed, answers["p50"] / 1e3, answers["p99"] / 1e3, answers["longest"] / 1e3)
