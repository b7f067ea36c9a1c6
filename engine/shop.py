"""`Shop`: one open store under one configuration, for programs: append events, fold them, read pages."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from pagefold.domains import DOMAINS, AnyDomain
from pagefold.engine.applied.applied_configuration import FOLLOW_SECONDS
from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.configuration.config import Config
from pagefold.engine.consumers.background_work import BackgroundWork
from pagefold.engine.consumers.consumer import Consumer
from pagefold.engine.consumers.shared_reads import SharedReads
from pagefold.engine.errors import RETRYABLE, ConfigurationError, StoreError
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.explanations.explanation import PageExplanation
from pagefold.engine.feed.changes import Changes, selection_of
from pagefold.engine.intake.event_encoder import Outcome
from pagefold.engine.plans.planner import OnPlanned
from pagefold.engine.plans.planner_pool import ignore as ignore_plan
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.reading.health import Health
from pagefold.engine.reading.history import HistoryEntry, history_of
from pagefold.engine.reading.moments import At
from pagefold.engine.reading.page_reader import ProductPage
from pagefold.engine.reading.readiness import results_of
from pagefold.engine.reading.status import Status, status_of
from pagefold.engine.replay.domain_replay import ReplayReport, ReplayScope, replay_domains
from pagefold.engine.replay.recovery import Recovery, RecoveryResult
from pagefold.engine.replay.replay_audit import verify_entry
from pagefold.engine.replay.replayer import OnDrift, OnProgress, ReplayResult, ignore, replay_sample
from pagefold.engine.replay.section_verifier import SectionVerifier
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_beside, run_together
from pagefold.engine.services import Services
from pagefold.engine.stores import open_store
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.store import Store

if TYPE_CHECKING:
    from pagefold.engine.rebuild.rebuild_service import RebuildService


RETRY_SECONDS = 5.0
"""How long to wait after the channels or the configuration could not be published, before the next attempt."""

log = Logger(__name__)


class Shop(Services):
    """One open store under one configuration. Made by `pagefold.open`.

    It has the services that `pagefold.engine.services.Services` names, such as `pages`, and what they do together.
    """

    def __init__(self, store: Store, config: Config) -> None:
        super().__init__(store, config, self.append)
        self._workers = BackgroundWork(self.work, self.faults)

    async def append(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """Appends events and returns one result per event, in order. Every `appended` is durable by then.

        Concurrent callers share transactions. Sending the same events again is safe. Raises `StoreUnavailable`, after
        which any of them may or may not be in the log, `StoreReadOnly`, `LogReplaced`, and `WorkersStopped` after an
        error has ended the workers that `pagefold.open` started.
        """
        self._workers.check()
        return await self._appender.append(events)

    async def append_atomically(self, events: Sequence[DomainEvent]) -> list[AppendResult]:
        """As `append`, but all events in one transaction, and without waiting for room in the queue.

        Raises `Overloaded` when the queue has no room, and nothing was taken; else as `append` does.
        """
        self._workers.check()
        return await self._appender.append_atomically(events)

    async def encode(self, events: Sequence[DomainEvent]) -> list[Outcome]:
        """The events as they will be stored, or why they are not valid. Nothing is appended."""
        return await self._appender.encode(events)

    async def append_noted(self, events: Sequence[EncodedEvent], note: EncodedEvent) -> tuple[list[AppendResult], bool]:
        """Appends events and a note of another topic in one transaction. Returns the results, and whether it was free.

        A note whose version is taken is not written; the events are.
        """
        return await self._appender.append_noted(events, note)

    def check_capacity(self) -> None:
        """Raises `Overloaded` when the append queue is full."""
        self._appender.check_capacity()

    def answer_within(self, seconds: float) -> None:
        """From now on, `append` raises `StoreUnavailable` after this many seconds. By default it retries for 20."""
        self._appender.patience = seconds

    async def catch_up(self, domains: Collection[str] | None = None) -> None:
        """Folds everything in the log at the time of the call, in all domains or some. Raises `LogReplaced`.

        Waits for a domain that another worker is folding. If the configuration has other channels or sources than the
        one that counts, it is applied before, as its `apply` says.
        """
        await self._applier.apply_file()
        await self._apply_due()
        await self._publish_layout_once()
        await run_together(*(consumer.catch_up for consumer in self._consumers(domains)))

    async def work(self, domains: Collection[str] | None = None, *, enduring: bool = False) -> None:
        """Runs the consumers, of all domains or some, until it is cancelled.

        Beside them, dead letters that have waited are taken, old ones lose their content, and key figures are watched.
        A cancellation waits for the current batch. Transient errors are retried. Raises `LogReplaced` and unexpected
        errors, unless it is `enduring`: then every error is retried, and is in `faults` until it passes.
        """
        take_waiting = partial(self.waiting.run, self.config.work.poll_seconds)
        await self._until_done("nothing is applied yet", self._applier.apply_first, enduring=enduring)
        apply_file = partial(
            self._until_done, "the configuration is not applied yet", self._applier.apply_file, enduring=enduring
        )
        consume = partial(self._consume, domains, enduring=enduring)
        others = (
            self.follow,
            self._apply_in_time,
            self.retention.run,
            take_waiting,
            self.monitor.run,
            self._delivery_work.run,
            self._saga_work.run,
        )
        await run_together(consume, apply_file, *others)

    async def follow(self) -> None:
        """Takes configurations that others apply, and releases that they create, until it is cancelled.

        `work` does it, and so must a process that reads pages, or appends, for long.
        """
        await run_together(self.applied.follow, self._releases.follow)

    async def refresh(self) -> None:
        """Takes what others have applied and created until now."""
        await self.applied.refresh()
        await self._releases.refresh()

    def working(self) -> AbstractAsyncContextManager[None]:
        """Runs `work` in the background for the length of an `async with`; an error that ends it is in `health`.

        It is logged at once, and raised by the next `append`.
        """
        return self._workers.running()

    @asynccontextmanager
    async def rebuilds(self) -> AsyncIterator["RebuildService"]:
        """The service that begins, resumes and reports rebuilds, for the length of an `async with`.

        Raises `ExtraMissing` without `pagefold[rebuild]`.
        """
        with needs_extra("Shop.rebuilds", "rebuild"):
            from pagefold.engine.rebuild.rebuild_service import RebuildService  # noqa: PLC0415  # callers without rebuilds need not have its packages
            from pagefold.engine.rebuild.run_repository import open_runs  # noqa: PLC0415  # likewise

        async with open_runs(self.store) as runs:
            yield RebuildService(self.store, self.config, runs, self.counters)

    async def replay(
        self,
        domains: Collection[str] | None = None,
        *,
        prefix: str = "",
        write: bool = True,
        on_drift: OnDrift = ignore,
        on_progress: OnProgress = ignore,
        processes: int | None = 1,
    ) -> ReplayResult:
        """Folds every page again from the log, in all domains or some, in place, while consumers and readers continue.

        `prefix` limits it to SKUs that begin with it; without `write` it only compares. `on_drift` is called with each
        section that differs from the log, `on_progress` with the number of sections compared since the last call. With
        `processes` above 1, that many processes compare; None starts one per processor if the log is large enough.
        Raises `LogReplaced`.
        """
        await self.store.proof.prove()
        await self.applied.refresh()
        if write:
            await self._publish_layout_once()
        scope = ReplayScope(self._chosen(domains), prefix, write=write)
        report = ReplayReport(on_drift, on_progress, self.counters)
        return await replay_domains(self.store, self.applied.config, scope, report, processes)

    async def plan(
        self,
        config: Config | None = None,
        *,
        on_planned: OnPlanned = ignore_plan,
        every_change: bool = False,
        processes: int | None = 1,
    ) -> SavedPlan:
        """What would change if the channels and sources of a configuration were applied; by default, this shop's.

        Folds every page from the log twice, under what counts and under `config`, and compares. Writes nothing.
        `on_planned` is called with each range of products; with `every_change`, it has all of their changed pages.
        `processes` as in `replay`. Raises `LogReplaced`.
        """
        await self.applied.refresh()
        settings = self.applied.wanted(config)
        return await self._applier.plan(settings, on_planned=on_planned, every_change=every_change, processes=processes)

    async def page_at(self, sku: str, channel: str, at: At, *, disabled: bool = False) -> ProductPage | None:
        """The page as it was at a position of the log or a time with a zone; None where there was none.

        Folded from the log up to there, under the configuration that counted then. Disabled pages are returned only on
        request. `past` has it as it was served, and under other configurations. Raises `ValueError` for a time without
        a zone, and `StoreUnavailable`.
        """
        return await self.past.get(sku, channel, at, disabled=disabled)

    async def apply(self, plan: SavedPlan, *, by: str, reason: str, expected: int | None = None) -> Applied:
        """Applies the channels and sources of a plan, whatever that takes away. `by` is a person's name.

        Running workers and servers take them within seconds. Raises `PlanOutdated` if something else counts than the
        plan began from, `CountChanged` if it takes something from another number of live pages than `expected`,
        `Rejected` for a blank name or reason, and `LogReplaced`.
        """
        return await self._applier.apply(plan, by=by, reason=reason, expected=expected)

    async def recover(
        self,
        *,
        confirmed: bool = False,
        on_drift: OnDrift = ignore,
        on_progress: OnProgress = ignore,
        processes: int | None = 1,
    ) -> RecoveryResult:
        """Accepts the log as it is, after it was restored or swapped, and folds every page again from it.

        Readers continue; checkpoints belong to this log from then on. `on_drift`, `on_progress` and `processes` as in
        `replay`. Raises `RecoveryUnderWay`, and `PagesWouldGo`, unless `confirmed`, if the log has no events of more
        live pages than a rebuild may withdraw without confirmation, or of all of them.
        """
        replay = partial(self.replay, on_drift=on_drift, on_progress=on_progress, processes=processes)
        await self.applied.refresh()
        return await Recovery(self.store, self.applied.config, replay, self.audit).run(confirmed=confirmed)

    async def verify(
        self,
        domains: Collection[str] | None = None,
        *,
        sample: int | None = None,
        on_drift: OnDrift = ignore,
        on_progress: OnProgress = ignore,
        processes: int | None = 1,
    ) -> ReplayResult:
        """Folds pages from the log and compares them with what is stored, without writing: all, or those of some SKUs.

        `sample` is a number of SKUs to take at random, each equally likely. The others as in `replay`. The audit has
        what was found, where it can be written.
        """
        async with verify_entry(self.audit, domains, sample, on_drift) as entry:
            report = entry.on_drift
            if sample is None:
                found = await self.replay(
                    domains, write=False, on_drift=report, on_progress=on_progress, processes=processes
                )
            else:
                await self.applied.refresh()
                verifiers = [SectionVerifier(self.store, each, self.applied.config) for each in self._chosen(domains)]
                found = await replay_sample(self.store, verifiers, sample, on_drift=report, on_progress=on_progress)
            entry.note(found)
        await self.kpis.record_comparison(found.sections, found.changed)
        return found

    def history(
        self,
        sku: str,
        *,
        channel: str | None = None,
        domain: str | None = None,
        source: str | None = None,
        as_of: int | None = None,
    ) -> AsyncIterator[HistoryEntry]:
        """Every event of a SKU, by stream and version, with what it changed. `channel` may be `*`.

        With `as_of`, the history as it was at this position.
        """
        return history_of(self.store, sku, channel=channel, domain=domain, source=source, as_of=as_of)

    def changes(
        self,
        after: str = "0",
        *,
        channels: Collection[str] | None = None,
        prefix: str = "",
        domains: Collection[str] | None = None,
        pages: bool = False,
        follow: bool = True,
    ) -> Changes:
        """The pages that change, each in its newest state: `async for change in shop.changes(cursor)`.

        After a cursor, `"0"` (every page first) or `"now"`. `channels`, a `prefix` of SKUs and `domains` select; with
        `pages`, each has its page. Without `follow`, it ends when it is up to date. A page may be named that did not
        change; none is missed. `Changes.cursor` is where to go on later.

        Raises `ConfigurationError` for unknown names; the iterator raises `FeedReset` if the cursor is of another log
        or too old, `UnknownCursor`, and `StoreUnavailable`.
        """
        selection = selection_of(self.applied.config, channels, prefix, domains)
        return Changes(self.feed, after, selection, documents=pages, follow=follow)

    async def why(self, sku: str, channel: str) -> PageExplanation:
        """Why a page is as it is: the origin of each value, and what stopped the rest. The page need not exist.

        It is folded from the log, under the configuration that counts, and compared with what is stored. Raises
        `ConfigurationError` for a channel that is not in it.
        """
        return await self._explainer.explain(sku, channel)

    async def status(self) -> Status:
        """How far each domain is folded and how far behind, the key figures, and what waits for a person."""
        checks = await results_of(self)
        found = await status_of(self.store, self.applied, self.pages, self.retention, checks, self.source_lag)
        targets = [each.summary for each in await self.targets.list()]
        return found.with_targets(targets).with_kpis(await self.kpis.measure())

    async def health(self) -> Health:
        """Whether the store can be read and written, and whether this program's workers run. Answers within seconds."""
        return Health.of(self._workers, await self._readiness.results())

    def _consumers(self, names: Collection[str] | None) -> list[Consumer]:
        reads = SharedReads(self.store)
        return [
            Consumer(self.store, domain, self.applied.config, self.counters, self.faults, reads)
            for domain in self._chosen(names)
        ]

    def _chosen(self, names: Collection[str] | None) -> list[AnyDomain]:
        known = {domain.name for domain in DOMAINS}
        for name in names or ():
            if name not in known:
                raise ConfigurationError("", f"unknown domain {name!r}; the domains are {', '.join(sorted(known))}")
        return [domain for domain in DOMAINS if names is None or domain.name in names]

    async def _consume(self, domains: Collection[str] | None, *, enduring: bool) -> None:
        """Runs the consumers; with others, once another configuration counts. Those finish their batch."""
        while True:
            config = self.applied.config
            consumers = [partial(each.run, enduring=enduring) for each in self._consumers(domains)]
            publish = partial(
                self._until_done, "the channels are not published yet", self._publish_layout_once, enduring=enduring
            )
            async with run_beside(partial(run_together, publish, *consumers)):
                await self.applied.changed(config)

    async def _apply_due(self) -> None:
        """Applies what is due by now: requirement sets that count from today on, and releases."""
        await self._applier.apply_day()
        await self.releases.apply_due()

    async def _apply_in_time(self) -> None:
        while True:
            await anyio.sleep(FOLLOW_SECONDS)
            with suppress(StoreError):  # others of this process report it
                await self._apply_due()

    async def _until_done(self, problem: str, do: Callable[[], Awaitable[None]], *, enduring: bool) -> None:
        """Tries until the store allows it. Raises errors that do not pass, unless it is `enduring`."""
        while True:
            try:
                return await do()
            except StoreError as error:
                if not (enduring or isinstance(error, RETRYABLE)):
                    raise
                log.warning(problem, error=str(error))
                await anyio.sleep(RETRY_SECONDS)

    async def _publish_layout_once(self) -> None:
        identity = next(domain.name for domain in DOMAINS if domain.gives_identity)
        requires = {channel.name: channel.requires for channel in self.applied.config.resolved_channels}
        await self.store.pages.publish_layout([domain.name for domain in DOMAINS], identity, requires)


@asynccontextmanager
async def open_shop(
    config: Config | str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    work: bool = False,
    killable: bool = False,
) -> AsyncIterator[Shop]:
    """A shop, for the length of an `async with`.

    `config` is a `Config`, the path of a TOML file, or None for `PAGEFOLD_CONFIG`, else `pagefold.toml`. The store is
    made, or its schema brought up to date, unless `create` is false. With `work`, the consumers run in the background
    for as long: `Shop.health` says whether they do, and an error that ends them is logged, and raised by the next
    `append`. `killable` allows a standby on the same machine
    to kill this process if it finds it frozen inside a transaction (SQLite); leave it false if the process does
    anything else.

    Raises `ConfigurationError`, `StoreNotFound`, `StoreTooNew`, `StoreUnusable`, `StoreUnavailable`.
    """
    settings = config if isinstance(config, Config) else Config.load(config)
    store = await open_store(settings, create=create, killable=killable)
    shop = Shop(store, settings)
    try:
        await shop.refresh()
        async with shop.working() if work else nullcontext():
            yield shop
    finally:
        with anyio.CancelScope(shield=True):
            await shop.close()
