"""One process of a pool: `python -m engine.pool_process`, started by `engine.process_pool`.

Its standard input is a configuration, and then what to look at, a line each; its standard output is what it has seen.
It ends when there is nothing more to read.
"""

import signal
import sys
from collections.abc import Iterable
from functools import partial

import msgspec

from domains import DOMAINS
from engine import logs
from engine.config import Config
from engine.errors import StoreError
from engine.looking import Looker, Scans, Seen
from engine.process_pool import Asked, Told
from engine.running import run
from engine.stores import open_store
from engine.stores.store import Store
from engine.tasks import together

_asked = msgspec.json.Decoder(Asked)


async def answer(lines: Iterable[bytes]) -> int:
    """Looks at one span after the other. A store that fails ends it: whoever asked meets the same."""
    config = msgspec.json.decode(next(iter(lines)), type=Config)
    try:
        store = await open_store(config, create=False)
        try:
            for line in lines:
                await _look(store, config, _asked.decode(line))
        finally:
            await store.close()
    except (StoreError, BrokenPipeError):
        return 1
    return 0


async def _look(store: Store, config: Config, asked: Asked) -> None:
    domains = [domain for domain in DOMAINS if domain.name in asked.domains]
    scans = Scans(store.log, domains, config)  # new ones: what was read for a former look is old
    lookers = [Looker(store, domain, config, scans) for domain in domains]
    await together(*(partial(looker.look, asked.span, partial(_say, looker.domain)) for looker in lookers))
    _write(None)


def _say(domain: str, seen: Seen) -> None:
    _write(Told(domain, seen))


def _write(told: Told | None) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    logs.configure("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who has started it
    sys.exit(run(lambda: answer(sys.stdin.buffer)))
