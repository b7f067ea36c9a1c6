"""`[sources.X.lookups.NAME]`: tables for contracts that are fetched from endpoints."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated

from msgspec import Meta, field

from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.endpoint_checks import check_endpoint
from pagefold.engine.configuration.endpoint_config import EndpointConfig
from pagefold.engine.configuration.toml_tables import check_path
from pagefold.engine.errors import ConfigurationError


class LookupConfig(EndpointConfig, frozen=True, kw_only=True):
    """A table for contracts, whose rows an endpoint returns. It has the keys of an endpoint."""

    key: Annotated[str, Meta(description="The path of the key in a row.")]
    value: Annotated[str | None, Meta(description="The path of the value in a row.")] = None
    values: Annotated[
        dict[str, str], Meta(description="Or by locale, the paths of texts: then `translate` can use the table, too.")
    ] = field(default_factory=dict)
    every: Annotated[Duration, Meta(description="After how long it is fetched again: 10m, 1h.")] = "1h"
    stale: Annotated[
        Duration,
        Meta(description="How long the last one counts for a run if it cannot be fetched. Then the run fails."),
    ] = "1d"

    @cached_property
    def every_seconds(self) -> float:
        """After how many seconds it is fetched again."""
        return parse_duration(self.every)

    @cached_property
    def stale_seconds(self) -> float:
        """How many seconds the last one counts."""
        return parse_duration(self.stale)


def check_lookups(key: str, lookups: Mapping[str, LookupConfig]) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    for name, lookup in lookups.items():
        yield from _check_lookup(f"{key}.{name}", lookup)


def _check_lookup(key: str, lookup: LookupConfig) -> Iterator[ConfigurationError]:
    yield from check_endpoint(key, lookup)
    if (lookup.value is None) == (not lookup.values):
        yield ConfigurationError(f"{key}.value", "is required, or values: where the values are in a row")
    paths = {
        "key": lookup.key,
        "value": lookup.value,
        **{f"values.{name}": path for name, path in lookup.values.items()},
    }
    for name, path in paths.items():
        if path is not None:
            yield from check_path(f"{key}.{name}", path, "labels.de_DE")
    for name in ("every", "stale"):
        try:
            parse_duration(getattr(lookup, name))
        except ValueError as error:
            yield ConfigurationError(f"{key}.{name}", str(error))
