"""The configuration: one TOML file, checked as a whole before anything starts. Every error names the key.

The environment overrides where the store is (`PAGEFOLD_STORE`), and names the file (`PAGEFOLD_CONFIG`).
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

import msgspec

from domains import DOMAINS, AnyDomain
from engine.config_http import HttpConfig
from engine.errors import ConfigurationError
from projections import Channel, fingerprint_parts
from projections.streams import EVERY_CHANNEL

CONFIG_VARIABLE = "PAGEFOLD_CONFIG"
STORE_VARIABLE = "PAGEFOLD_STORE"
DEFAULT_FILE = "pagefold.toml"

_name = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_locale = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", re.ASCII)
_schema = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_share = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)

TARGETS = ("type", "sku", "channel", "source", "sourceVersion", "occurredAt", "id", "correlationId", "payload")
"""The parts of an event that a column or a constant may give; inside the payload, `payload.` and dotted names."""

DEFAULT_ORPHANS: Sequence[int | str] = ("5%", 500)

Format: TypeAlias = Literal["ndjson", "csv"]
_FORMATS: Mapping[str, Format] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv"}
_COMPRESSED = (".gz", ".zst")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A table of the file. Unknown keys are errors."""


class StoreConfig(_Strict, frozen=True):
    """Where the log and the pages are kept.

    `url` is `sqlite:///folder` (below the working directory), `sqlite:////folder` (absolute) or `postgresql://…`;
    `schema` is the PostgreSQL schema that holds everything.
    """

    url: str
    schema: str = "pagefold"


class OrphanLimit(NamedTuple):
    """How many products of a source a rebuild may withdraw without being asked: the smallest of all that is given."""

    most: int | None
    share: Decimal | None

    @classmethod
    def parse(cls, given: int | str | Sequence[int | str]) -> Self:
        """A number, a share such as `5%`, or several of them. Raises `ValueError`, with what would be right."""
        several = [given] if isinstance(given, int | str) else given
        if not several:
            problem = "is empty; write a number such as 500, a share such as '5%', or both"
            raise ValueError(problem)
        parts = [_limit(each) for each in several]
        numbers = [part for part in parts if isinstance(part, int)]
        shares = [part for part in parts if isinstance(part, Decimal)]
        return cls(min(numbers, default=None), min(shares, default=None))

    def of(self, live: int) -> int:
        """The limit where so many are live."""
        limits = [] if self.most is None else [self.most]
        if self.share is not None:
            limits.append(int(live * self.share / 100))
        return min(limits)


def _limit(given: int | str) -> int | Decimal:
    text = str(given).strip()
    if text.isascii() and text.isdecimal():
        return int(text)
    if (share := _share.fullmatch(text)) is not None and Decimal(share[1]) <= 100:  # noqa: PLR2004  # per cent
        return Decimal(share[1])
    problem = f"{given!r} is neither a number such as 500 nor a share such as '5%'"
    raise ValueError(problem)


class SnapshotConfig(_Strict, frozen=True):
    """Where a source says everything that it says now: exactly one of `file`, `url` and `query`.

    `columns` names, by target, the column of a CSV file, of a query's result or of flat JSON that it is taken from;
    without any, columns are named as their targets, and JSON rows are events. `constants` has values by target.
    """

    file: str | None = None
    format: Format | None = None
    delimiter: str = ","
    url: str | None = None
    items: str | None = None
    cursor: str | None = None
    cursor_parameter: str | None = None
    total: str | None = None
    token_variable: str | None = None
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 10.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    query: str | None = None
    database: str | None = None
    database_variable: str | None = None
    max_orphans: int | str | list[int | str] = msgspec.field(default_factory=lambda: [*DEFAULT_ORPHANS])
    columns: dict[str, object] = {}
    constants: dict[str, object] = {}

    @cached_property
    def kind(self) -> Literal["file", "url", "query"]:
        """Which of the three it is."""
        return "file" if self.file is not None else "url" if self.url is not None else "query"

    @cached_property
    def file_format(self) -> Format | None:
        """What `format` says, else the ending of the file's name; None when neither tells."""
        path = PurePath(self.file or "")
        if path.suffix.lower() in _COMPRESSED:
            path = path.with_suffix("")
        return self.format or _FORMATS.get(path.suffix.lower())

    @cached_property
    def column_of(self) -> dict[str, str]:
        """The column of each target. TOML reads `payload.amount = "PRICE"` as tables: here it is one target."""
        return {target: str(column) for target, column in _flat(self.columns)}

    @cached_property
    def constant_of(self) -> dict[str, object]:
        """The value of each target that has one."""
        return dict(_flat(self.constants))

    @cached_property
    def orphan_limit(self) -> OrphanLimit:
        """How many streams may be withdrawn without being asked."""
        return OrphanLimit.parse(self.max_orphans)


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class SourceConfig(_Strict, frozen=True):
    """A system that owns facts, the domains it may write, and where it says all of them at once."""

    domains: list[str]
    snapshot: SnapshotConfig | None = None


