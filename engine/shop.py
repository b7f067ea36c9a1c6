"""The front door for programs: a shop whose changes are appended, folded and read."""

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from pagefold.domains import DOMAINS, AnyDomain
from pagefold.engine.access.token_service import TokenService
from pagefold.engine.configuration.config import Config
from pagefold.engine.consumers.consumer import Consumer
from pagefold.engine.dead_letters.dead_letter_service import DeadLetterService
from pagefold.engine.dead_letters.retention import Retention
from pagefold.engine.dead_letters.webhook_retrier import WebhookRetrier
from pagefold.engine.errors import ConfigurationError, StoreError
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.appender import Appender
from pagefold.engine.intake.epoch_registry import Epochs
from pagefold.engine.intake.epoch_service import EpochService
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.reading.history import HistoryEntry, history_of
from pagefold.engine.reading.lag_cache import LagWatch
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.readiness import results_of
from pagefold.engine.reading.status import Status, status_of
from pagefold.engine.replay.recovery import Recovered, Recovery
from pagefold.engine.replay.replayer import OnDrift, OnProgress, Replayer, ReplayResult, ignore, sampled
from pagefold.engine.replay.section_verifier import SectionVerifier, SharedScans, split_ranges
from pagefold.engine.replay.verifier_pool import PARTS, PAYS_FROM, VerifierPool, processors
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores import open_store
from pagefold.engine.stores.store import Store
from pagefold.projections import normalise_sku

if TYPE_CHECKING:
    from pagefold.engine.rebuild.rebuild_service import RebuildService


SECONDS_TO_PUBLISH = 5.0
"""How long after it could not be told what each channel requires the database is told again."""

log = Logger(__name__)


