"""The configuration: one TOML file, checked completely before anything starts. Every error names file, line and key.

The environment can name the file (`PAGEFOLD_CONFIG`) and replace the URL of the store (`PAGEFOLD_STORE`).
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, field

from pagefold.domains import DOMAINS, AnyDomain, Rules
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.addresses import POSTGRES_SCHEMES, postgres_url_error, scheme_of
from pagefold.engine.configuration.alert_config import AlertConfig, check_alerts
from pagefold.engine.configuration.category_trees import TreeConfig, load_forests
from pagefold.engine.configuration.cdc_config import CdcConfig, check_cdc
from pagefold.engine.configuration.channel_config import ChannelConfig, check_channel, check_domains
from pagefold.engine.configuration.channel_documents import Document, channel_view, resolved_locales, with_documents
from pagefold.engine.configuration.cloudevents_config import CloudEventsConfig, check_cloudevents
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.configuration.delta_config import DeltaConfig, check_delta
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.configuration.http_config import HttpConfig
from pagefold.engine.configuration.inherit_config import InheritConfig, check_inherit
from pagefold.engine.configuration.kpi_config import KpiConfig, check_kpis
from pagefold.engine.configuration.lookup_config import LookupConfig, check_lookups
from pagefold.engine.configuration.page_settings import ChannelSettings, PageSettings
from pagefold.engine.configuration.reference_config import ReferencesConfig, check_references
from pagefold.engine.configuration.schedule_config import ScheduleConfig, check_schedule
from pagefold.engine.configuration.snapshot_config import SnapshotConfig, check_snapshot
from pagefold.engine.configuration.structure import StructureCheck
from pagefold.engine.configuration.toml_lines import KeyPlaces
from pagefold.engine.configuration.toml_tables import ContractPlace, Table, redacted
from pagefold.engine.configuration.webhook_config import WebhookConfig, check_webhook
from pagefold.engine.errors import ConfigurationError
from pagefold.projections import Channel, fingerprint_parts
from pagefold.projections.channels import Inherit
from pagefold.projections.releases import RELEASE_DOMAINS, release_source
from pagefold.projections.streams import EVERY_CHANNEL

CONFIG_VARIABLE = "PAGEFOLD_CONFIG"
STORE_VARIABLE = "PAGEFOLD_STORE"
DEFAULT_FILE = "pagefold.toml"

_name = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_schema = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


class StoreConfig(Table, frozen=True):
    """Where the log and the pages are kept."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite:///folder` (relative to the working directory), `sqlite:////folder` (absolute) or "
            "`postgresql://…`."
        ),
    ]
    schema: Annotated[str, Meta(description="The PostgreSQL schema that holds everything.")] = "pagefold"


class SourceConfig(Table, frozen=True):
    """A system that owns facts."""

    domains: Annotated[
        list[str], Meta(description="The domains that the source may write: catalog, pricing, inventory, media.")
    ]
    zero_price: Annotated[
        Literal["accept", "refuse"],
        Meta(
            description="Whether a price of zero is accepted. `refuse` suits a source that writes 0 where it has no "
            "price."
        ),
    ] = "accept"
    spreadsheet_skus: Annotated[
        Literal["accept", "refuse"],
        Meta(
            description="Whether an SKU such as `9.55E+12` is accepted, which is what spreadsheets make of long "
            "numbers."
        ),
    ] = "refuse"
    inherit: Annotated[
        InheritConfig | None,
        Meta(
            description="Variants inherit: what the source states of a product is laid over what it states of the "
            "`parent` that the product names. Without the table, nothing is inherited."
        ),
    ] = None
    snapshot: Annotated[
        SnapshotConfig | None,
        Meta(description="Where a rebuild reads everything that the source has now: a file, an endpoint or a query."),
    ] = None
    contract: ContractPlace = None
    lookups: Annotated[
        dict[str, LookupConfig],
        Meta(description="By name, tables for the contracts of the source that endpoints have."),
    ] = field(default_factory=dict)
    delta: Annotated[
        DeltaConfig | None,
        Meta(description="Where a sync reads what changed since the last time: an endpoint or a query."),
    ] = None
    webhook: Annotated[WebhookConfig | None, Meta(description="How webhooks of the source become events.")] = None
    cdc: Annotated[
        CdcConfig | None, Meta(description="How changes of the source's tables, as Debezium sends them, become events.")
    ] = None
    cloudevents: Annotated[
        CloudEventsConfig | None, Meta(description="Which CloudEvents the contract of the source reads.")
    ] = None

    @cached_property
    def fetches(self) -> Mapping[str, FetchConfig]:
        """What is fetched because of notifications, by the table that says so, such as `webhook.fetch[0]`."""
        entrances = {"webhook": self.webhook, "cloudevents": self.cloudevents}
        found = {
            f"{name}.fetch[{number}]": fetch
            for name, each in entrances.items()
            if each is not None
            for number, fetch in enumerate(each.fetch)
        }
        if self.delta is not None and self.delta.fetch is not None:
            found["delta.fetch"] = self.delta.fetch
        return found