class ChannelConfig(_Strict, frozen=True):
    """A storefront or marketplace, as the file has it.

    `sources` absent: every source of the domain, in the file's order. `cache_seconds` and
    `stale_while_revalidate_seconds` absent: those of `[http]`.
    """

    locale: str
    currency: str
    fallbacks: list[str] = []
    requires: list[str] = []
    sources: dict[str, list[str]] = {}
    cache_seconds: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] | None = None
    stale_while_revalidate_seconds: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] | None = None


class WorkConfig(_Strict, frozen=True):
    """The pace of the consumers.

    `batch` is how many positions of the log one transaction folds at most when far behind, `poll_seconds` how often a
    consumer looks for changes that nobody announced, `lease_seconds` after what silence a frozen worker is replaced.
    """

    batch: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 8_000
    poll_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.5
    lease_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 10.0


class AppendConfig(_Strict, frozen=True):
    """Group commit: how long an append may wait for company, and how many events one transaction takes at most."""

    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=0.005)] = 0.0
    batch: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 5_000
    queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000


class Config(_Strict, frozen=True):
    """A whole configuration.

    Make one with `Config.load` (a file) or `Config.parse` (TOML text, or what it would hold).
    """

    store: StoreConfig
    sources: dict[str, SourceConfig]
    channels: dict[str, ChannelConfig]
    work: WorkConfig = WorkConfig()
    append: AppendConfig = AppendConfig()
    http: HttpConfig = HttpConfig()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "Config":
        """The configuration in a TOML file: `path`, else `PAGEFOLD_CONFIG`, else `pagefold.toml`.

        `store`, else `PAGEFOLD_STORE`, is used in place of the file's `store.url`. Raises `ConfigurationError`.
        """
        file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            problem = f"no configuration at {file}; `pagefold init` writes one, --config or {CONFIG_VARIABLE} names one"
            raise ConfigurationError("", problem) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("", f"cannot read {file}: {error}") from error
        return cls.parse(text, store=store)

    @classmethod
    def parse(cls, source: str | Mapping[str, object], *, store: str | None = None) -> "Config":
        """The configuration in TOML text, or in what such text holds.

        `store` as in `load`. Raises `ConfigurationError`.
        """
        try:
            document = tomllib.loads(source) if isinstance(source, str) else dict(source)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError("", f"this is not TOML: {error}") from error
        url = store or os.environ.get(STORE_VARIABLE)
        if url:
            table = document.get("store")
            document["store"] = (table if isinstance(table, dict) else {}) | {"url": url}
        try:
            config = msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise _readable(str(error), document) from None
        _check(config)
        return config

    @cached_property
    def made_for(self) -> tuple[Channel, ...]:
        """The channels, with every default filled in, in the file's order."""
        return tuple(self._channel(name, channel) for name, channel in self.channels.items())

    def writers(self, domain: str) -> tuple[str, ...]:
        """The sources that may write a domain, in the file's order."""
        return tuple(name for name, source in self.sources.items() if domain in source.domains)

    def fingerprint(self, domain: AnyDomain) -> str:
        """Equal for two configurations exactly when they give the domain's sections the same bytes."""
        parts = msgspec.json.encode([domain.name, *fingerprint_parts(domain, self.made_for)])
        return sha256(parts).hexdigest()[:16]

    def _channel(self, name: str, channel: ChannelConfig) -> Channel:
        return Channel(
            name=name,
            locale=channel.locale,
            fallbacks=tuple(channel.fallbacks),
            currency=channel.currency,
            requires=frozenset(channel.requires),
            sources={
                domain.name: tuple(channel.sources.get(domain.name, self.writers(domain.name))) for domain in DOMAINS
            },
        )


def _readable(message: str, document: Mapping[str, object]) -> ConfigurationError:
    """msgspec's error with its `$.a.b` turned into a key, and the wildcards of tables into the names in the file."""
    problem, _, path = message.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    if "[...]" in key:
        key = _first_fault(key, document)
    if problem.startswith("Object contains unknown field"):
        unknown = problem.split("`")[1]
        return ConfigurationError(".".join(filter(None, (key, unknown))), "unknown key; is it a misspelling?")
    if problem.startswith("Object missing required field"):
        missing = problem.split("`")[1]
        return ConfigurationError(".".join(filter(None, (key, missing))), "is required")
    return ConfigurationError(key, problem[0].lower() + problem[1:])


