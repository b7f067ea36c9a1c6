"""Runs a Redis server in a folder, without persistence, as a cache of finished pages would be."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.server_processes import started

if TYPE_CHECKING:
    from redis.asyncio import Redis

SECONDS_TO_START = 20
POLL_SECONDS = 0.02


def is_redis_missing() -> bool:
    """Whether the server or its client is not installed; prints how to install it."""
    missing = []
    if shutil.which("redis-server") is None:
        missing.append("redis-server (`apt-get install redis-server` or `brew install redis`)")
    if find_spec("redis") is None:
        missing.append("its client (`pip install 'redis[hiredis]'`)")
    if missing:
        print(f"reads of many pages are not compared with Redis: {' and '.join(missing)} is missing", file=sys.stderr)
    return bool(missing)


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator["Redis"]:
    """A client of a new, empty server."""
    from redis.asyncio import Redis  # noqa: PLC0415  # it need not be installed

    socket = folder / "redis.sock"
    options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder))
    process = await started("redis-server", *options, core=0)
    client = Redis(unix_socket_path=str(socket))
    try:
        await asyncio.to_thread(_wait_for, socket)
        yield client
    finally:
        await client.aclose()
        process.terminate()
        await process.wait()


def _wait_for(socket: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not socket.exists():
        assert time.monotonic() < deadline, "redis-server did not start"
        time.sleep(POLL_SECONDS)
