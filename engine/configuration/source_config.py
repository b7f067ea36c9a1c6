"""A source: the domains that it owns, and every way in which its changes come: `[sources.X]`."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta, field

from pagefold.engine.configuration.cdc_config import CdcConfig, check_cdc
from pagefold.engine.configuration.channel_config import check_domains
from pagefold.engine.configuration.cloudevents_config import CloudEventsConfig, check_cloudevents
from pagefold.engine.configuration.delta_config import DeltaConfig, check_delta
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.configuration.inherit_config import InheritConfig, check_inherit
from pagefold.engine.configuration.lookup_config import LookupConfig, check_lookups
from pagefold.engine.configuration.snapshot_config import SnapshotConfig, check_snapshot
from pagefold.engine.configuration.toml_tables import ContractPlace, Table, check_name
from pagefold.engine.configuration.webhook_config import WebhookConfig, check_webhook
from pagefold.engine.errors import ConfigurationError


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


def check_source(key: str, name: str, source: SourceConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    yield from check_name(key, name)
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
