"""`/metrics` in the Prometheus text format.

Counters are plain numbers, updated per batch, and become metrics only on request. No label is an SKU. If several
processes share a port, the first one answers for all, each with its `worker` label.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pagefold.engine.configuration.shop_config import ShopIdentity
from pagefold.engine.dead_letters.retention import Outlook
from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.events import OUTCOMES
from pagefold.engine.http.kpi_metrics import (
    build_metrics,
    kpi_metrics,
    page_metrics,
    process_metrics,
    shop_metrics,
    store_metrics,
)
from pagefold.engine.http.process_counters import ProcessCounters
from pagefold.engine.http.target_metrics import target_metrics
from pagefold.engine.kpis.definitions import Kpi
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.reading.check_results import PURPOSES, CheckResult
from pagefold.engine.reading.lag_cache import MAX_COUNTED_EVENTS
from pagefold.engine.reading.page_counts import ChannelCounts
from pagefold.engine.reading.reference_status import ReferenceStatus
from pagefold.engine.reading.source_lag import SourceStatus
from pagefold.engine.reading.status import FoldProgress
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.runtime.counters import Histogram
from pagefold.engine.shop import Shop
from pagefold.engine.stores.fetch_records import FetchCount
from pagefold.engine.stores.field_ledger import Alert

__all__ = ["CONTENT_TYPE", "ShopCollector", "exposition"]


class StoreFigures(NamedTuple):
    """What the metrics say of a store, the same in every process."""

    progress: FoldProgress
    outlook: Outlook
    checks: Sequence[CheckResult]
    field_alerts: Sequence[tuple[str, Alert, int]]
    references: Sequence[ReferenceStatus]
    sources: Sequence[SourceStatus]
    fetches: Sequence[FetchCount]
    kpis: Sequence[Kpi]
    readings: Sequence[KpiReading]
    shop: ShopIdentity
    store: str
    sizes: Mapping[str, int]
    channels: Sequence[str]
    counts: ChannelCounts
    targets: Sequence[TargetStatus]


async def exposition(shop: Shop, processes: Sequence[ProcessCounters], checks: Sequence[CheckResult]) -> bytes:
    """All metrics as text. Raises `StoreUnavailable`: without the store's metrics the shop would look idle."""
    registry = CollectorRegistry(auto_describe=False)
    figures = StoreFigures(
        checks=checks,
        outlook=await shop.retention.outlook(),
        progress=await shop.lag.progress(),
        field_alerts=await shop.store.fields.alert_counts(),
        references=await shop.reference_kinds.kinds(),
        sources=await shop.source_lag.known(),
        fetches=await shop.store.fetches.counts(),
        kpis=shop.kpis.kpis,
        readings=await shop.kpis.readings(),
        shop=shop.config.identity,
        store=shop.store.name,
        sizes=await shop.store.sizes(),
        channels=list(shop.applied.config.channels) if shop.page_counts.counted_at else [],
        counts=shop.page_counts.recent(),
        targets=await shop.targets.list(),
    )
    registry.register(ShopCollector(processes, figures))
    return generate_latest(registry)


