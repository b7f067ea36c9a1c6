"""The status of a store: how far each domain is folded, how far behind, and what waits for a person."""

from typing import NamedTuple, Self

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.applied.applied_configuration import AppliedConfiguration, AppliedStatus
from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.retention import Retention
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.contracts.record_fields import kinds_in
from pagefold.engine.kpis.readings import KpiReading, crossed, verdict
from pagefold.engine.reading.check_results import CheckResult
from pagefold.engine.reading.page_counts import count_channels
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.reference_status import ReferenceStatus, reference_kinds
from pagefold.engine.reading.source_lag import SourceLag, SourceStatus
from pagefold.engine.reading.unknown_streams import UnknownStreams, unknown_streams
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.stores.field_ledger import Alert, FieldEntry, FieldFilter
from pagefold.engine.stores.store import Checkpoint, Store

MAX_FIELD_ALERTS = 1_000


class DomainStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One domain.

    `lag_events` counts its events that are not folded yet, `lag_seconds` is how long the oldest has waited. `applied
    + stale + dead` is the number of its events up to `checkpoint`. `configuration_changed`: pages were
    folded under another configuration, or by another release.
    """

    domain: str
    log_end: int
    checkpoint: int
    lag_events: int
    lag_seconds: float
    applied: int
    stale: int
    dead: int
    dead_letters: int
    conflicts: int
    configuration_changed: bool
    holder: str | None


class ResetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A source whose counter looks reset, until an operator raises its epoch or dismisses the alarm.

    `stale` of its events of a domain had older versions than the stored ones, although they occurred later.
    """

    source: str
    domain: str
    stale: int


class ChannelStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One channel: how many sections it has of each domain, and how many of them are ready.

    `pages` are those that it shows, `pages_ready` those of them that have all that it requires.
    """

    channel: str
    sections: dict[str, int]
    ready: dict[str, int]
    pages: int
    pages_ready: int


class FieldAlert(msgspec.Struct, frozen=True, rename="camel"):
    """A field of a source's records that is new, has vanished, or has values of another type: see `FieldEntry`.

    `family` is empty where records have none. `types` are all kinds of its values so far.
    """

    source: str
    contract: str
    family: str
    field: str
    alert: Alert
    since: str
    types: list[str]
    example: str

    @classmethod
    def of(cls, entry: FieldEntry) -> Self | None:
        """The alert of an entry of the ledger, if it has one."""
        if entry.alert is None:
            return None
        since = entry.alerted_at or entry.first_seen
        return cls(*entry.key, entry.alert, since, kinds_in(entry.types), entry.example)


class FetchStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The records of a source that are to be fetched: how many, how many failed before, since when the oldest is."""

    source: str
    wanted: int
    failing: int
    oldest: str


