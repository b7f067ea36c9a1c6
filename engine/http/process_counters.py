"""The counters of each process, sent once a second to the one that serves `/metrics`."""

import socket
from collections.abc import Callable
from contextlib import suppress

import anyio
import msgspec

from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.runtime.counters import Counters, Histogram
from pagefold.engine.runtime.process_usage import ProcessUsage, process_usage
from pagefold.engine.shop import Shop

REPORT_SECONDS = 1.0
OVERLOAD = (429, 503)
OPERATIONS = ("/healthz", "/readyz", "/readyz/reads", "/readyz/ingest", "/metrics")
MAX_REPORT_BYTES = 1 << 17
"""Bytes of one process's counters: some routes, with some numbers each."""


class ProcessCounters(msgspec.Struct, frozen=True):
    """All counters of one process since its start. `requests` has method, route, status and count.

    `read_seconds` has the time of a sample of page reads.
    """

    worker: int
    requests: list[tuple[str, str, int, int]]
    reads: int
    not_modified: int
    refused: dict[int, int]
    gone: int
    queued: int
    counts: Counters
    read_seconds: Histogram
    usage: ProcessUsage

    @property
    def turned_away(self) -> int:
        """Requests that were answered with 429 or 503, without those that ask for readiness."""
        answered = sum(
            number for _, route, status, number in self.requests if status in OVERLOAD and route not in OPERATIONS
        )
        return answered + sum(self.refused.get(status, 0) for status in OVERLOAD)


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
        read_seconds=traffic.read_seconds,
        usage=process_usage(),
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
