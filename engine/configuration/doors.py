"""`[sources.X.webhook]` and `[sources.X.cdc]`: how what a source sends in its own form becomes events."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import msgspec

from pagefold.engine.configuration.toml_tables import (
    ColumnsTable,
    WithConstants,
    check_event_fields,
    check_names,
    check_path,
    check_values,
    check_variable,
    flat,
    values_by_place,
)
from pagefold.engine.errors import ConfigurationError

Scheme: TypeAlias = Literal["standard", "hmac-sha256"]
Encoding: TypeAlias = Literal["base64", "hex"]
Version: TypeAlias = Literal["integer", "moment"]

WHOLE = "$."
"""What a path begins with that starts at the delivery, where others start at each of its items."""

_header = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_table = re.compile(r"[^.\s]+\.[^.\s]+")


class WithFilters:
    """A table that tells what counts: `only` by what stands in it, `only_headers` by the request that it came in."""

    only: dict[str, object]
    only_headers: dict[str, object]

    @cached_property
    def counted_by(self) -> dict[str, list[object]]:
        """The values of each path, or column, by which an item, or row, counts."""
        return values_by_place(self.only)

    @cached_property
    def headers_of(self) -> dict[str, list[object]]:
        """The values of each header by which a request counts. A header's name is the same in capitals."""
        return {name.lower(): values for name, values in values_by_place(self.only_headers).items()}


class WebhookConfig(WithConstants, WithFilters, frozen=True, kw_only=True):
    """What a source's webhooks are signed with, and where in their bodies the parts of an event stand.

    `secret_variables` names the environment variables that hold the secrets, two while one replaces the other.
    `scheme` is that of Standard Webhooks, or one `header` with the body's HMAC-SHA256 in an `encoding`; where there is
    a `timestamp_header`, its value and a dot are signed in front of the body. `items` is the path of the array in a
    delivery that has several. `paths` has dotted paths by target, in which an index stands
    for an element of an array; `constants` has values by target. Where `version` is a moment, because the source counts
    nothing, versions are its microseconds since 1970. An item withdraws where, by path, one of the values of
    `withdrawals` stands. Where there is `only`, an item counts when each of its paths leads to one of the values that
    stand there; where there is `only_headers`, a delivery does by its headers. What does not count is never kept.
    """

    secret_variables: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2)]
    scheme: Scheme = "standard"
    header: str | None = None
    timestamp_header: str | None = None
    encoding: Encoding | None = None
    items: str | None = None
    version: Version = "integer"
    paths: dict[str, object] = msgspec.field(default_factory=dict)
    withdrawals: dict[str, object] = msgspec.field(default_factory=dict)
    only: dict[str, object] = msgspec.field(default_factory=dict)
    only_headers: dict[str, object] = msgspec.field(default_factory=dict)

    @cached_property
    def path_of(self) -> dict[str, str]:
        """The path of each target."""
        return {target: str(path) for target, path in flat(self.paths)}

    @cached_property
    def withdrawn_by(self) -> dict[str, list[object]]:
        """The values of each path that withdraw."""
        return values_by_place(self.withdrawals)


class CdcConfig(ColumnsTable, WithFilters, frozen=True):
    """Which columns of a source's tables give the parts of an event, when Debezium tells of a row.

    `columns` and `constants` are as for snapshots. Without a column, `sourceVersion` is the LSN of the change, and
    `occurredAt` the moment of it. `tables` are those that count, as `schema.table`; without any, all of them do.
    `unavailable_value` is what Debezium writes in place of a large value that did not change. `only` has the values of
    columns by which a row counts, `only_headers` those of headers by which a request does, as for webhooks.
    """

    tables: list[str] = msgspec.field(default_factory=list)
    unavailable_value: str = "__debezium_unavailable_value"
    only: dict[str, object] = msgspec.field(default_factory=dict)
    only_headers: dict[str, object] = msgspec.field(default_factory=dict)


