"""`[sources.X.snapshot.authorization]`: how a source's endpoint knows who asks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from pagefold.engine.configuration.toml_tables import Table, check_variable
from pagefold.engine.errors import ConfigurationError

Kind: TypeAlias = Literal["basic", "client_credentials", "password", "oauth1"]


class AuthorizationConfig(Table, frozen=True):
    """How a source's endpoint knows who asks. Secrets are in the environment."""

    kind: Annotated[
        Kind,
        Meta(
            description="`basic`: a user and a password. `client_credentials`, `password`: OAuth 2, a token that is "
            "fetched, and fetched again before it expires. `oauth1`: every request is signed, by HMAC-SHA256."
        ),
    ]
    user_variable: Annotated[
        str | None, Meta(description="With `basic` and `password`: the variable with the user.")
    ] = None
    password_variable: Annotated[
        str | None, Meta(description="With `basic` and `password`: the variable with the password.")
    ] = None
    token_url: Annotated[str | None, Meta(description="With OAuth 2: the address that gives tokens.")] = None
    client_id_variable: Annotated[
        str | None, Meta(description="With OAuth: the variable with the client's id, or the consumer key.")
    ] = None
    client_secret_variable: Annotated[
        str | None, Meta(description="With OAuth: the variable with the client's secret, or the consumer's.")
    ] = None
    scope: Annotated[str | None, Meta(description="With OAuth 2: the scope that is asked for.")] = None
    body: Annotated[
        Literal["form", "json"], Meta(description="With OAuth 2: what the body of a request for a token is.")
    ] = "form"
    token_variable: Annotated[str | None, Meta(description="With `oauth1`: the variable with the token.")] = None
    token_secret_variable: Annotated[
        str | None, Meta(description="With `oauth1`: the variable with the token's secret.")
    ] = None


_CLIENT = ("client_id_variable", "client_secret_variable")
_USER = ("user_variable", "password_variable")
REQUIRED: Mapping[Kind, Sequence[str]] = {
    "basic": _USER,
    "client_credentials": (*_CLIENT, "token_url"),
    "password": (*_CLIENT, *_USER, "token_url"),
    "oauth1": (*_CLIENT, "token_variable", "token_secret_variable"),
}
"""The keys that each kind needs."""

_OPTIONAL: Mapping[Kind, Sequence[str]] = {
    "basic": (),
    "client_credentials": ("scope", "body"),
    "password": ("scope", "body"),
    "oauth1": (),
}


def check_authorization(key: str, given: AuthorizationConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    for name in REQUIRED[given.kind]:
        if getattr(given, name) is None:
            yield ConfigurationError(f"{key}.{name}", f'is required with kind = "{given.kind}"')
    defaults = AuthorizationConfig(kind=given.kind)
    for name in AuthorizationConfig.__struct_fields__[1:]:
        value = getattr(given, name)
        if value == getattr(defaults, name):
            continue
        if name not in (*REQUIRED[given.kind], *_OPTIONAL[given.kind]):
            yield ConfigurationError(f"{key}.{name}", f'has no meaning with kind = "{given.kind}"')
        elif name.endswith("_variable"):
            yield from check_variable(f"{key}.{name}", value)
    yield from _check_token_url(f"{key}.token_url", given.token_url)


def _check_token_url(key: str, url: str | None) -> Iterator[ConfigurationError]:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good:
        yield ConfigurationError(key, "is not an address such as 'https://auth.example/oauth/token'")
