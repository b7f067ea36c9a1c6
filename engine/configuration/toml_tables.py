"""What tables of the configuration share: their strictness, dotted keys, targets, and the names of secrets."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from urllib.parse import unquote_plus

import msgspec

from pagefold.engine.errors import ConfigurationError

EVENT_FIELDS = (
    "type",
    "sku",
    "channel",
    "source",
    "sourceVersion",
    "occurredAt",
    "id",
    "correlationId",
    "epoch",
    "payload",
)
"""The parts of an event that a column or a constant may give; inside the payload, `payload.` and dotted names."""

SHOWN_PARAMETERS = frozenset(
    [
        *("host", "port", "dbname", "database", "user", "sslmode", "sslnegotiation", "application_name"),
        *("target_session_attrs", "connect_timeout", "command_timeout", "gssencmode", "channel_binding"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "search_path", "timezone", "client_encoding"),
    ]
)
"""What of a PostgreSQL URL's query may be shown. `password`, `sslpassword`, `passfile`, `sslkey`, `options`: not."""

_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A table of the file. Unknown keys are errors."""


class WithConstants(Table, frozen=True):
    """A table that gives parts of every event: `constants` has values by target."""

    constants: dict[str, object] = msgspec.field(default_factory=dict)

    @cached_property
    def constant_of(self) -> dict[str, object]:
        """The value of each target that has one."""
        return dict(flat(self.constants))


class ColumnsTable(WithConstants, frozen=True):
    """A table that tells what is in which column: `columns` has their names by target."""

    columns: dict[str, object] = msgspec.field(default_factory=dict)

    @cached_property
    def column_of(self) -> dict[str, str]:
        """The column of each target."""
        return {target: str(column) for target, column in flat(self.columns)}


def flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Each value by its dotted key. TOML reads `payload.amount = "PRICE"` as tables: here it is one key."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_event_fields(key: str, tables: Mapping[str, Mapping[str, object]]) -> None:
    """What each of the tables at a key gives is a part of an event, which nothing else gives as well."""
    taken: dict[str, str] = {}
    for table, target in [(table, target) for table, given in tables.items() for target, _ in flat(given)]:
        if (fault := event_field_error(target)) is not None:
            raise ConfigurationError(f"{key}.{table}.{target}", fault)
        for other, place in taken.items():
            if f"{target}.".startswith(f"{other}.") or f"{other}.".startswith(f"{target}."):
                raise ConfigurationError(f"{key}.{table}.{target}", f"{place}.{other} gives it already")
        taken[target] = table


def check_names(key: str, table: Mapping[str, object], what: str) -> None:
    """Every value of a table is a text, such as the name of a column."""
    for target, name in flat(table):
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{key}.{target}", f"expected {what}, got {name!r}")


def values_by_place(table: Mapping[str, object]) -> dict[str, list[object]]:
    """The values of each place in a table that has lists of them, by dotted key."""
    return {place: values for place, values in flat(table) if isinstance(values, list)}


def check_values(key: str, table: Mapping[str, object], what: str, kind: type = object) -> None:
    """Every value of a table is an array of texts, numbers or truth values: of one `kind`, if it is given."""
    for place, values in flat(table):
        fits = isinstance(values, list) and values and all(isinstance(value, kind) for value in values)
        if not fits or any(isinstance(value, list | dict) for value in values):  # type: ignore[attr-defined]  # it is a list
            raise ConfigurationError(f"{key}.{place}", f"expected {what}, got {values!r}")


def event_field_error(target: str) -> str | None:
    """Why a column or a constant cannot have this target, or None when it can."""
    first, _, rest = target.partition(".")
    if target in EVENT_FIELDS or (first == "payload" and all(rest.split("."))):
        return None
    return f"is no part of an event; there are {', '.join(EVENT_FIELDS)}, and payload.… for what is inside"


def check_path(key: str, path: str, example: str) -> None:
    """A path into JSON is names with dots between them."""
    if not all(path.split(".")):
        raise ConfigurationError(key, f"{path!r} is not a dotted path such as {example!r}")


def check_variable(key: str, name: str) -> None:
    """What holds a secret is named, never told."""
    if _variable.fullmatch(name) is None:
        raise ConfigurationError(key, "is not the name of an environment variable; what it holds has no place here")


def redacted(url: str) -> str:
    """The URL fit for logs and messages: without its password, and of its query with what is known to be no secret."""
    if url.startswith("sqlite:"):
        return url
    address, question, query = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url).partition("?")
    return address + question + "&".join(map(_shown, query.split("&"))) if question else address


def _shown(parameter: str) -> str:
    """A parameter of a query. What it is called is told; what it says, where that is no secret."""
    name, equals, _ = parameter.partition("=")
    return parameter if equals and unquote_plus(name) in SHOWN_PARAMETERS else f"{name}{equals}***"