class TargetSummary(msgspec.Struct, frozen=True, rename="camel"):
    """A target that pages are delivered to: how it is doing, why, since when, and by whom if a person has decided so.

    `waiting` pages are to be sent, the oldest for `waits_seconds`; `dead` ones were given up.
    """

    name: str
    state: str
    reason: str
    since: str | None
    by: str | None
    waiting: int
    waits_seconds: float | None
    dead: int


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The status of a store. `deliveries` are dead letters of requests that could not be turned into events.

    `waiting` are those that wait for a reference. Of both, and of conflicts, the content of `expiring` will soon be
    deleted, and that of `purged` is deleted; it is stored nowhere else. `checks` are those of readiness in this
    process; `recovering`: a recovery has not ended. `field_alerts` are the first of `MAX_FIELD_ALERTS` alerts.
    `sources` are those that are asked, `fetches` what is to be fetched of each. `configuration` is what pages are
    folded under, `unknown` has the sources and channels that it lacks, in a sample of the log's streams. `targets` are
    those that pages are delivered to. `kpis` are the key figures, `verdict` says in a sentence which are crossed.
    """

    store: str
    domains: list[DomainStatus]
    channels: list[ChannelStatus]
    looks_reset: list[ResetStatus]
    references: list[ReferenceStatus]
    deliveries: int
    waiting: int
    expiring: int
    purged: int
    checks: list[CheckResult]
    recovering: bool
    field_alerts: list[FieldAlert] = []
    sources: list[SourceStatus] = []
    fetches: list[FetchStatus] = []
    configuration: AppliedStatus | None = None
    unknown: list[UnknownStreams] = []
    targets: list[TargetSummary] = []
    kpis: list[KpiReading] = []
    verdict: str = ""

    def with_kpis(self, readings: list[KpiReading]) -> Self:
        """A copy with key figures."""
        return msgspec.structs.replace(self, kpis=readings, verdict=verdict(readings))

    def with_targets(self, targets: list[TargetSummary]) -> Self:
        """A copy with targets."""
        return msgspec.structs.replace(self, targets=targets)

    @property
    def is_well(self) -> bool:
        """Whether every check holds, no recovery is unfinished, and no key figure is crossed."""
        return all(each.ok for each in self.checks) and not self.recovering and not crossed(self.kpis)

    @property
    def lag_events(self) -> int:
        """Events of any domain that are not folded yet."""
        return sum(domain.lag_events for domain in self.domains)


class FoldProgress(NamedTuple):
    """How far each domain is folded, the number of deliveries in dead letters, and of those that wait, by domain."""

    domains: list[DomainStatus]
    deliveries: int
    waiting: dict[str, int]


async def status_of(
    store: Store,
    applied: AppliedConfiguration,
    reader: PageReader,
    retention: Retention,
    checks: list[CheckResult],
    lag: SourceLag,
) -> Status:
    """The status of a store, read without a lock: its figures may be some milliseconds apart."""
    await applied.refresh()
    config = applied.config
    domains, deliveries, waiting = await fold_progress(store, config)
    references = await reference_kinds(store, applied.file)
    channels, reset, recovering = (
        await _channels(store, reader, config),
        await reset_sources(store),
        await store.proof.is_recovering(),
    )
    outlook = await retention.outlook()
    kept = (deliveries, sum(waiting.values()))
    remarks = (await field_alerts(store), await lag.sources())
    fetches = [FetchStatus(*each) for each in await store.fetches.counts()]
    known = (store.name, domains, channels, reset, references)
    unknown = await unknown_streams(store, config)
    return Status(*known, *kept, *outlook, checks, recovering, *remarks, fetches, applied.status(), unknown)


async def field_alerts(store: Store) -> list[FieldAlert]:
    """The fields of records that an operator should know of, by source and field."""
    found = await store.fields.entries(FieldFilter(alerts=True), limit=MAX_FIELD_ALERTS)
    return [alert for alert in map(FieldAlert.of, found) if alert is not None]


async def fold_progress(store: Store, config: Config, *, max_counted: int | None = None) -> FoldProgress:
    """The part of the status that does not read pages. Lag is counted in the next `max_counted` events of the log."""
    checkpoints = {each.domain: each for each in await store.coordination.checkpoints()}
    dead_letters = await store.dead_letters.counts()
    end = await store.log.end()
    domains: list[DomainStatus] = []
    for domain in DOMAINS:
        checkpoint = checkpoints.get(domain.name, Checkpoint(domain.name))
        lag = await store.log.lag(domain.name, checkpoint.position, limit=max_counted)
        domains.append(
            DomainStatus(
                domain=domain.name,
                log_end=end,
                checkpoint=checkpoint.position,
                lag_events=lag.events,
                lag_seconds=_age(lag.oldest),
                applied=checkpoint.applied,
                stale=checkpoint.stale,
                dead=checkpoint.dead,
                dead_letters=dead_letters.get(("projection", domain.name), 0),
                conflicts=dead_letters.get(("ingest", domain.name), 0),
                configuration_changed=checkpoint.fingerprint not in (None, config.fingerprint(domain)),
                holder=checkpoint.holder,
            )
        )
    waiting = {domain: number for (kind, domain), number in dead_letters.items() if kind == "waiting"}
    return FoldProgress(domains, dead_letters.get(("ingest", ""), 0), waiting)


async def reset_sources(store: Store) -> list[ResetStatus]:
    """The sources whose counters look reset."""
    streaks = await store.coordination.streaks()
    return [ResetStatus(each.source, each.domain, each.stale) for each in streaks if each.stale >= RESET_THRESHOLD]


async def _channels(store: Store, reader: PageReader, config: Config) -> list[ChannelStatus]:
    counts = await count_channels(store.pages, reader)
    found = []
    for channel in config.channels:
        sections = {domain.name: counts.sections(channel, domain.name) for domain in DOMAINS}
        numbers = {name: each.number for name, each in sections.items()}
        ready = {name: each.ready for name, each in sections.items()}
        found.append(ChannelStatus(channel, numbers, ready, *counts.pages(channel)))
    return found


class _Recorded(msgspec.Struct, rename="camel"):
    recorded_at: str


def _age(state: bytes | None) -> float:
    if state is None:
        return 0.0
    try:
        return round(seconds_since(msgspec.json.decode(state, type=_Recorded).recorded_at), 3)
    except (msgspec.MsgspecError, ValueError):  # an application's own event
        return 0.0
