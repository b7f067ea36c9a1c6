"""How a source's requests prove that they are its own: the keys of `[sources.X.webhook]` that say it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, field

from pagefold.engine.configuration.header_filters import header_name
from pagefold.engine.configuration.toml_tables import Table, check_variable
from pagefold.engine.errors import ConfigurationError

Scheme: TypeAlias = Literal["standard", "hmac-sha256", "jws", "bearer_jwt", "sns"]
Encoding: TypeAlias = Literal["base64", "hex"]
SecretEncoding: TypeAlias = Literal["html_entities"]

MAX_HEADERS = 4
"""Headers that may have a signature of one form."""

GOOGLE = frozenset({"https://accounts.google.com", "accounts.google.com"})
"""The issuer that gives a token for any audience to anyone who has an account."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
topic_name = re.compile(r"arn:aws[a-z-]*:sns:([a-z]{2}(?:-[a-z]+)+-\d+):\d+:[A-Za-z0-9_.-]+", re.ASCII)
"""The name of an SNS topic; its region is the first group."""


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
            description="How requests are signed: as in Standard Webhooks; by an HMAC-SHA256 of the body in a header; "
            "by a detached JWS (RS256) of the body in a header, as Saleor does it (`jws`); by a token in "
            "`Authorization`, as Google's Pub/Sub sends it (`bearer_jwt`); or as Amazon's SNS does it (`sns`)."
        ),
    ] = "standard"
    header: Annotated[
        str | list[str] | None,
        Meta(
            description="With `hmac-sha256` and `jws`: the header with the signature, or several: one valid signature "
            "counts."
        ),
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

    jwks_url: Annotated[
        str | None,
        Meta(
            description="With `jws` and `bearer_jwt`: the address of the keys, as a JSON Web Key Set, such as "
            "`https://shop.example/.well-known/jwks.json`."
        ),
    ] = None
    issuer: Annotated[
        str | None, Meta(description="With `bearer_jwt`: who issues the tokens, such as `https://accounts.google.com`.")
    ] = None
    audience: Annotated[
        str | None, Meta(description="With `bearer_jwt`: for whom the tokens are, as set at the sender.")
    ] = None
    email: Annotated[
        str | None,
        Meta(
            description="With `bearer_jwt`: whose tokens they are, a service account. Required with Google's issuer, "
            "of whom anyone may have a token."
        ),
    ] = None
    topics: Annotated[
        list[str], Meta(description="With `sns`: the topics that count, such as `arn:aws:sns:eu-west-1:1234:products`.")
    ] = field(default_factory=list)

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
    "jws": ("header", "jwks_url"),
    "bearer_jwt": ("jwks_url", "issuer", "audience", "email"),
    "sns": ("topics",),
}
"""The keys that each scheme has."""

_HEADER, _KEY_SET = "the header that has the signature", "the address of the keys"
_REQUIRED: Mapping[Scheme, Mapping[str, str]] = {
    "standard": {},
    "hmac-sha256": {"header": _HEADER},
    "jws": {"header": _HEADER, "jwks_url": _KEY_SET},
    "bearer_jwt": {"jwks_url": _KEY_SET, "issuer": "who issues the tokens", "audience": "for whom the tokens are"},
    "sns": {"topics": "the topics that count"},
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
    yield from _check_senders(key, given)


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


def _check_senders(key: str, given: SignatureConfig) -> Iterator[ConfigurationError]:
    if given.jwks_url is not None and not _is_safe(given.jwks_url):
        problem = (
            "is not an address such as 'https://shop.example/.well-known/jwks.json'; http is for this machine only"
        )
        yield ConfigurationError(f"{key}.jwks_url", problem)
    if given.issuer in GOOGLE and given.email is None:
        problem = "is required with Google's issuer: anyone may have a token of it for any audience"
        yield ConfigurationError(f"{key}.email", problem)
    for index, topic in enumerate(given.topics):
        if topic_name.fullmatch(topic) is None:
            problem = f"{topic!r:.100} is not the name of a topic such as 'arn:aws:sns:eu-west-1:123456789012:products'"
            yield ConfigurationError(f"{key}.topics[{index}]", problem)


def _is_safe(url: str) -> bool:
    """Whether the address cannot be answered by a third party, which could give keys of its own."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
    return named and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL))