class ShopCollector(Collector):
    """Turns the counters of each process and the figures of the store into metrics."""

    def __init__(self, processes: Sequence[ProcessCounters], figures: StoreFigures) -> None:
        self._processes = processes
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        figures = self._figures
        yield from build_metrics(figures.store)
        yield from shop_metrics(figures.shop)
        yield from process_metrics(self._processes)
        yield from kpi_metrics(figures.kpis, figures.readings)
        yield from store_metrics(figures.sizes)
        yield from page_metrics(figures.channels, figures.counts)
        yield from target_metrics(figures.targets)
        yield from self._requests()
        yield from self._appends()
        yield from self._folds()
        yield from self._standing()
        yield from self._known_references()
        yield from self._readiness()
        yield from self._fields()
        yield from self._asked_sources()
        yield from self._wanted_fetches()

    def _wanted_fetches(self) -> Iterator[Metric]:
        """The records that are to be fetched."""
        wanted = GaugeMetricFamily(
            "pagefold_fetches",
            "Records that are to be fetched, and how many of them failed before.",
            labels=["source", "state"],
        )
        oldest = GaugeMetricFamily(
            "pagefold_fetch_oldest_seconds", "Since when the oldest of them is wanted.", labels=["source"]
        )
        for each in self._figures.fetches:
            wanted.add_metric([each.source, "new"], each.wanted - each.failing)
            wanted.add_metric([each.source, "failing"], each.failing)
            oldest.add_metric([each.source], round(seconds_since(each.oldest), 3))
        yield from (wanted, oldest)

    def _asked_sources(self) -> Iterator[Metric]:
        """The lag of the sources that are asked, up to ten seconds ago."""
        synced = GaugeMetricFamily(
            "pagefold_source_synced_seconds",
            "Since the newest complete sync, poll or rebuild of a source began.",
            labels=["source"],
        )
        behind = GaugeMetricFamily(
            "pagefold_source_behind_seconds",
            "How long ago the time is since which a source is asked for changes the next time.",
            labels=["source"],
        )
        overdue = GaugeMetricFamily(
            "pagefold_source_overdue_seconds",
            "For how long a source should have been synced, polled or rebuilt again; 0 while a run may be going on.",
            labels=["source"],
        )
        for each in self._figures.sources:
            if each.synced_at is not None:
                synced.add_metric([each.source], round(seconds_since(each.synced_at), 3))
            if each.behind_seconds is not None:
                behind.add_metric([each.source], each.behind_seconds)
            overdue.add_metric([each.source], each.overdue_seconds)
        yield from (synced, behind, overdue)

    def _fields(self) -> Iterator[Metric]:
        """The alerts of the ledger of fields."""
        alerts = GaugeMetricFamily(
            "pagefold_field_alerts",
            "Fields of records that are new, have vanished, or have another type.",
            labels=["source", "alert"],
        )
        for source, alert, number in self._figures.field_alerts:
            alerts.add_metric([source, alert], number)
        yield alerts

    def _readiness(self) -> Iterator[Metric]:
        """The results of `/readyz`."""
        ready = GaugeMetricFamily("pagefold_ready", "Whether every check for it holds.", labels=["for"])
        holds = GaugeMetricFamily("pagefold_check_ok", "Whether a check of readiness holds.", labels=["check"])
        for purpose in PURPOSES:
            ready.add_metric([purpose], all(each.ok for each in self._figures.checks if purpose in each.purposes))
        for each in self._figures.checks:
            holds.add_metric([each.name], each.ok)
        yield from (ready, holds)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "pagefold_http_requests", "Requests answered.", labels=["worker", "method", "route", "status"]
        )
        for process in self._processes:
            for method, route, status, number in process.requests:
                requests.add_metric([str(process.worker), method, route, str(status)], number)
        yield requests
        yield self._counter("pagefold_page_reads", "Pages found for readers, 304s among them.", lambda each: each.reads)
        yield self._histogram(
            "pagefold_page_read_seconds",
            "Time of a page read until its response, of a sample.",
            lambda each: {"": each.read_seconds},
        )
        yield self._counter(
            "pagefold_page_not_modified", "Page reads answered with 304.", lambda each: each.not_modified
        )
        yield self._by(
            "pagefold_http_refused",
            "Requests and connections refused unread.",
            "status",
            lambda each: {str(status): number for status, number in each.refused.items()},
        )
        yield self._counter(
            "pagefold_http_gone", "Requests whose sender hung up before they were whole.", lambda each: each.gone
        )

    def _appends(self) -> Iterator[Metric]:
        yield self._by(
            "pagefold_events",
            "Events answered, by outcome.",
            "outcome",
            lambda each: {outcome: each.counts.outcomes.get(outcome, 0) for outcome in OUTCOMES},
        )
        yield self._histogram(
            "pagefold_append_batch_events", "Events in a transaction.", lambda each: {"": each.counts.appends.events}
        )
        yield self._histogram(
            "pagefold_append_seconds", "Time of a transaction.", lambda each: {"": each.counts.appends.seconds}
        )
        yield self._aside()
        queued = GaugeMetricFamily(
            "pagefold_append_queue_events", "Events that wait to be appended.", labels=["worker"]
        )
        for process in self._processes:
            queued.add_metric([str(process.worker)], process.queued)
        yield queued

    def _aside(self) -> Metric:
        family = CounterMetricFamily(
            "pagefold_ingest_items_not_appended",
            "Items, CloudEvents and rows that contracts make no event of: kept in dead letters, or why ignored.",
            labels=["worker", "source", "outcome"],
        )
        for process in self._processes:
            for source, words in process.counts.aside.items():
                for word, number in words.items():
                    family.add_metric([str(process.worker), source, word], number)
        return family

    def _folds(self) -> Iterator[Metric]:
        yield self._histogram(
            "pagefold_fold_batch_events",
            "Events in a batch of a consumer.",
            lambda each: {domain: batches.events for domain, batches in each.counts.folds.items()},
            "domain",
        )
        yield self._histogram(
            "pagefold_fold_seconds",
            "Time of a batch of a consumer.",
            lambda each: {domain: batches.seconds for domain, batches in each.counts.folds.items()},
            "domain",
        )
        yield self._by(
            "pagefold_sections_changed",
            "SKUs whose sections consumers changed.",
            "domain",
            lambda each: each.counts.changed,
        )
        yield self._by(
            "pagefold_rebuild_drift",
            "Sections that folding again found drifted.",
            "domain",
            lambda each: each.counts.drifted,
        )

    def _standing(self) -> Iterator[Metric]:
        """The state of the store, the same in every process."""
        text = f"Events that are not folded yet, among the next {MAX_COUNTED_EVENTS:,} of the log."
        lag_events = GaugeMetricFamily("pagefold_lag_events", text, labels=["domain"])
        lag_seconds = GaugeMetricFamily(
            "pagefold_lag_seconds", "Age of the oldest event that is not folded yet.", labels=["domain"]
        )
        checkpoint = GaugeMetricFamily("pagefold_checkpoint", "Position that is folded.", labels=["domain"])
        log_end = GaugeMetricFamily("pagefold_log_end", "Position of the newest event.")
        folded = CounterMetricFamily(
            "pagefold_folded_events",
            "Events behind the checkpoint, by what became of them.",
            labels=["domain", "outcome"],
        )
        dead_letters = GaugeMetricFamily(
            "pagefold_dead_letters",
            "Those that need a person, or wait for a reference; a request and a delivery have no domain.",
            labels=["kind", "domain"],
        )
        for each in self._figures.progress.domains:
            lag_events.add_metric([each.domain], each.lag_events)
            lag_seconds.add_metric([each.domain], each.lag_seconds)
            checkpoint.add_metric([each.domain], each.checkpoint)
            for outcome, number in (("applied", each.applied), ("stale", each.stale), ("dead", each.dead)):
                folded.add_metric([each.domain, outcome], number)
            dead_letters.add_metric(["projection", each.domain], each.dead_letters)
            dead_letters.add_metric(["ingest", each.domain], each.conflicts)
            dead_letters.add_metric(["waiting", each.domain], self._figures.progress.waiting.get(each.domain, 0))
        dead_letters.add_metric(["ingest", ""], self._figures.progress.deliveries)
        dead_letters.add_metric(["delivery", ""], sum(each.dead for each in self._figures.targets))
        dead_letters.add_metric(["waiting", ""], self._figures.progress.waiting.get("", 0))
        yield GaugeMetricFamily(
            "pagefold_dead_letters_expiring",
            "Open ones that will soon lose what they say, which nothing else has.",
            value=self._figures.outlook.expiring,
        )
        yield GaugeMetricFamily(
            "pagefold_dead_letters_purged",
            "Open ones that have lost what they said, which nothing else has.",
            value=self._figures.outlook.purged,
        )
        log_end.add_metric([], max((each.log_end for each in self._figures.progress.domains), default=0))
        yield from (lag_events, lag_seconds, checkpoint, log_end, folded, dead_letters)

    def _known_references(self) -> Iterator[Metric]:
        """What is known of references, up to a minute ago."""
        ids = GaugeMetricFamily("pagefold_references", "Ids under which SKUs are known.", labels=["kind"])
        text = "Ids that several SKUs have, although their kind is not of groups: nothing is taken under them."
        ambiguous = GaugeMetricFamily("pagefold_references_ambiguous", text, labels=["kind"])
        for each in self._figures.references:
            ids.add_metric([each.kind], each.ids)
            ambiguous.add_metric([each.kind], each.ambiguous)
        yield from (ids, ambiguous)

    def _counter(self, name: str, text: str, number: Callable[[ProcessCounters], int]) -> Metric:
        family = CounterMetricFamily(name, text, labels=["worker"])
        for process in self._processes:
            family.add_metric([str(process.worker)], number(process))
        return family

    def _by(self, name: str, text: str, label: str, counts: Callable[[ProcessCounters], Mapping[str, int]]) -> Metric:
        family = CounterMetricFamily(name, text, labels=["worker", label])
        for process in self._processes:
            for value, number in counts(process).items():
                family.add_metric([str(process.worker), value], number)
        return family

    def _histogram(
        self, name: str, text: str, values: Callable[[ProcessCounters], Mapping[str, Histogram]], label: str = ""
    ) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["worker", label] if label else ["worker"])
        for process in self._processes:
            worker = str(process.worker)
            for value, histogram in values(process).items():
                family.add_metric([worker, value] if label else [worker], buckets_of(histogram), histogram.total)
        return family


def buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus expects them. Bounds are floats, as siblings send them."""
    found: list[tuple[str, float]] = []
    total = 0
    for bound, number in zip((*map(str, map(float, histogram.bounds)), "+Inf"), histogram.counts, strict=True):
        total += number
        found.append((bound, total))
    return found
