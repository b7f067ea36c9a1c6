"""Observes the demo: a storefront that reads pages, an observer of log lines, and the rates of folding."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
import anyio.lowlevel
import structlog
from structlog.typing import EventDict, WrappedLogger

from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.status import Status

READS_PER_BURST = 80
REST_SECONDS = 0.02
"""A storefront reads this many pages, then pauses: a few thousand pages a second, without starving other tasks."""

READY = b',"ready":true,"readiness":{'


class Storefront:
    """Reads all pages in turn, repeatedly. `ready` counts the pages by channel that were ready when last read.

    `reads` counts the pages that `browse` has read.
    """

    def __init__(self, pages: PageReader, skus: Sequence[str], channels: Sequence[str]) -> None:
        self._pages = pages
        self._keys = list(itertools.product(skus, channels))
        self._ready = dict.fromkeys(self._keys, False)
        self.ready: Counter[str] = Counter(dict.fromkeys(channels, 0))
        self.reads = 0

    async def browse(self) -> None:
        """Reads until it is cancelled."""
        for key in itertools.cycle(self._keys):
            await self._read(*key)
            self.reads += 1
            if self.reads % READS_PER_BURST == 0:
                await anyio.sleep(REST_SECONDS)

    async def read_all(self) -> None:
        """Reads every page once, so that `ready` is up to date."""
        for number, key in enumerate(self._keys, start=1):
            await self._read(*key)
            if number % READS_PER_BURST == 0:
                await anyio.lowlevel.checkpoint()

    async def _read(self, sku: str, channel: str) -> None:
        page = await self._pages.get_json(sku, channel)
        ready = page is not None and READY in page
        if ready is not self._ready[sku, channel]:
            self._ready[sku, channel] = ready
            self.ready[channel] += 1 if ready else -1


class LogObserver:
    """Receives log lines: counts the sections that consumers wrote, and passes warnings and errors to `warn`.

    Other lines are dropped.
    """

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.warn: Callable[[str], None] = lambda _text: None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receives all log lines for the length of a `with` block."""
        before = structlog.get_config() if structlog.is_configured() else None
        structlog.configure(
            processors=[self],
            wrapper_class=structlog.make_filtering_bound_logger("info"),
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.reset_defaults()
            if before is not None:
                structlog.configure(**before)

    def __call__(self, _logger: WrappedLogger, level: str, line: EventDict) -> EventDict:
        """Handles a log line. Raises `DropEvent`, so that it is not written."""
        if line.get("event") == "folded":
            self.written[line["domain"]] += line["changed"]
        elif level not in {"debug", "info"}:
            details = ", ".join(f"{name} {value}" for name, value in line.items() if name != "event")
            self.warn(f"{line.get('event')}: {details}" if details else str(line.get("event")))
        raise structlog.DropEvent


class FoldRates:
    """Events per second that each domain folds, smoothed over about a second."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self._folded: Mapping[str, int] = {}
        self._at = time.perf_counter()
        self._total_seconds: float | None = None

    def finish(self, seconds: float) -> None:
        """Everything was folded in this time: the rates are now averages over it."""
        self._total_seconds = seconds

    def update(self, status: Status) -> None:
        """Updates the rates from the current status."""
        now = time.perf_counter()
        seconds, self._at = now - self._at, now
        weight = min(seconds, 1.0)
        folded = {domain.domain: domain.applied + domain.stale + domain.dead for domain in status.domains}
        if self._total_seconds is not None:
            self.rates = {domain: count / self._total_seconds for domain, count in folded.items()}
            return
        for domain, count in folded.items():
            rate = (count - self._folded.get(domain, 0)) / max(seconds, 1e-6)
            self.rates[domain] = rate * weight + self.rates.get(domain, rate) * (1 - weight)
        self._folded = folded
