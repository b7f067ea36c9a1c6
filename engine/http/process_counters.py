"""The counters of each process, sent once a second to the one that serves `/metrics`."""

import socket
from collections.abc import Callable
from contextlib import suppress

import anyio
import msgspec

from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.shop import Shop

REPORT_SECONDS = 1.0
MAX_REPORT_BYTES = 1 << 17
"""Bytes of one process's counters: some routes, with some numbers each."""


class ProcessCounters(msgspec.Struct, frozen=True):
    """All counters of one process since its start. `requests` has method, route, status and count."""

    worker: int
    requests: list[tuple[str, str, int, int]]
    reads: int
    not_modified: int
    refused: dict[int, int]
    gone: int
    queued: int
    counts: Counters


_decoder = msgspec.json.Decoder(ProcessCounters)


def counters_of(worker: int, traffic: RequestLog, shop: Shop) -> ProcessCounters:
    """The counters of this process, which has the number `worker`."""
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
    """The newest counters of the other processes."""

    def __init__(self) -> None:
        self._by_worker: dict[int, ProcessCounters] = {}

    def beside(self, own: ProcessCounters) -> list[ProcessCounters]:
        """The counters of all processes."""
        known = {**self._by_worker, own.worker: own}
        return [known[worker] for worker in sorted(known)]

    async def receive(self, link: socket.socket) -> None:
        """Receives counters until it is cancelled."""
        while True:
            await anyio.wait_readable(link)
            with suppress(BlockingIOError, msgspec.DecodeError):  # a truncated message is skipped
                report = _decoder.decode(link.recv(MAX_REPORT_BYTES))
                self._by_worker[report.worker] = report


async def publish_counters(counters: Callable[[], ProcessCounters], link: socket.socket) -> None:
    """Sends this process's counters until it is cancelled. Lost messages are covered by the next."""
    while True:
        with suppress(OSError):
            link.send(msgspec.json.encode(counters()))
        await anyio.sleep(REPORT_SECONDS)
