"""The services of an open store: what each is made of, and the order in which they are made and closed."""

from functools import partial

from pagefold.engine.access.token_service import TokenService
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.dead_letter_service import DeadLetterService
from pagefold.engine.dead_letters.retention import Retention
from pagefold.engine.dead_letters.waiting_letters import WaitingLetters
from pagefold.engine.dead_letters.webhook_retrier import WebhookRetrier
from pagefold.engine.delivery.current_documents import CurrentDocuments
from pagefold.engine.delivery.delivery_work import DeliveryWork
from pagefold.engine.delivery.target_service import TargetService
from pagefold.engine.explanations.page_explainer import Explainer
from pagefold.engine.feed.change_feed import ChangeFeed
from pagefold.engine.feed.feed_reader import FeedReader
from pagefold.engine.intake.appender import Appender
from pagefold.engine.intake.echo_finder import EchoFinder
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.epoch_service import EpochService
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.field_watch import FieldWatch
from pagefold.engine.intake.references import ReferenceResolver
from pagefold.engine.intake.whole_groups import Append
from pagefold.engine.monitoring.alert_service import AlertService
from pagefold.engine.monitoring.kpi_service import KpiService
from pagefold.engine.monitoring.monitor import Monitor
from pagefold.engine.plans.applier import Applier
from pagefold.engine.reading.completeness import CompletenessReader
from pagefold.engine.reading.completeness_history import CompletenessHistory
from pagefold.engine.reading.differences import Differences
from pagefold.engine.reading.lag_cache import LagCache
from pagefold.engine.reading.page_counts import PageCounts
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.past_pages import PastPages
from pagefold.engine.reading.readiness import QUICK_CHECKS, Readiness
from pagefold.engine.reading.reference_status import ReferenceCache
from pagefold.engine.reading.source_lag import SourceLag
from pagefold.engine.rebuild.fetched_tables import fetch_tables
from pagefold.engine.releases.release_log import ReleaseLog
from pagefold.engine.releases.release_service import ReleaseService
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.sagas.saga_service import SagaService
from pagefold.engine.sagas.saga_work import SagaPages, SagaWork
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.stores.store import Store


class Services:
    """The services of one open store under one configuration, and `store`, the contract below all of them.

    Pages: `pages` reads them, `past` as they were, `diff` compares two views of them, `feed` follows them;
    `completeness` counts what they lack, `completeness_history` says since when.

    Configuration: `config` is what was given, `applied` what pages are folded under, `plans` has plans that are kept,
    `validator` the rules of events, under what is applied. `releases` creates, publishes and rolls back releases.

    What comes in: `webhooks` appends what webhooks and CDC connectors send; `waiting` takes what of it had to wait
    for a reference, `references` looks up the SKUs of one, and `reference_kinds` counts what is known of them. `fields`
    counts the fields of the records that contracts read. `echoes` finds what targets send back. `epochs` lists and
    raises epochs.

    What goes out: `targets` has the systems that pages are delivered to, and what they hold; `sagas` the pages that
    several of them get together, or not at all.

    Operators: `dead_letters` lists, corrects, retries and discards what could not be appended or folded; `retention`
    deletes the content of old ones. `tokens` makes and revokes access tokens; `audit` has who did what.

    Figures: `counters` counts what this process has done, `faults` has its recent failures, `lag` is how far folding is
    behind, `source_lag` how far the sources that are asked. `page_counts` counts pages. `kpis` measures key
    figures, `alerts` has those that were crossed, `monitor` watches them.
    """

    def __init__(self, store: Store, config: Config, append: Append) -> None:
        self.config = config
        self.store = store
        self.audit = AuditLog(store.audit)
        self.applied = AppliedConfiguration(store, config)
        self.pages = PageReader(store.pages, config)
        self.past = PastPages(store, self.applied)
        self.feed = ChangeFeed(FeedReader(store, self.applied, self.pages), store.log)
        self.diff = Differences(store, self.applied).between
        self.completeness = CompletenessReader(store, self.applied)
        self.completeness_history = CompletenessHistory(store, self.applied)
        self.applied.on_change(self.pages.configure)
        self._applier = Applier(store, self.applied)
        self.plans = self._applier.plans
        self._explainer = Explainer(store, self.applied)
        self._releases = ReleaseLog(store)
        self.releases = ReleaseService(store, self.applied, self._applier, self._releases)
        self.validator = EventValidator(config, self._releases.names)
        self.applied.on_change(self.validator.configure)
        epochs = EpochRegistry(store.log)
        self.dead_letters = DeadLetterService(store, self.applied, self.validator, append, epochs)
        self.tokens = TokenService(store, config)
        self.epochs = EpochService(store, config, self.validator, epochs)
        self.counters = Counters()
        self.faults = RecentFaults()
        self.targets = TargetService(store, config, self.pages, self.audit)
        self._delivery_work = DeliveryWork(store, config, self.feed.reader, self.pages, self.faults)
        self.sagas = SagaService(store, config.sagas, self.audit)
        saga_pages = SagaPages(self.feed.reader, self.pages, self.past)
        self._saga_work = SagaWork(store, config, saga_pages, self.faults, self._delivery_work.wake)
        self.fields = FieldWatch(store.fields)
        self.lag = LagCache(store, self.applied)
        self.reference_kinds = ReferenceCache(store, config)
        self.source_lag = SourceLag(store, config)
        self.page_counts = PageCounts(store.pages, self.pages)
        self.applied.on_change(lambda _config: self.page_counts.count_again())
        self.retention = Retention(store, config.dead_letters)
        self.webhooks = WebhookRetrier(
            config,
            store,
            self.validator,
            append,
            self.counters,
            epochs,
            fields=self.fields,
            fetch_tables=partial(fetch_tables, config, RequestLimiter(self.counters)),
        )
        self.dead_letters.deliver_with(self.webhooks.try_again)
        self.dead_letters.documents_from(CurrentDocuments(config.targets, self.pages).get)
        self.references = ReferenceResolver(store, config.references)
        self.waiting = WaitingLetters(store, self.references, self.dead_letters.retry)
        self.echoes = EchoFinder(store, config, self.validator)
        self._appender = Appender(
            store, self.validator, config.append, self.counters, self.faults, epochs, echoes=self.echoes
        )
        self._readiness = Readiness(self, QUICK_CHECKS)
        self.kpis = KpiService(self)
        self.alerts = AlertService(store.alerts, config.alerts)
        self.monitor = Monitor(self, self.kpis, self.alerts)

    @property
    def queued(self) -> int:
        """How many events are waiting to be appended."""
        return self._appender.queued

    async def close(self) -> None:
        """Commits what was appended and closes the store. `pagefold.open` does it."""
        for each in (self._readiness, self.kpis, self.lag, self.page_counts):
            await each.close()
        await self._appender.close()
        await self.fields.close()
        await self.store.close()
