"""One process of a pool: `python -m engine.pool_process`, started by `engine.process_pool`.

Its standard input is a configuration, and then what to look at, a line each; its standard output is what it has seen.
It ends when there is nothing more to read.
"""

import signal
import sys
from collections.abc import Iterable

import msgspec

from domains import DOMAINS
from engine import logs
from engine.config import Config
from engine.errors import StoreError
from engine.looking import Looker, Seen
from engine.process_pool import Asked
from engine.running import run
from engine.stores import open_store

_asked = msgspec.json.Decoder(Asked)


async def answer(lines: Iterable[bytes]) -> int:
    """Looks at one span after the other. A store that fails ends it: whoever asked meets the same."""
    config = msgspec.json.decode(next(iter(lines)), type=Config)
    try:
        store = await open_store(config, create=False)
        try:
            lookers = {domain.name: Looker(store, domain, config) for domain in DOMAINS}
            for line in lines:
                await _look(lookers, _asked.decode(line))
        finally:
            await store.close()
    except (StoreError, BrokenPipeError):
        return 1
    return 0


async def _look(lookers: dict[str, Looker], asked: Asked) -> None:
    await lookers[asked.domain].look(asked.span, _say)
    _say(None)


def _say(seen: Seen | None) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    logs.configure("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who has started it
    sys.exit(run(lambda: answer(sys.stdin.buffer)))
