"""How a source's requests prove that they are its own: the keys of `[sources.X.webhook]` that say it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pagefold.engine.configuration.header_filters import header_name
from pagefold.engine.configuration.toml_tables import Table, check_variable
from pagefold.engine.errors import ConfigurationError

Scheme: TypeAlias = Literal["standard", "hmac-sha256"]
Encoding: TypeAlias = Literal["base64", "hex"]
SecretEncoding: TypeAlias = Literal["html_entities"]

MAX_HEADERS = 4
"""Headers that may have a signature of one form."""


class SignatureConfig(Table, frozen=True, kw_only=True):
    """One way in which requests are signed."""

    secret_variables: Annotated[
        list[str],
        Meta(
            max_length=2,
            description="The environment variables with the secrets: one, or two while a new secret replaces the old "
            "one.",
        ),
    ] = field(default_factory=list)
    scheme: Annotated[
        Scheme,
        Meta(
            description="How requests are signed: as in Standard Webhooks, or by an HMAC-SHA256 of the body in a "
            "header."
        ),
    ] = "standard"
    header: Annotated[
        str | list[str] | None,
        Meta(description="With `hmac-sha256`: the header with the signature, or several: one valid signature counts."),
    ] = None
    timestamp_header: Annotated[
        str | None,
        Meta(
            description="With `hmac-sha256`: the header with the time in seconds since 1970, if that and a dot are "
            "signed before the body."
        ),
    ] = None
    encoding: Annotated[Encoding | None, Meta(description="With `hmac-sha256`: the encoding of the signature.")] = None
    secret_encoding: Annotated[
        SecretEncoding | None,
        Meta(
            description="With `hmac-sha256`: `html_entities` if the key is the secret after its HTML entities are "
            "decoded, as WooCommerce does it."
        ),
    ] = None

    @cached_property
    def header_names(self) -> Sequence[str]:
        """The headers that may have the signature."""
        header = self.header
        return [header] if isinstance(header, str) else header or []


SIGNATURE_KEYS = SignatureConfig.__struct_fields__
SECRETS = "secret_variables"

_KEYS: Mapping[Scheme, Sequence[str]] = {
    "standard": (SECRETS,),
    "hmac-sha256": (SECRETS, "header", "timestamp_header", "encoding", "secret_encoding"),
}
"""The keys that each scheme has."""

_REQUIRED: Mapping[Scheme, Mapping[str, str]] = {
    "standard": {},
    "hmac-sha256": {"header": "the header that has the signature"},
}
"""The keys that each scheme needs besides secrets, and what they are."""


def check_signature(
    key: str, given: SignatureConfig, secrets_of: SignatureConfig | None = None
) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude. `secrets_of` has the secrets if it has none."""
    for index, name in enumerate(given.secret_variables):
        yield from check_variable(f"{key}.{SECRETS}[{index}]", name)
    if len(set(given.secret_variables)) < len(given.secret_variables):
        yield ConfigurationError(f"{key}.{SECRETS}", "names a variable twice")
    if SECRETS in _KEYS[given.scheme] and not (given.secret_variables or (secrets_of and secrets_of.secret_variables)):
        yield ConfigurationError(f"{key}.{SECRETS}", "is required: the names of one or two environment variables")
    yield from _check_keys(key, given)
    yield from _check_headers(key, given)


def _check_keys(key: str, given: SignatureConfig) -> Iterator[ConfigurationError]:
    for name, what in _REQUIRED[given.scheme].items():
        if not getattr(given, name):
            yield ConfigurationError(f"{key}.{name}", f"is required: {what}")
    for name in SIGNATURE_KEYS:
        if name != "scheme" and name not in _KEYS[given.scheme] and getattr(given, name):
            schemes = " or ".join(f'"{scheme}"' for scheme, keys in _KEYS.items() if name in keys)
            own = "; Standard Webhooks defines its own headers" if given.scheme == "standard" else ""
            yield ConfigurationError(f"{key}.{name}", f"goes with scheme = {schemes}{own}")


def _check_headers(key: str, given: SignatureConfig) -> Iterator[ConfigurationError]:
    if len(given.header_names) > MAX_HEADERS:
        yield ConfigurationError(f"{key}.header", f"names more than {MAX_HEADERS} headers")
    timestamp = [] if given.timestamp_header is None else [("timestamp_header", given.timestamp_header)]
    for name, header in [*(("header", each) for each in given.header_names), *timestamp]:
        if header_name.fullmatch(header) is None:
            problem = f"{header!r} is not the name of a header such as 'X-Shopify-Hmac-Sha256'"
            yield ConfigurationError(f"{key}.{name}", problem)
