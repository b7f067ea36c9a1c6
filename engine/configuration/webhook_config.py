"""`[sources.X.webhook]`: how webhooks are signed, and where in their bodies the fields of an event are."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import msgspec

from pagefold.engine.configuration.event_filters import WithFilters, check_headers, check_own_fields, header_name
from pagefold.engine.configuration.toml_tables import (
    WithConstants,
    check_names,
    check_path,
    check_values,
    check_variable,
    flatten_keys,
    values_by_key,
)
from pagefold.engine.errors import ConfigurationError

Scheme: TypeAlias = Literal["standard", "hmac-sha256"]
Encoding: TypeAlias = Literal["base64", "hex"]
Version: TypeAlias = Literal["integer", "moment"]

ROOT_PREFIX = "$."
"""The prefix of a path that starts at the body's root; other paths start at each item."""


class WebhookConfig(WithConstants, WithFilters, frozen=True, kw_only=True):
    """How a source's webhooks are signed, and where in their bodies the fields of an event are.

    `secret_variables` names the environment variables that hold the secrets, two while a new one replaces the old.
    `scheme` is that of Standard Webhooks, or an HMAC-SHA256 of the body in `header`, written in `encoding`; with a
    `timestamp_header`, its value and a dot are signed before the body. `items` is the path of the array of items in a
    body that has several. `paths` has dotted paths by field of the event; an index in them selects an element of an
    array. `constants` has values by field. `version = "moment"` turns a time into a version: its microseconds since
    1970. An item withdraws if a path in `withdrawals` leads to one of its values. An item counts if every path in
    `only` leads to one of its values, a request if its headers match `only_headers`; what does not count is not kept.
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
        """The path of each field."""
        return {target: str(path) for target, path in flatten_keys(self.paths)}

    @cached_property
    def withdrawn_by(self) -> dict[str, list[object]]:
        """By path, the values that withdraw."""
        return values_by_key(self.withdrawals)


def check_webhook(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    for index, name in enumerate(webhook.secret_variables):
        yield from check_variable(f"{key}.secret_variables[{index}]", name)
    if len(set(webhook.secret_variables)) < len(webhook.secret_variables):
        yield ConfigurationError(f"{key}.secret_variables", "names a variable twice")
    yield from _check_scheme(key, webhook)
    if webhook.items is not None:
        yield from check_path(f"{key}.items", webhook.items, "data.items")
    yield from _check_paths(key, webhook)
    yield from check_own_fields(key, {"paths": webhook.paths, "constants": webhook.constants})
    yield from check_values(
        f"{key}.withdrawals", webhook.withdrawals, "the values that withdraw, such as ['product.removed']"
    )
    yield from check_values(f"{key}.only", webhook.only, "the values to accept, such as ['publish']")
    for table in ("withdrawals", "only"):
        for path, _ in flatten_keys(getattr(webhook, table)):
            yield from _check_path(f"{key}.{table}.{path}", path, webhook)
    yield from check_headers(key, webhook.only_headers)


def _check_scheme(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    if webhook.scheme == "standard":
        for name in ("header", "timestamp_header", "encoding"):
            if getattr(webhook, name) is not None:
                problem = 'goes with scheme = "hmac-sha256"; Standard Webhooks defines its own headers'
                yield ConfigurationError(f"{key}.{name}", problem)
        return
    if webhook.header is None:
        yield ConfigurationError(f"{key}.header", "is required: the header that has the signature")
    for name in ("header", "timestamp_header"):
        header: str | None = getattr(webhook, name)
        if header is not None and header_name.fullmatch(header) is None:
            problem = f"{header!r} is not the name of a header such as 'X-Shopify-Hmac-Sha256'"
            yield ConfigurationError(f"{key}.{name}", problem)


def _check_paths(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    if not webhook.paths:
        yield ConfigurationError(f"{key}.paths", "is required: where the fields of an event are")
    wrong = list(check_names(f"{key}.paths", webhook.paths, "a dotted path such as 'product.sku'"))
    yield from wrong
    if webhook.version == "moment" and "sourceVersion" not in webhook.path_of:
        yield ConfigurationError(f"{key}.version", "needs paths.sourceVersion: where the time is")
    if not wrong:
        for target, path in webhook.path_of.items():
            yield from _check_path(f"{key}.paths.{target}", path, webhook)


def _check_path(key: str, path: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    if path.startswith(ROOT_PREFIX) and webhook.items is None:
        problem = f"{path!r}: without items, every path starts at the body's root; leave out '{ROOT_PREFIX}'"
        yield ConfigurationError(key, problem)
    else:
        yield from check_path(key, path.removeprefix(ROOT_PREFIX), "product.sku")