class Shop:
    """One open store under one configuration. Made by `pagefold.open`.

    `pages` reads pages; `deliveries` takes what sources send in their own form; `dead_letters` is what needs a person,
    `retention` how long it is kept; `tokens` is who has access; `epochs` tells and raises epochs; `store` is what
    all of it stands on; `counts` is what this process has done, `faults` what failed lately, `lag` how far behind
    folding is.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self.config = config
        self.store = store
        self.pages = PageReader(store.pages, config)
        door = EventValidator(config)
        epochs = Epochs(store.log)
        self.dead_letters = DeadLetterService(store, config, door, self.append, epochs)
        self.tokens = TokenService(store, config)
        self.epochs = EpochService(store, config, door, epochs)
        self.counts = Counters()
        self.faults = RecentFaults()
        self.lag = LagWatch(store, config)
        self.retention = Retention(store.dead_letters, config.dead_letters)
        self.deliveries = WebhookRetrier(config, store, door, self.append, self.counts, epochs)
        self.dead_letters.deliver_with(self.deliveries.try_again)
        self._appender = Appender(store, door, config.append, self.counts, self.faults, epochs)

    async def append(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """Appends events and tells what became of each, in order. Every `appended` is durable when this returns.

        Concurrent callers share transactions. Sending the same events again is safe. Raises `StoreUnavailable`, after
        which any of them may or may not be in the log.
        """
        return await self._appender.append(events)

    async def take(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """As `append`, but all of them in one transaction, and at once or not at all.

        Raises `Overloaded` when too many events wait already, and `StoreUnavailable`.
        """
        return await self._appender.take(events)

    def check_room(self) -> None:
        """Raises `Overloaded` when nothing would be taken now."""
        self._appender.check_room()

    def answer_within(self, seconds: float) -> None:
        """From now on, whoever appends is told that the store is unavailable after so many seconds.

        Without it, events are tried again for 20 seconds.
        """
        self._appender.patience = seconds

    @property
    def queued(self) -> int:
        """How many events wait to be appended."""
        return self._appender.queued

    async def catch_up(self, domains: Collection[str] | None = None) -> None:
        """Folds what is in the log by now, in all domains or in some; waits where another worker is at it."""
        await self._publish_layout()
        await run_together(*(consumer.catch_up for consumer in self._consumers(domains)))

    async def work(self, domains: Collection[str] | None = None, *, enduring: bool = False) -> None:
        """Folds what comes, in all domains or in some, and empties old dead letters, until it is cancelled.

        A cancellation waits for the current batch. `enduring` consumers go on after any error, which is in `faults`.
        """
        consumers = [partial(consumer.run, enduring=enduring) for consumer in self._consumers(domains)]
        await run_together(partial(self._publish_layout, enduring=enduring), *consumers, self.retention.run)

    @asynccontextmanager
    async def rebuilds(self) -> AsyncIterator["RebuildService"]:
        """Where rebuilds are begun, resumed and reported, for the length of an `async with`."""
        from pagefold.engine.rebuild.rebuild_service import RebuildService  # noqa: PLC0415  # others need not wait for these libraries
        from pagefold.engine.rebuild.run_repository import open_runs  # noqa: PLC0415  # likewise

        async with open_runs(self.store) as runs:
            yield RebuildService(self.store, self.config, runs)

    async def fold_again(
        self,
        domains: Collection[str] | None = None,
        *,
        prefix: str = "",
        write: bool = True,
        tell: OnDrift = ignore,
        advance: OnProgress = ignore,
        processes: int | None = 1,
    ) -> ReplayResult:
        """Folds every page again from the log, in all domains or in some, in place, and beside live consumers.

        `prefix` limits it to SKUs that begin with it; without `write` it only looks. `tell` hears of every section that
        has drifted, `advance` of how many more are done. More `processes` than one are started beside this one, and
        look for what has drifted; None starts as many as there are processors, where there is enough to look at.
        Raises `LogReplaced`.
        """
        await self.store.proof.prove()
        if write:
            await self._publish_layout()
        found: list[ReplayResult] = []

        chosen = self._chosen(domains)
        scans = SharedScans(self.store.log, chosen, self.config)

        async def refold(domain: AnyDomain, pool: VerifierPool | None) -> None:
            looker = SectionVerifier(self.store, domain, self.config, scans)
            refolder = Replayer(self.store, looker, tell=tell, advance=advance)
            drift = await refolder.run(prefix=normalise_sku(prefix), write=write, pool=pool)
            self.counts.folded_again(domain.name, drift.changed)
            found.append(drift)

        if processes is None:
            processes = processors() if await self.store.log.end() >= PAYS_FROM else 1
        async with self._pool(chosen, 1 if prefix else processes) as pool:
            await run_together(*(partial(refold, domain, pool) for domain in chosen))
        return sum(found, ReplayResult())

    async def recover(
        self,
        *,
        confirmed: bool = False,
        tell: OnDrift = ignore,
        advance: OnProgress = ignore,
        processes: int | None = 1,
    ) -> Recovered:
        """Takes the log as it is, whatever was folded before, and folds every page again from it; readers go on.

        From then on the checkpoints prove themselves by this log. `tell`, `advance` and `processes` as in `fold_again`.
        Raises `RecoveryUnderWay`, and `PagesWouldGo`, unless `confirmed`, where the log has nothing of more pages that
        are shown than a rebuild would take away unasked, or of all.
        """
        fold_again = partial(self.fold_again, tell=tell, advance=advance, processes=processes)
        return await Recovery(self.store, self.config, fold_again).run(confirmed=confirmed)

    async def verify(
        self,
        domains: Collection[str] | None = None,
        *,
        sample: int | None = None,
        tell: OnDrift = ignore,
        advance: OnProgress = ignore,
        processes: int | None = 1,
    ) -> ReplayResult:
        """Folds pages from the log and compares them with what stands, without writing: all, or those of some SKUs.

        A `sample` takes so many SKUs at random, each as likely as any other. `processes`, for all, as in `fold_again`.
        """
        if sample is None:
            return await self.fold_again(domains, write=False, tell=tell, advance=advance, processes=processes)
        skus = await sampled(self.store.log, sample)
        found = ReplayResult()
        for domain in self._chosen(domains):
            looker = SectionVerifier(self.store, domain, self.config)
            found += await Replayer(self.store, looker, tell=tell, advance=advance).sample(skus)
        return found

    def history(
        self, sku: str, *, channel: str | None = None, domain: str | None = None
    ) -> AsyncIterator[HistoryEntry]:
        """What each source said about a SKU, by stream and version."""
        return history_of(self.store, sku, channel=channel, domain=domain)

    async def status(self) -> Status:
        """How far each domain is, and how far behind."""
        return await status_of(self.store, self.config, self.retention, await results_of(self))

    async def close(self) -> None:
        """Commits what was appended and gives the store back. `pagefold.open` does it."""
        await self.lag.close()
        await self._appender.close()
        await self.store.close()

    @asynccontextmanager
    async def _pool(self, domains: Collection[AnyDomain], processes: int) -> AsyncIterator[VerifierPool | None]:
        """Processes that look at all pages of these domains; None where there would be one."""
        if processes == 1:
            yield None
            return
        parts = await split_ranges(self.store, domains, PARTS * processes)
        names = [domain.name for domain in domains]
        async with VerifierPool.of(self.config, processes, names, parts) as pool:
            yield pool

    def _consumers(self, names: Collection[str] | None) -> list[Consumer]:
        return [Consumer(self.store, domain, self.config, self.counts, self.faults) for domain in self._chosen(names)]

    def _chosen(self, names: Collection[str] | None) -> list[AnyDomain]:
        known = {domain.name for domain in DOMAINS}
        for name in names or ():
            if name not in known:
                raise ConfigurationError("", f"{name!r} is no domain; there are {', '.join(sorted(known))}")
        return [domain for domain in DOMAINS if names is None or domain.name in names]

    async def _publish_layout(self, *, enduring: bool = False) -> None:
        while True:
            try:
                return await self._publish_layout_once()
            except StoreError as error:
                if not enduring:
                    raise
                log.warning("the channels are not published yet", error=str(error))
                await anyio.sleep(SECONDS_TO_PUBLISH)

    async def _publish_layout_once(self) -> None:
        identity = next(domain.name for domain in DOMAINS if domain.gives_identity)
        requires = {channel.name: channel.requires for channel in self.config.resolved_channels}
        await self.store.pages.publish_layout([domain.name for domain in DOMAINS], identity, requires)


@asynccontextmanager
async def open(  # noqa: A001  # `pagefold.open` is the name that reads well where it is used
    config: Config | str | os.PathLike[str] | None = None, *, create: bool = True, disposable: bool = False
) -> AsyncIterator[Shop]:
    """A shop, for the length of an `async with`.

    `config` is a `Config`, or the path of a TOML file, or None for `PAGEFOLD_CONFIG` or `pagefold.toml`. Its store is
    made, or brought up to date, unless `create` is false. `disposable` allows a standby on the same machine to kill
    this process should it find it frozen inside a transaction (SQLite); leave it false where the process does
    anything else.

    Raises `ConfigurationError`, `StoreNotFound`, `StoreTooNew`, `StoreUnavailable`.
    """
    settings = config if isinstance(config, Config) else Config.load(config)
    store = await open_store(settings, create=create, disposable=disposable)
    shop = Shop(store, settings)
    try:
        yield shop
    finally:
        with anyio.CancelScope(shield=True):
            await shop.close()
