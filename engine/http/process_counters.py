"""What each process has counted, told once a second to the one that is asked for all of it."""

import socket
from collections.abc import Callable
from contextlib import suppress

import anyio
import msgspec

from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.shop import Shop

SECONDS_BETWEEN = 1.0
LARGEST = 1 << 17
"""Bytes of what one process tells: some routes, and some numbers for each."""


class ProcessCounters(msgspec.Struct, frozen=True):
    """All that one process has counted since it began. `requests` has the method, the route and the status of each."""

    worker: int
    requests: list[tuple[str, str, int, int]]
    reads: int
    not_modified: int
    refused: dict[int, int]
    gone: int
    queued: int
    counts: Counters


_decoder = msgspec.json.Decoder(ProcessCounters)


def numbers_of(worker: int, traffic: RequestLog, shop: Shop) -> ProcessCounters:
    """Those of this process, which has that number among its peers."""
    return ProcessCounters(
        worker=worker,
        requests=[(*asked, number) for asked, number in traffic.requests.items()],
        reads=traffic.reads,
        not_modified=traffic.not_modified,
        refused=dict(traffic.refused),
        gone=traffic.gone,
        queued=shop.queued,
        counts=shop.counters,
    )


class SiblingCounters:
    """What the other processes have told of themselves, the newest of each."""

    def __init__(self) -> None:
        self._by_worker: dict[int, ProcessCounters] = {}

    def beside(self, own: ProcessCounters) -> list[ProcessCounters]:
        """Those of all processes."""
        known = {**self._by_worker, own.worker: own}
        return [known[worker] for worker in sorted(known)]

    async def hear(self, way: socket.socket) -> None:
        """Listens to them, until it is cancelled."""
        while True:
            await anyio.wait_readable(way)
            with suppress(BlockingIOError, msgspec.DecodeError):  # what was cut short is no reason to end
                told = _decoder.decode(way.recv(LARGEST))
                self._by_worker[told.worker] = told


async def tell(numbers: Callable[[], ProcessCounters], way: socket.socket) -> None:
    """Tells the numbers of this process, until it is cancelled. What nobody hears is told again, with the next."""
    while True:
        with suppress(OSError):
            way.send(msgspec.json.encode(numbers()))
        await anyio.sleep(SECONDS_BETWEEN)
