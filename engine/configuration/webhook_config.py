"""`[sources.X.webhook]`: how webhooks are signed, and which count. What their bodies say is in a contract."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pagefold.engine.configuration.header_filters import WithHeaders, check_headers, header_name
from pagefold.engine.configuration.toml_tables import ContractPlace, Table, check_variable
from pagefold.engine.errors import ConfigurationError

Scheme: TypeAlias = Literal["standard", "hmac-sha256"]
Encoding: TypeAlias = Literal["base64", "hex"]


class WebhookConfig(Table, WithHeaders, frozen=True, kw_only=True):
    """How a source's webhooks are signed, and which of them count."""

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
    only_headers: Annotated[
        dict[str, object], Meta(description="By header, the accepted values. Other requests are counted and not read.")
    ] = field(default_factory=dict)
    ping: Annotated[
        str | None,
        Meta(
            description="A regular expression for whole bodies with which the sender tests the address, unsigned. Such "
            "a request is answered 200, and nothing is done. WooCommerce needs `webhook_id=[0-9]+`.",
        ),
    ] = None


def check_webhook(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    for index, name in enumerate(webhook.secret_variables):
        yield from check_variable(f"{key}.secret_variables[{index}]", name)
    if len(set(webhook.secret_variables)) < len(webhook.secret_variables):
        yield ConfigurationError(f"{key}.secret_variables", "names a variable twice")
    yield from _check_scheme(key, webhook)
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
