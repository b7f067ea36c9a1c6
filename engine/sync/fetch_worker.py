"""Fetches the records that notifications name, in one of the processes of a shop.

What is wanted is kept in the store, so that nothing is forgotten: a fetch is removed once what it brought is durable,
and a notification that comes meanwhile makes another one.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import anyio
import msgspec

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.dead_letters.waiting_letters import PASSING
from pagefold.engine.dead_letters.webhook_retrier import RULE, Entrance, Request
from pagefold.engine.errors import Failure, SourceFailed
from pagefold.engine.intake.contracts.delivery_facts import TAKEN
from pagefold.engine.intake.formats.request_parts import Wanted
from pagefold.engine.runtime.clock import moment
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.shop import Shop
from pagefold.engine.stores.fetch_records import WantedFetch
from pagefold.engine.sync.fetch_endpoints import FetchEndpoints, body_of
from pagefold.engine.sync.missing_records import MissingRecords, NotFoldedError, TooManyMissingError

CLAIM = "fetches"

MAX_TRIES = 7
"""After so many, a fetch is a dead letter."""

AWAY = timedelta(days=1)
"""How long a server may be away before that."""

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS, JITTER = 1.0, 60.0, 0.5
"""Seconds between two tries: twice as many each time, and up to half of it more."""

WRONG_CLOCK = timedelta(minutes=10)
"""What is due later than this, and any fetch may wait for, was noted by a clock that was wrong."""

RETRY_SECONDS = 1.0
CHUNK = 200

GONE = frozenset({404, 410})

log = Logger(__name__)


class FetchReport(msgspec.Struct, rename="camel"):
    """What became of fetches. What a `missing` record was of is withdrawn; `failed` are tried again, `dead` are not."""

    fetched: int = 0
    missing: int = 0
    failed: int = 0
    dead: int = 0


class FetchWorker:
    """Fetches what is wanted in one shop. Of several processes, one does; another takes over when it dies."""

    def __init__(self, shop: Shop, clock: Callable[[], datetime] = moment) -> None:
        self._shop = shop
        self.report = FetchReport()
        endpoints = FetchEndpoints(shop.config, shop.counters)
        self._sources = [
            _SourceFetches(shop, name, endpoints, clock, self.report) for name in sources_with_fetches(shop.config)
        ]

    async def run(self) -> None:
        """Fetches what is due, until it is cancelled."""
        while self._sources:
            try:
                async with self._shop.store.coordination.claim(CLAIM) as claimed:
                    if claimed:
                        await run_together(*(each.keep for each in self._sources))
            except PASSING as error:
                log.warning("fetches wait for the store", error=str(error))
            await anyio.sleep(RETRY_SECONDS)
        await anyio.sleep_forever()

    async def run_due(self) -> FetchReport | None:
        """Fetches everything that is due by now, or waits only for more notifications, each once.

        Returns None if another process fetches. Raises `StoreError`.
        """
        async with self._shop.store.coordination.claim(CLAIM) as claimed:
            if not claimed:
                return None
            await run_together(*(each.take_all for each in self._sources))
        return self.report


def sources_with_fetches(config: Config) -> list[str]:
    """The sources that have fetches."""
    return [name for name, source in config.sources.items() if source.fetches]


class _SourceFetches:
    """The fetches of one source. While its server fails, all of them wait, one tries, and no tries are used up."""

    def __init__(
        self,
        shop: Shop,
        source: str,
        endpoints: FetchEndpoints,
        clock: Callable[[], datetime],
        report: FetchReport,
    ) -> None:
        self._shop = shop
        self._source = source
        self._endpoints = endpoints
        self._clock = clock
        self._report = report
        self._missing: dict[str, MissingRecords] = {}
        self._missing_in_a_row = 0
        self._failures = 0
        self._is_kept = False
        self._rests_until: datetime | None = None
        fetches = shop.config.sources[source].fetches
        self._after = timedelta(seconds=max(fetch.after_seconds for fetch in fetches.values()))
        self._concurrency = endpoints.concurrency(source)

    async def keep(self) -> None:
        """Takes what is due, for ever, beside consumers that fold the log. Raises `StoreError`."""
        self._is_kept = True
        while True:
            if self._rests or not await self._take(await self._due(self._clock())):
                await anyio.sleep(self._shop.config.work.poll_seconds)

    async def take_all(self) -> None:
        """Takes each that is wanted by now, once. Raises `StoreError`."""
        at, tried = self._clock() + self._after, set[tuple[str, str]]()
        while not self._rests:
            fresh = [each for each in await self._due(at) if (each.rule, each.key) not in tried]
            if not await self._take(fresh):
                return
            tried |= {(each.rule, each.key) for each in fresh}

    async def _due(self, at: datetime) -> list[WantedFetch]:
        beyond = format_timestamp(self._clock() + self._after + WRONG_CLOCK)
        return [*await self._shop.store.fetches.due(self._source, format_timestamp(at), beyond, CHUNK)]

    async def _take(self, fetches: list[WantedFetch]) -> int:
        """Takes some fetches, several at a time. Returns how many there are."""
        limiter = anyio.CapacityLimiter(self._concurrency)

        async def take(fetch: WantedFetch) -> None:
            async with limiter:
                if not self._rests:
                    await self._take_one(fetch)

        await run_together(*(partial(take, fetch) for fetch in fetches))
        return len(fetches)

    async def _take_one(self, fetch: WantedFetch) -> None:
        """Makes one fetch, and notes how it went. Raises what passes, such as `StoreError`."""
        try:
            await self._fetch(fetch)
        except PASSING:
            raise
        except SourceFailed as error:
            await self._failed(fetch, error.problem, error.failure)
        except NotFoldedError as error:
            await self._later(fetch, str(error), Failure(passes=True))
        except TooManyMissingError as error:
            await self._give_up(fetch, str(error))
        except Exception as error:  # such as a contract that cannot work; the others are fetched
            log.error("a fetch failed", source=self._source, address=fetch.address, exc_info=error)  # noqa: TRY400
            await self._failed(fetch, f"{type(error).__name__}: {error}", Failure())

    async def _fetch(self, fetch: WantedFetch) -> None:
        wanted = await self._wanted(fetch)
        if wanted is None:
            return
        position, began = await self._shop.store.log.end(), format_timestamp(self._clock())
        missing = wanted.endpoint.missing
        try:
            rows = await self._endpoints.rows(self._source, wanted)
        except SourceFailed as error:
            if missing is None or error.failure.status not in GONE:
                raise
            rows = None
        self._answered()
        if rows is None or (missing is not None and missing.empty and not rows):
            await self._withdraw(fetch, wanted, position)
        else:
            self._missing_in_a_row = 0
            await self._deliver(wanted, body_of(rows), began)
            self._report.fetched += 1
        await self._done(fetch)

    async def _wanted(self, fetch: WantedFetch) -> Wanted | None:
        """The fetch that its notification makes now. None if it makes another one, or none: then it is read again."""
        via, headers = _via(fetch), _headers(fetch)
        reader = self._shop.webhooks.reader(via, self._source)
        if reader is None:
            await self._give_up(fetch, f"the source has no {via} any more")
            return None
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        request = Request(via, self._source, fetch.notification, fetch.since, raw, headers)
        delivery = self._shop.webhooks.parse(request, reader)
        for part in delivery.read(0, delivery.parts):
            for each in part:
                if isinstance(each, Wanted) and (each.rule, each.key) == (fetch.rule, fetch.key):
                    return each
        await self._shop.webhooks.take(request, reader, compute_in_thread, self._shop.append)
        await self._done(fetch)
        return None

    async def _withdraw(self, fetch: WantedFetch, wanted: Wanted, position: int) -> None:
        """Withdraws what a missing record was of."""
        allowed = self._shop.config.references.max_withdrawn
        self._missing_in_a_row += 1
        if self._missing_in_a_row > allowed and not fetch.confirmed:
            raise TooManyMissingError(self._missing_in_a_row, allowed, "records in a row")
        number = 0
        if wanted.gone is not None:
            missing = self._missing_of(wanted.rule)
            number = await missing.withdraw(wanted.gone, position, confirmed=fetch.confirmed, folds=self._is_kept)
        self._report.missing += 1
        log.info("a record is missing", source=self._source, address=fetch.address, withdrawn=number)

    def _missing_of(self, rule: str) -> MissingRecords:
        """What withdraws the records that a rule fetches. Raises `ConfigurationError`."""
        if rule not in self._missing:
            self._missing[rule] = MissingRecords(self._shop, self._source, rule)
        return self._missing[rule]

    async def _deliver(self, wanted: Wanted, body: bytes, began: str) -> None:
        """Takes what was fetched, as a delivery: what cannot be taken of it is kept in dead letters."""
        webhooks = self._shop.webhooks
        reader = webhooks.reader("fetch", self._source, wanted.rule)
        if reader is None:
            raise SourceFailed(wanted.address, "is not configured any more")
        kept = {TAKEN: began, RULE: wanted.rule}
        headers = [(name.encode(), value.encode()) for name, value in kept.items()]
        request = Request("fetch", self._source, body, began, headers, kept)
        await webhooks.take(request, reader, compute_in_thread, self._shop.append)

    # --- what fails -------------------------------------------------------------------------------

    @property
    def _rests(self) -> bool:
        """Whether the server is left alone for a while."""
        until, at = self._rests_until, self._clock()
        return until is not None and at < until <= at + WRONG_CLOCK

    def _answered(self) -> None:
        self._failures, self._rests_until = 0, None

    async def _failed(self, fetch: WantedFetch, problem: str, failure: Failure) -> None:
        """Has a fetch tried again, or gives it up."""
        away = datetime.fromisoformat(fetch.since) > self._clock() - AWAY
        if failure.passes:
            if not self._rests:
                self._failures += 1
                self._rests_until = self._clock() + timedelta(seconds=failure.seconds or _wait(self._failures))
        else:
            self._answered()
        if fetch.tries + 1 >= MAX_TRIES and not (failure.passes and away):
            await self._give_up(fetch, f"{problem}, after {fetch.tries + 1} tries")
        else:
            await self._later(fetch, problem, failure)

    async def _later(self, fetch: WantedFetch, problem: str, failure: Failure) -> None:
        """Has a fetch tried again."""
        tries = fetch.tries + 1
        seconds = max(_wait(tries), failure.seconds or 0.0)
        due = format_timestamp(self._clock() + timedelta(seconds=seconds))
        await self._shop.store.fetches.failed(fetch, problem, tries, due)
        self._report.failed += 1
        log.warning("a fetch failed", source=self._source, address=fetch.address, error=problem, tries=tries)

    async def _give_up(self, fetch: WantedFetch, problem: str) -> None:
        """Keeps the notification of a fetch as a dead letter."""
        letter = dead_letter_of_request(
            self._source,
            fetch.notification,
            f"{fetch.address}: {problem}",
            via=_via(fetch),
            identifier=fetch.rule,
            headers=_headers(fetch),
            recorded_at=fetch.since,
        )
        await self._shop.store.dead_letters.add([letter])
        await self._done(fetch)
        self._report.dead += 1
        log.error("a fetch is given up", source=self._source, address=fetch.address, error=problem)

    async def _done(self, fetch: WantedFetch) -> None:
        await self._shop.store.fetches.done(fetch, format_timestamp(self._clock() + self._after))


def _via(fetch: WantedFetch) -> Entrance:
    """The entrance of the notification."""
    name = fetch.rule.partition(".")[0]
    return "delta" if name == "delta" else "cloudevents" if name == "cloudevents" else "webhook"


def _headers(fetch: WantedFetch) -> dict[str, str]:
    return msgspec.json.decode(fetch.headers, type=dict[str, str])


def _wait(tries: int) -> float:
    """The seconds after so many tries."""
    seconds = min(FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 16), MAX_WAIT_SECONDS)
    return seconds * (1 + random.uniform(0, JITTER))  # noqa: S311  # no secret