def _first_fault(key: str, document: Mapping[str, object]) -> str:
    """msgspec does not say which entry of a table is wrong: try them one at a time."""
    table, _, rest = key.partition("[...]")
    kind = {"sources": SourceConfig, "channels": ChannelConfig}.get(table)
    entries = document.get(table)
    if kind is None or not isinstance(entries, dict):
        return key
    for name, entry in entries.items():
        try:
            msgspec.convert(entry, kind)
        except msgspec.ValidationError:
            return f"{table}.{name}{rest}"
    return key


def _check(config: Config) -> None:
    """Everything that types cannot say. Raises `ConfigurationError` for the first thing that is wrong."""
    _check_store(config.store)
    for name, source in config.sources.items():
        _check_name("sources", name)
        _check_domains(f"sources.{name}.domains", source.domains)
        if source.snapshot is not None:
            _check_snapshot(f"sources.{name}.snapshot", source.snapshot)
    for name, channel in config.channels.items():
        _check_name("channels", name)
        _check_channel(f"channels.{name}", channel, config)


def _check_store(store: StoreConfig) -> None:
    scheme = urlsplit(store.url).scheme
    if scheme not in {"sqlite", "postgresql", "postgres"}:
        raise ConfigurationError("store.url", f"{redacted(store.url)!r} is neither sqlite:///folder nor postgresql://…")
    if scheme == "sqlite" and not re.fullmatch(r"sqlite:///.+", store.url):
        raise ConfigurationError("store.url", "write sqlite:///folder (relative) or sqlite:////folder (absolute)")
    if _schema.fullmatch(store.schema) is None or store.schema.startswith("pg_"):
        problem = f"{store.schema!r}: use small letters, digits and _, at most 63; pg_ is PostgreSQL's own"
        raise ConfigurationError("store.schema", problem)


def _check_name(table: str, name: str) -> None:
    if _name.fullmatch(name) is None:
        allowed = "use 1 to 64 letters, digits, '.', '_' and '-'"
        hint = f" ({EVERY_CHANNEL!r} in an event means every channel)" if name == EVERY_CHANNEL else ""
        raise ConfigurationError(f"{table}.{name}", f"is not a name; {allowed}{hint}")


def _check_domains(key: str, names: Sequence[str]) -> None:
    known = [domain.name for domain in DOMAINS]
    for name in names:
        if name not in known:
            raise ConfigurationError(key, f"{name!r} is no domain; there are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ConfigurationError(key, "names a domain twice")


_KIND_OF = {
    "format": "file",
    "delimiter": "file",
    "items": "url",
    "cursor": "url",
    "cursor_parameter": "url",
    "total": "url",
    "token_variable": "url",
    "requests_per_second": "url",
    "concurrency": "url",
    "timeout_seconds": "url",
    "database": "query",
    "database_variable": "query",
}


def _check_snapshot(key: str, snapshot: SnapshotConfig) -> None:
    kinds = [name for name in ("file", "url", "query") if getattr(snapshot, name) is not None]
    if len(kinds) != 1:
        has = " and ".join(kinds) or "none"
        raise ConfigurationError(key, f"needs exactly one of file, url and query; it has {has}")
    for field in msgspec.structs.fields(SnapshotConfig):
        value = getattr(snapshot, field.name)
        if value != field.default and _KIND_OF.get(field.name, snapshot.kind) != snapshot.kind:
            problem = f"goes with {_KIND_OF[field.name]}; this snapshot has {snapshot.kind}"
            raise ConfigurationError(f"{key}.{field.name}", problem)
        if value == "":
            raise ConfigurationError(f"{key}.{field.name}", "is empty")
        if field.name.endswith("_variable") and value is not None and _variable.fullmatch(value) is None:
            problem = "is not the name of an environment variable; what it holds has no place here"
            raise ConfigurationError(f"{key}.{field.name}", problem)
    {"file": _check_file, "url": _check_url, "query": _check_query}[snapshot.kind](key, snapshot)
    _check_targets(key, snapshot)
    try:
        OrphanLimit.parse(snapshot.max_orphans)
    except ValueError as error:
        raise ConfigurationError(f"{key}.max_orphans", str(error)) from None


def _check_file(key: str, snapshot: SnapshotConfig) -> None:
    if snapshot.file_format is None:
        problem = f'the name {snapshot.file!r} does not tell the format; write format = "ndjson" or "csv"'
        raise ConfigurationError(f"{key}.format", problem)
    if len(snapshot.delimiter) != 1 or snapshot.delimiter in '"\r\n':
        raise ConfigurationError(f"{key}.delimiter", f"{snapshot.delimiter!r} is not one character such as ',' or ';'")
    for name in ("columns", "constants"):
        if snapshot.file_format == "ndjson" and getattr(snapshot, name):
            raise ConfigurationError(f"{key}.{name}", "goes with CSV; each line of an NDJSON file is an event")
    if snapshot.file_format == "ndjson" and snapshot.delimiter != ",":
        raise ConfigurationError(f"{key}.delimiter", "goes with CSV; each line of an NDJSON file is an event")


def _check_url(key: str, snapshot: SnapshotConfig) -> None:
    try:
        parts = urlsplit(snapshot.url or "")
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(f"{key}.url", "is not an address such as 'https://erp.example/api/prices'")
    if parts.username is not None:
        problem = "must not hold a user or a password; token_variable names an environment variable with a token"
        raise ConfigurationError(f"{key}.url", problem)
    for name in ("items", "cursor", "total"):
        path: str | None = getattr(snapshot, name)
        if path is not None and not all(path.split(".")):
            raise ConfigurationError(f"{key}.{name}", f"{path!r} is not a dotted path such as 'data.{name}'")
    if snapshot.cursor_parameter is not None and snapshot.cursor is None:
        problem = "needs cursor as well: the path of the value that it carries"
        raise ConfigurationError(f"{key}.cursor_parameter", problem)
    if snapshot.constants and not snapshot.columns:
        raise ConfigurationError(f"{key}.constants", "goes with columns; without them each row is an event")


def _check_query(key: str, snapshot: SnapshotConfig) -> None:
    if (snapshot.database is None) == (snapshot.database_variable is None):
        problem = "needs the source's database: either database, its URL, or database_variable, which names one"
        raise ConfigurationError(f"{key}.database", problem)
    if snapshot.database is not None and urlsplit(snapshot.database).scheme not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"{key}.database", f"{redacted(snapshot.database)!r} is not postgresql://…")


