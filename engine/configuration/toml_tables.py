"""What all tables of the configuration share: strictness, dotted keys, names of secrets."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias
from urllib.parse import unquote_plus

import msgspec

from pagefold.engine.errors import ConfigurationError
from pagefold.projections.streams import EVERY_CHANNEL

SHOWN_PARAMETERS = frozenset(
    [
        *("host", "port", "dbname", "database", "user", "sslmode", "sslnegotiation", "application_name"),
        *("target_session_attrs", "connect_timeout", "command_timeout", "gssencmode", "channel_binding"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "search_path", "timezone", "client_encoding"),
    ]
)
"""The query parameters of a PostgreSQL URL that may be shown; not `password`, `passfile`, `sslkey` or `options`."""

_name = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


ContractPlace: TypeAlias = Annotated[
    str | dict[str, object] | None,
    msgspec.Meta(
        description="What the records of the source say: a contract as a table, or its file, relative to the folder of "
        "this one."
    ),
]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A table of the file. Unknown keys are errors."""


def flatten_keys(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Each value by its dotted key. TOML reads `payload.amount = "PRICE"` as nested tables: here it is one key."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flatten_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def values_by_key(table: Mapping[str, object]) -> dict[str, list[object]]:
    """The values of each dotted key in a table of lists."""
    return {name: values for name, values in flatten_keys(table) if isinstance(values, list)}


def check_values(key: str, table: Mapping[str, object], what: str, kind: type = object) -> Iterator[ConfigurationError]:
    """Yields the values of a table that are not arrays of texts, numbers or booleans, or not of `kind`."""
    for name, values in flatten_keys(table):
        fits = isinstance(values, list) and values and all(isinstance(value, kind) for value in values)
        if not fits or any(isinstance(value, list | dict) for value in values):  # type: ignore[attr-defined]  # it is a list
            yield ConfigurationError(f"{key}.{name}", f"expected {what}, got {values!r}")


def check_name(key: str, name: str) -> Iterator[ConfigurationError]:
    """Yields an error unless it is a name that a table may have: that of a source, a channel, a task."""
    if _name.fullmatch(name) is None:
        allowed = "use 1 to 64 letters, digits, '.', '_' and '-'"
        hint = f" ({EVERY_CHANNEL!r} in an event means every channel)" if name == EVERY_CHANNEL else ""
        yield ConfigurationError(key, f"is not a name; {allowed}{hint}")


def check_path(key: str, path: str, example: str) -> Iterator[ConfigurationError]:
    """Yields an error unless the path consists of names with dots between them."""
    if not all(path.split(".")):
        yield ConfigurationError(key, f"{path!r} is not a dotted path such as {example!r}")


def check_variable(key: str, name: str) -> Iterator[ConfigurationError]:
    """Yields an error unless the name is that of an environment variable. It is not shown: it may be a secret."""
    if _variable.fullmatch(name) is None:
        problem = "is not the name of an environment variable; its value must not be in the configuration"
        yield ConfigurationError(key, problem)


def redacted(url: str) -> str:
    """The URL for logs and messages: without its password, and without values of its query that may be secrets."""
    if url.startswith("sqlite:"):
        return url
    address, question, query = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url).partition("?")
    return address + question + "&".join(map(_shown, query.split("&"))) if question else address


def _shown(parameter: str) -> str:
    """A parameter of a query: its name, and its value if that cannot be a secret."""
    name, equals, _ = parameter.partition("=")
    return parameter if equals and unquote_plus(name) in SHOWN_PARAMETERS else f"{name}{equals}***"
