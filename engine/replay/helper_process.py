"""What runs in a helper process: it answers JSON lines until its input ends. `line_process` starts and asks it."""

import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Never

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime import logs
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores import open_store
from pagefold.engine.stores.store import Store


def run_helper(serve: Callable[[Iterable[bytes]], Awaitable[int]]) -> Never:
    """Serves the lines of the standard input, and exits with the code that `serve` returns."""
    logs.configure("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that started it

    async def serve_input() -> int:
        return await serve(sys.stdin.buffer)

    sys.exit(run(serve_input))


async def with_store(config: Config, work: Callable[[Store], Awaitable[None]]) -> int:
    """Works with the store of a configuration. Returns 1 if it fails: the process that asks will notice the same."""
    try:
        store = await open_store(config, create=False)
        try:
            await work(store)
        finally:
            await store.close()
    except (StoreError, BrokenPipeError):
        return 1
    return 0


def write_reply(reply: object) -> None:
    """Writes a reply."""
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.buffer.flush()