def check_webhook(key: str, webhook: WebhookConfig) -> None:
    """Everything that types cannot say. Raises `ConfigurationError` for the first thing that is wrong."""
    for index, name in enumerate(webhook.secret_variables):
        check_variable(f"{key}.secret_variables[{index}]", name)
    if len(set(webhook.secret_variables)) < len(webhook.secret_variables):
        raise ConfigurationError(f"{key}.secret_variables", "names a variable twice")
    _check_scheme(key, webhook)
    if webhook.items is not None:
        check_path(f"{key}.items", webhook.items, "data.items")
    if not webhook.paths:
        raise ConfigurationError(f"{key}.paths", "is required: where the parts of an event stand")
    check_names(f"{key}.paths", webhook.paths, "a dotted path such as 'product.sku'")
    if webhook.version == "moment" and "sourceVersion" not in webhook.path_of:
        raise ConfigurationError(f"{key}.version", "needs paths.sourceVersion: where the moment stands")
    for target, path in webhook.path_of.items():
        _check_path(f"{key}.paths.{target}", path, webhook)
    _check_parts(key, {"paths": webhook.paths, "constants": webhook.constants})
    check_values(f"{key}.withdrawals", webhook.withdrawals, "the values that withdraw, such as ['product.removed']")
    check_values(f"{key}.only", webhook.only, "the values that count, such as ['publish']")
    for table in ("withdrawals", "only"):
        for path, _ in flat(getattr(webhook, table)):
            _check_path(f"{key}.{table}.{path}", path, webhook)
    _check_headers(key, webhook.only_headers)


def _check_scheme(key: str, webhook: WebhookConfig) -> None:
    if webhook.scheme == "standard":
        for name in ("header", "timestamp_header", "encoding"):
            if getattr(webhook, name) is not None:
                problem = 'goes with scheme = "hmac-sha256"; Standard Webhooks has headers of its own'
                raise ConfigurationError(f"{key}.{name}", problem)
        return
    if webhook.header is None:
        raise ConfigurationError(f"{key}.header", "is required: the header that has the signature")
    for name in ("header", "timestamp_header"):
        header: str | None = getattr(webhook, name)
        if header is not None and _header.fullmatch(header) is None:
            problem = f"{header!r} is not the name of a header such as 'X-Shopify-Hmac-Sha256'"
            raise ConfigurationError(f"{key}.{name}", problem)


def _check_headers(key: str, table: Mapping[str, object]) -> None:
    check_values(f"{key}.only_headers", table, "the values that count, such as ['products/update']", kind=str)
    for name, _ in flat(table):
        if _header.fullmatch(name) is None:
            problem = f"{name!r} is not the name of a header such as 'X-Shopify-Topic'"
            raise ConfigurationError(f"{key}.only_headers.{name}", problem)


def _check_path(key: str, path: str, webhook: WebhookConfig) -> None:
    if path.startswith(WHOLE) and webhook.items is None:
        raise ConfigurationError(
            key, f"{path!r}: without items, every path starts at the delivery; leave out '{WHOLE}'"
        )
    check_path(key, path.removeprefix(WHOLE), "product.sku")


def check_cdc(key: str, cdc: CdcConfig) -> None:
    """Everything that types cannot say. Raises `ConfigurationError` for the first thing that is wrong."""
    for index, name in enumerate(cdc.tables):
        if _table.fullmatch(name) is None:
            raise ConfigurationError(f"{key}.tables[{index}]", f"{name!r} is not a table such as 'public.prices'")
    if not cdc.unavailable_value:
        raise ConfigurationError(f"{key}.unavailable_value", "is empty")
    if not cdc.columns:
        raise ConfigurationError(f"{key}.columns", "is required: which columns give the parts of an event")
    check_names(f"{key}.columns", cdc.columns, "the name of a column")
    check_values(f"{key}.only", cdc.only, "the values that count, such as ['retail']")
    _check_headers(key, cdc.only_headers)
    _check_parts(key, {"columns": cdc.columns, "constants": cdc.constants})


def _check_parts(key: str, tables: Mapping[str, Mapping[str, object]]) -> None:
    check_event_fields(key, tables)
    for table, given in tables.items():
        if "source" in given:
            raise ConfigurationError(f"{key}.{table}.source", "is known: the source whose configuration this is")
