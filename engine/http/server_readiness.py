"""Readiness of the server: the checks of this process, and the state of the others."""

from collections.abc import Collection

import anyio

from pagefold.engine.http.process_board import PeerWatch
from pagefold.engine.http.process_links import WORKER
from pagefold.engine.reading.check_results import INGEST, PURPOSES, READS, CheckResult, Purpose
from pagefold.engine.reading.readiness import CHECKS, Readiness
from pagefold.engine.shop import Shop

REPORT_SECONDS = 1.0


class ServerReadiness:
    """The checks of a shop, in a process that may be one of several.

    Any process answers for all: whether the worker lives, and the worker's own checks.
    """

    def __init__(self, shop: Shop) -> None:
        self._checks = Readiness(shop)
        self._reported = Readiness(shop, [each for each in CHECKS if "ingest" in each.purposes and not each.shared])
        self._watch: PeerWatch | None = None

    def share(self, watch: PeerWatch) -> None:
        """Makes this process one of several."""
        self._watch = watch

    async def results(self, purposes: Collection[Purpose] = PURPOSES) -> list[CheckResult]:
        """The results of the checks for any of these purposes."""
        found = await self._checks.results(purposes)
        watch = self._watch
        if watch is None:
            return found
        if watch.number != WORKER:
            found = _with_reported(found, watch.board.reported(WORKER))
        return found + [each for each in _of_processes(watch) if not set(purposes).isdisjoint(each.purposes)]

    async def report(self) -> None:
        """Publishes the worker's own checks, until it is cancelled."""
        watch = self._watch
        if watch is None or watch.number != WORKER:
            return
        while True:
            watch.board.report(WORKER, await self._reported.results())
            await anyio.sleep(REPORT_SECONDS)

    async def close(self) -> None:
        """Ends the running checks."""
        await self._checks.close()
        await self._reported.close()


def _with_reported(found: list[CheckResult], reported: list[CheckResult]) -> list[CheckResult]:
    """The results, with those that fail in the worker only."""
    wrong = {each.name: each for each in reported if not each.ok}
    return [wrong.get(each.name, each) if each.ok else each for each in found]


def _of_processes(watch: PeerWatch) -> list[CheckResult]:
    silent = watch.silent()
    readers = [number for number in silent if number != WORKER]
    return [
        _answering("readers", READS, readers, "which reads pages"),
        _answering("worker", INGEST, [WORKER] if WORKER in silent else [], "which takes changes"),
    ]


def _answering(name: str, purposes: tuple[Purpose, ...], silent: list[int], what: str) -> CheckResult:
    problem = "; ".join(f"process {number}, {what}, does not answer" for number in silent) or None
    return CheckResult(name, purposes, problem is None, problem)