def _check_targets(key: str, snapshot: SnapshotConfig) -> None:
    for target, column in _flat(snapshot.columns):
        if not isinstance(column, str) or not column:
            raise ConfigurationError(f"{key}.columns.{target}", f"expected the name of a column, got {column!r}")
    taken: dict[str, str] = {}
    tables = (("columns", snapshot.columns), ("constants", snapshot.constants))
    for table, target in [(table, target) for table, given in tables for target, _ in _flat(given)]:
        if (fault := fault_of_target(target)) is not None:
            raise ConfigurationError(f"{key}.{table}.{target}", fault)
        for other, place in taken.items():
            if f"{target}.".startswith(f"{other}.") or f"{other}.".startswith(f"{target}."):
                raise ConfigurationError(f"{key}.{table}.{target}", f"{place}.{other} gives it already")
        taken[target] = table


def fault_of_target(target: str) -> str | None:
    """Why a column or a constant cannot have this target, or None when it can."""
    first, _, rest = target.partition(".")
    if target in TARGETS or (first == "payload" and all(rest.split("."))):
        return None
    return f"is no part of an event; there are {', '.join(TARGETS)}, and payload.… for what is inside"


def _check_channel(key: str, channel: ChannelConfig, config: Config) -> None:
    if _currency.fullmatch(channel.currency) is None:
        raise ConfigurationError(f"{key}.currency", f"{channel.currency!r} is not an ISO 4217 code such as 'EUR'")
    for where, locale in [("locale", channel.locale), *(("fallbacks", tag) for tag in channel.fallbacks)]:
        if _locale.fullmatch(locale) is None:
            raise ConfigurationError(f"{key}.{where}", f"{locale!r} is not a BCP 47 tag such as 'de-AT'")
    _check_domains(f"{key}.requires", channel.requires)
    _check_domains(f"{key}.sources", list(channel.sources))
    for domain, names in channel.sources.items():
        _check_sources(f"{key}.sources.{domain}", names, config.writers(domain))


def _check_sources(key: str, names: Sequence[str], writers: Sequence[str]) -> None:
    for name in names:
        if name not in writers:
            raise ConfigurationError(
                key, f"{name!r} is not a source of this domain; there are {', '.join(writers) or 'none'}"
            )
    if len(set(names)) < len(names):
        raise ConfigurationError(key, "names a source twice")


def redacted(url: str) -> str:
    """The URL without its password, fit for logs and messages."""
    url = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", url)
