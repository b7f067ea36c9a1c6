"""Those who only look on: a storefront that reads while everything changes, and a listener to what consumers report."""

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

AT_ONCE = 80
REST_SECONDS = 0.02
"""A storefront reads so many pages, then rests so long: a few thousand pages a second, with time left for others."""

READY = b',"ready":true,"readiness":{'


class Storefront:
    """Reads page after page, round and round. `ready` counts by channel those that were ready when last read.

    `reads` counts the pages that were read while others were at work.
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
            if self.reads % AT_ONCE == 0:
                await anyio.sleep(REST_SECONDS)

    async def look_around(self) -> None:
        """Reads every page once: `ready` is as things are now."""
        for number, key in enumerate(self._keys, start=1):
            await self._read(*key)
            if number % AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    async def _read(self, sku: str, channel: str) -> None:
        page = await self._pages.get_json(sku, channel)
        ready = page is not None and READY in page
        if ready is not self._ready[sku, channel]:
            self._ready[sku, channel] = ready
            self.ready[channel] += 1 if ready else -1


class Listener:
    """Hears what the program logs: counts the sections that consumers wrote, and passes on what should worry somebody.

    Nothing else is shown: a demo has its own way to tell its story.
    """

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.warn: Callable[[str], None] = lambda _text: None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Everything that is logged comes here for as long as this lasts."""
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
        """One line of the log. Raises `DropEvent`: none is written anywhere."""
        if line.get("event") == "folded":
            self.written[line["domain"]] += line["changed"]
        elif level not in {"debug", "info"}:
            details = ", ".join(f"{name} {value}" for name, value in line.items() if name != "event")
            self.warn(f"{line.get('event')}: {details}" if details else str(line.get("event")))
        raise structlog.DropEvent


class Pace:
    """How many events each domain folds in a second, smoothed over the last second or so."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self._folded: Mapping[str, int] = {}
        self._at = time.perf_counter()
        self._settled: float | None = None

    def settle(self, seconds: float) -> None:
        """All is folded, in so many seconds: from now on rates are those of the whole time."""
        self._settled = seconds

    def look(self, status: Status) -> None:
        """Takes note of how far each domain is now."""
        now = time.perf_counter()
        seconds, self._at = now - self._at, now
        weight = min(seconds, 1.0)
        folded = {domain.domain: domain.applied + domain.stale + domain.dead for domain in status.domains}
        if self._settled is not None:
            self.rates = {domain: count / self._settled for domain, count in folded.items()}
            return
        for domain, count in folded.items():
            rate = (count - self._folded.get(domain, 0)) / max(seconds, 1e-6)
            self.rates[domain] = rate * weight + self.rates.get(domain, rate) * (1 - weight)
        self._folded = folded
