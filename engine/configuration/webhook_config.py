"""`[sources.X.webhook]`: how webhooks are signed, and where in their bodies the fields of an event are."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pagefold.engine.configuration.event_filters import WithFilters, check_headers, check_own_fields, header_name
from pagefold.engine.configuration.toml_tables import (
    ContractPlace,
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
    """How a source's webhooks are signed, and where in their bodies the fields of an event are."""

    secret_variables: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=2,
            description="The environment variables with the secrets: one, or two while a new secret replaces the old "
            "one.",
        ),
    ]
    scheme: Annotated[
        Scheme,
        Meta(
            description="How requests are signed: as in Standard Webhooks, or by an HMAC-SHA256 of the body in a "
            "header."
        ),
    ] = "standard"
    header: Annotated[str | None, Meta(description="With `hmac-sha256`: the header with the signature.")] = None
    timestamp_header: Annotated[
        str | None,
        Meta(
            description="With `hmac-sha256`: the header with the time in seconds since 1970, if that and a dot are "
            "signed before the body."
        ),
    ] = None
    encoding: Annotated[Encoding | None, Meta(description="With `hmac-sha256`: the encoding of the signature.")] = None
    contract: ContractPlace = None
    items: Annotated[
        str | None,
        Meta(description="The path of the items in a body that has several. Without it, the body is one item."),
    ] = None
    version: Annotated[
        Version,
        Meta(
            description="What `paths.sourceVersion` leads to: an integer, or a time, whose microseconds since 1970 "
            "are the version."
        ),
    ] = "integer"
    paths: Annotated[
        dict[str, object],
        Meta(
            description="By field of an event, the path of its value: names and, in arrays, indices. A path that "
            "begins with `$.` starts at the body's root, others at each item."
        ),
    ] = field(default_factory=dict)
    withdrawals: Annotated[dict[str, object], Meta(description="By path, the values with which an item withdraws.")] = (
        field(default_factory=dict)
    )
    only: Annotated[
        dict[str, object],
        Meta(description="By path, the accepted values. Other items are counted and not kept."),
    ] = field(default_factory=dict)
    only_headers: Annotated[
        dict[str, object], Meta(description="By header, the accepted values. Other requests are counted and not read.")
    ] = field(default_factory=dict)

    @cached_property
    def path_of(self) -> dict[str, str]:
        """The path of each field of an event."""
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
