"""The tables of the file. A new one costs an import, a field, and the line that checks it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from pagefold.engine.configuration.alert_config import AlertConfig, check_alerts
from pagefold.engine.configuration.audit_config import AuditConfig
from pagefold.engine.configuration.category_trees import TreeConfig
from pagefold.engine.configuration.channel_config import ChannelConfig, check_channel, check_domains
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.configuration.http_config import HttpConfig
from pagefold.engine.configuration.kpi_config import KpiConfig, check_kpis
from pagefold.engine.configuration.reference_config import ReferencesConfig, check_references
from pagefold.engine.configuration.saga_config import SagaConfig, check_sagas
from pagefold.engine.configuration.schedule_config import ScheduleConfig, check_schedule
from pagefold.engine.configuration.shop_config import ShopConfig, check_shop
from pagefold.engine.configuration.source_config import SourceConfig, check_source
from pagefold.engine.configuration.store_config import StoreConfig, check_store
from pagefold.engine.configuration.target_config import TargetConfig, check_targets
from pagefold.engine.configuration.toml_tables import Table, check_name
from pagefold.engine.configuration.work_config import AppendConfig, WorkConfig
from pagefold.engine.errors import ConfigurationError


class ConfigTables(Table, frozen=True):
    """Every table of a configuration, and its default."""

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
    shop: ShopConfig = ShopConfig()
    work: WorkConfig = WorkConfig()
    append: AppendConfig = AppendConfig()
    http: HttpConfig = HttpConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    audit: AuditConfig = AuditConfig()
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
    targets: Annotated[
        dict[str, TargetConfig], Meta(description="The systems that pages are delivered to, by name.")
    ] = field(default_factory=dict)
    sagas: Annotated[
        dict[str, SagaConfig],
        Meta(description="Targets that get each version of a page together, or not at all, by name."),
    ] = field(default_factory=dict)
    trees: Annotated[
        dict[str, TreeConfig], Meta(description="Trees of categories, by name: which category is below which.")
    ] = field(default_factory=dict)

    def sources_of(self, domain: str) -> tuple[str, ...]:
        """The sources that may write a domain, in the file's order."""
        return tuple(name for name, source in self.sources.items() if domain in source.domains)


def check_tables(config: ConfigTables) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    yield from check_store(config.store)
    yield from check_shop(config.shop)
    yield from check_references(config.references)
    for name, source in config.sources.items():
        yield from check_source(f"sources.{name}", name, source)
    for name in config.trees:
        yield from check_name(f"trees.{name}", name)
    for name, channel in config.channels.items():
        yield from check_name(f"channels.{name}", name)
        yield from check_channel(f"channels.{name}", channel, config)
    yield from check_kpis(config.kpis)
    yield from check_alerts(config.alerts)
    for name in config.targets:
        yield from check_name(f"targets.{name}", name)
    yield from check_targets(config.targets, config.channels, config.sources)
    for name in config.sagas:
        yield from check_name(f"sagas.{name}", name)
    yield from check_sagas(config.sagas, config.targets)
    yield from _check_schedule(config)


def _check_schedule(config: ConfigTables) -> Iterator[ConfigurationError]:
    sources = {name: source.snapshot is not None for name, source in config.sources.items()}
    yield from check_schedule(config.schedule, sources, config.channels, config.targets)
    for name, task in config.schedule.tasks.items():
        yield from check_name(f"schedule.tasks.{name}", name)
        if task.domains:
            yield from check_domains(f"schedule.tasks.{name}.domains", task.domains)