class WorkConfig(Table, frozen=True):
    """The pace of the consumers."""

    batch: Annotated[
        int,
        Meta(ge=1, le=50_000, description="Maximum of log positions that one transaction folds while catching up."),
    ] = 8_000
    poll_seconds: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds after which a consumer looks for events whose notification was lost."),
    ] = 0.5
    lease_seconds: Annotated[
        float, Meta(ge=1, le=3_600, description="Seconds without a heartbeat after which a frozen worker is replaced.")
    ] = 10.0


class AppendConfig(Table, frozen=True):
    """Group commit: concurrent appends share transactions."""

    delay_seconds: Annotated[
        float, Meta(ge=0, le=0.005, description="Seconds that an append waits for others to share its transaction.")
    ] = 0.0
    batch: Annotated[int, Meta(ge=1, le=5_000, description="Maximum of events in one transaction.")] = 5_000
    queue: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Maximum of events that may be queued. Above, callers wait.")
    ] = 50_000


class Config(Table, frozen=True):
    """A complete configuration.

    `Config.load` reads one from a file, `Config.parse` from TOML text, or from the document that it decodes to.
    """

    store: StoreConfig
    sources: Annotated[
        dict[str, SourceConfig],
        Meta(
            description="The systems that own facts, by name. Where several have the same domain, their order is "
            "their rank."
        ),
    ]
    channels: Annotated[
        dict[str, ChannelConfig], Meta(description="The storefronts and marketplaces that have pages, by name.")
    ]
    work: WorkConfig = WorkConfig()
    append: AppendConfig = AppendConfig()
    http: HttpConfig = HttpConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    references: ReferencesConfig = ReferencesConfig()
    kpis: Annotated[dict[str, KpiConfig], Meta(description="Other limits of key figures, by name.")] = field(
        default_factory=dict
    )
    alerts: Annotated[dict[str, AlertConfig], Meta(description="Who is notified of alerts, by name.")] = field(
        default_factory=dict
    )
    apply: Annotated[
        Literal["always", "safe", "never"],
        Meta(
            description="What a start with changed channels or sources does: applies them, applies them only if that "
            "takes nothing from more pages than a rebuild may withdraw, or leaves it to `pagefold apply`."
        ),
    ] = "safe"
    trees: Annotated[
        dict[str, TreeConfig], Meta(description="Trees of categories, by name: which category is below which.")
    ] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "Config":
        """The configuration in a TOML file: `path`, else `PAGEFOLD_CONFIG`, else `pagefold.toml`.

        `store`, else `PAGEFOLD_STORE`, replaces the file's `store.url`. Raises `ConfigurationError` for the first
        problem.
        """
        return _valid(cls.inspect(path, store=store))

    @classmethod
    def parse(cls, source: str | Mapping[str, object], *, store: str | None = None) -> "Config":
        """The configuration in TOML text, or in the document that such text decodes to.

        `store` as in `load`. Raises `ConfigurationError` for the first problem.
        """
        return _valid(_inspected(cls, source, store, None))

    @classmethod
    def inspect(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "InspectedConfig":
        """The configuration in a TOML file, and everything that is wrong with it. Arguments as in `load`.

        Raises `ConfigurationError` only if the file cannot be read as TOML.
        """
        file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
        try:
            text = file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            problem = f"no configuration at {file}; `pagefold init` writes one, --config or {CONFIG_VARIABLE} names one"
            raise ConfigurationError("", problem) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("", f"cannot read {file}: {error}") from error
        return _inspected(cls, text, store, str(file))

    @cached_property
    def resolved_channels(self) -> tuple[Channel, ...]:
        """The channels with every default filled in, in the file's order."""
        return tuple(self._channel(name, channel) for name, channel in self.channels.items())

    def sources_of(self, domain: str) -> tuple[str, ...]:
        """The sources that may write a domain, in the file's order."""
        return tuple(name for name, source in self.sources.items() if domain in source.domains)

    @cached_property
    def releases(self) -> tuple[str, ...]:
        """The releases that count, highest rank first. No file has any."""
        return ()

    @cached_property
    def day(self) -> str:
        """The newest day from which a requirement set counts. Sets of later days do not count; in a file, none do."""
        return ""

    def counting_sources(self, domain: str) -> tuple[str, ...]:
        """The sources of a domain, and above them the releases that count."""
        return (*self._release_sources(domain), *self.sources_of(domain))

    def _ranked(self, domain: str, sources: Sequence[str]) -> tuple[str, ...]:
        """The sources of a channel, below the releases. A channel that uses no source of a domain uses no release."""
        return (*self._release_sources(domain), *sources) if sources else ()

    def _release_sources(self, domain: str) -> tuple[str, ...]:
        return tuple(map(release_source, self.releases)) if domain in RELEASE_DOMAINS else ()

    def rules(self, source: str) -> Rules:
        """The rules that a source's events are validated by, beside those for all sources."""
        return Rules(zero_price=self.sources[source].zero_price == "accept")

    def error(self, key: str, problem: str) -> ConfigurationError:
        """An error of a key, with its place in the file, if the configuration was read from one."""
        return ConfigurationError(key, problem, None if self._places is None else self._places.place_of(key))

    def with_http(self, **settings: object) -> "Config":
        """A copy with other settings of the HTTP server."""
        return self._copy(msgspec.structs.replace(self, http=msgspec.structs.replace(self.http, **settings)))

    def with_snapshot(self, source: str, snapshot: SnapshotConfig) -> "Config":
        """A copy in which a source has another snapshot."""
        settings = msgspec.structs.replace(self.sources[source], snapshot=snapshot)
        return self._copy(msgspec.structs.replace(self, sources=self.sources | {source: settings}))

    def asking_since(self, source: str, since: datetime) -> "Config":
        """A copy in which what a source changed since a time is its snapshot. Without a contract, it has that one's."""
        settings = self.sources[source]
        asked = (settings.delta or DeltaConfig()).asking_since(since)
        if asked.contract is None and settings.snapshot is not None:
            asked = msgspec.structs.replace(asked, contract=settings.snapshot.contract)
        return self.with_snapshot(source, asked)

    def _copy(self, copy: "Config") -> "Config":
        """A copy that keeps what is not in the file."""
        copy.__dict__.update(_places=self._places, shared=self.shared, releases=self.releases, day=self.day)
        return copy

    @cached_property
    def shared(self) -> dict[str, dict[str, object]]:
        """By source, what a process keeps for all copies of its configuration: tables that it has fetched."""
        return {}

    @cached_property
    def page_settings(self) -> PageSettings:
        """What pages depend on."""
        domains = {name: source.domains for name, source in self.sources.items()}
        inherit = {name: source.inherit for name, source in self.sources.items() if source.inherit is not None}
        return PageSettings.of(domains, self.channels, self.resolved_channels, inherit)

    def under(self, settings: PageSettings) -> "Config":
        """This configuration where pages depend on these settings instead."""
        if settings.digest == self.page_settings.digest:
            return self
        return self._under(settings)

    def _under(self, settings: PageSettings) -> "Config":
        sources = {name: self._source_under(name, settings) for name in settings.sources}
        channels = {name: self._channel_under(name, each) for name, each in settings.channels.items()}
        copy = self._copy(msgspec.structs.replace(self, sources=sources, channels=channels))
        copy.__dict__.update(page_settings=settings, releases=tuple(settings.releases), day=settings.day)
        return copy

    def _source_under(self, name: str, settings: PageSettings) -> SourceConfig:
        domains, inherit = settings.sources[name], settings.inherit.get(name)
        own = self.sources.get(name, SourceConfig(domains=domains))
        return msgspec.structs.replace(own, domains=domains, inherit=inherit)

    def _channel_under(self, name: str, settings: ChannelSettings) -> ChannelConfig:
        parts = {field: getattr(settings, field) for field in settings.__struct_fields__}
        own = self.channels.get(name)
        return ChannelConfig(**parts) if own is None else msgspec.structs.replace(own, **parts)

    @cached_property
    def folder(self) -> Path:
        """The folder of its file, from which contracts are read; the working directory if it has none."""
        return Path() if self._places is None else Path(self._places.file).parent

    @cached_property
    def _places(self) -> KeyPlaces | None:
        """Where the keys are; None unless the configuration was read from a file, which sets it."""
        return None

    def fingerprint(self, domain: AnyDomain) -> str:
        """Equal fingerprints: configuration and code give the domain's sections the same bytes."""
        parts = msgspec.json.encode([domain.name, *fingerprint_parts(domain, self.resolved_channels)])
        return sha256(parts).hexdigest()[:16]

    @cached_property
    def _inherit(self) -> Mapping[str, Inherit]:
        """How sources inherit, by name."""
        return {name: each.inherit.resolved() for name, each in self.sources.items() if each.inherit is not None}

    def _channel(self, name: str, channel: ChannelConfig) -> Channel:
        return Channel(
            name=name,
            locale=canonical_locale(channel.locale) or channel.locale,
            fallbacks=tuple(canonical_locale(tag) or tag for tag in channel.fallbacks),
            currency=channel.currency,
            requires=frozenset(channel.requires),
            sources={
                domain.name: self._ranked(domain.name, channel.sources.get(domain.name, self.sources_of(domain.name)))
                for domain in DOMAINS
            },
            view=channel_view(channel, resolved_locales(channel), self.day),
            inherit=self._inherit,
        )


class InspectedConfig(NamedTuple):
    """A configuration, with valid values in place of wrong ones, and its problems in the file's order."""

    config: Config
    problems: list[ConfigurationError]


def _valid(inspected: InspectedConfig) -> Config:
    for problem in inspected.problems:
        raise problem
    return inspected.config


def _inspected(
    kind: type[Config], source: str | Mapping[str, object], store: str | None, file: str | None
) -> InspectedConfig:
    document = _document(source, file)
    url = store or os.environ.get(STORE_VARIABLE)
    if url:
        table = document.get("store")
        document["store"] = (table if isinstance(table, dict) else {}) | {"url": url}
    check = StructureCheck()
    config = msgspec.convert(check.repaired(document, kind), kind)
    problems = [*check.problems, *_problems(config)]
    config, invalid = _with_documents(config, Path() if file is None else Path(file).parent)
    problems += invalid
    if file is not None and isinstance(source, str):
        config.__dict__["_places"] = KeyPlaces(file, source, ["store.url"] if url else [])
        problems = [config.error(each.key, each.problem) if each.place is None else each for each in problems]
    return InspectedConfig(config, sorted(problems, key=lambda each: _line(each.place)))


def _with_documents(config: Config, folder: Path) -> tuple[Config, list[ConfigurationError]]:
    """The configuration with the documents that its channels name, so that it is complete without their files."""
    forests, wrong = load_forests(config.trees, folder)
    given = {
        name: msgspec.structs.replace(each, tree=None) if wrong and isinstance(each.tree, str) else each
        for name, each in config.channels.items()
    }
    contracts: dict[str, Document] = {}
    found = {name: with_documents(f"channels.{name}", each, folder, forests, contracts) for name, each in given.items()}
    channels = {name: each.channel for name, each in found.items()}
    problems = wrong + [problem for each in found.values() for problem in each.problems]
    return msgspec.structs.replace(config, channels=channels), problems


def _document(source: str | Mapping[str, object], file: str | None) -> dict[str, object]:
    if not isinstance(source, str):
        return dict(source)
    try:
        return tomllib.loads(source.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = None if file is None else f"{file}:{line[1]}" if line else file
        raise ConfigurationError("", f"this is not TOML: {error}", place) from error


def _line(place: str | None) -> int:
    number = (place or "").rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _problems(config: Config) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    yield from _check_store(config.store)
    yield from check_references(config.references)
    for name, source in config.sources.items():
        yield from _check_source(f"sources.{name}", name, source)
    for name in config.trees:
        yield from _check_name(f"trees.{name}", name)
    for name, channel in config.channels.items():
        yield from _check_name(f"channels.{name}", name)
        yield from check_channel(f"channels.{name}", channel, config)
    yield from check_kpis(config.kpis)
    yield from check_alerts(config.alerts)
    yield from _check_schedule(config)


def _check_schedule(config: Config) -> Iterator[ConfigurationError]:
    sources = {name: source.snapshot is not None for name, source in config.sources.items()}
    yield from check_schedule(config.schedule, sources, config.channels)
    for name, task in config.schedule.tasks.items():
        yield from _check_name(f"schedule.tasks.{name}", name)
        if task.domains:
            yield from check_domains(f"schedule.tasks.{name}.domains", task.domains)


def _check_source(key: str, name: str, source: SourceConfig) -> Iterator[ConfigurationError]:
    yield from _check_name(key, name)
    yield from check_domains(f"{key}.domains", source.domains)
    yield from check_inherit(f"{key}.inherit", source.inherit, source.domains)
    if source.snapshot is not None:
        yield from check_snapshot(f"{key}.snapshot", source.snapshot)
    if source.delta is not None:
        yield from check_delta(f"{key}.delta", source.delta)
    yield from check_lookups(f"{key}.lookups", source.lookups)
    if source.webhook is not None:
        yield from check_webhook(f"{key}.webhook", source.webhook)
    if source.cdc is not None:
        yield from check_cdc(f"{key}.cdc", source.cdc)
    if source.cloudevents is not None:
        yield from check_cloudevents(f"{key}.cloudevents", source.cloudevents)
    for entrance in ("webhook", "cdc", "cloudevents"):
        settings = getattr(source, entrance)
        only_fetches = bool(getattr(settings, "fetch", None))
        if settings is not None and settings.contract is None and source.contract is None and not only_fetches:
            problem = f"is required, here or as {key}.contract: what the records say"
            yield ConfigurationError(f"{key}.{entrance}.contract", problem)
    snapshot = None if source.snapshot is None else source.snapshot.contract
    for rule, fetch in source.fetches.items():
        if (fetch.contract or snapshot or source.contract) is None:
            yield ConfigurationError(f"{key}.{rule}.contract", f"is required, here or as {key}.contract")


def _check_store(store: StoreConfig) -> Iterator[ConfigurationError]:
    scheme = scheme_of(store.url)
    if scheme not in {"sqlite", *POSTGRES_SCHEMES}:
        problem = f"{redacted(store.url)!r} is neither sqlite:///folder nor postgresql://…"
        yield ConfigurationError("store.url", problem)
    elif scheme != "sqlite" and (fault := postgres_url_error(store.url)) is not None:
        yield ConfigurationError("store.url", fault)
    if scheme == "sqlite" and not re.fullmatch(r"sqlite:///.+", store.url):
        yield ConfigurationError("store.url", "write sqlite:///folder (relative) or sqlite:////folder (absolute)")
    if _schema.fullmatch(store.schema) is None or store.schema.startswith("pg_"):
        problem = f"{store.schema!r}: use up to 63 lower-case letters, digits and _; pg_ is reserved by PostgreSQL"
        yield ConfigurationError("store.schema", problem)


def _check_name(key: str, name: str) -> Iterator[ConfigurationError]:
    if _name.fullmatch(name) is None:
        allowed = "use 1 to 64 letters, digits, '.', '_' and '-'"
        hint = f" ({EVERY_CHANNEL!r} in an event means every channel)" if name == EVERY_CHANNEL else ""
        yield ConfigurationError(key, f"is not a name; {allowed}{hint}")
