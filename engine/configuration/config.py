"""The configuration: one TOML file, checked as a whole before anything starts. Every error names the key.

The environment overrides where the store is (`PAGEFOLD_STORE`), and names the file (`PAGEFOLD_CONFIG`).
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from pagefold.domains import DOMAINS, AnyDomain, Rules
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.configuration.doors import CdcConfig, WebhookConfig, check_cdc, check_webhook
from pagefold.engine.configuration.http_config import CacheSeconds, HttpConfig
from pagefold.engine.configuration.snapshot_config import SnapshotConfig, check_snapshot
from pagefold.engine.configuration.toml_tables import Table, redacted
from pagefold.engine.errors import ConfigurationError
from pagefold.projections import Channel, fingerprint_parts
from pagefold.projections.streams import EVERY_CHANNEL

CONFIG_VARIABLE = "PAGEFOLD_CONFIG"
STORE_VARIABLE = "PAGEFOLD_STORE"
DEFAULT_FILE = "pagefold.toml"

_name = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_schema = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


class StoreConfig(Table, frozen=True):
    """Where the log and the pages are kept.

    `url` is `sqlite:///folder` (below the working directory), `sqlite:////folder` (absolute) or `postgresql://…`;
    `schema` is the PostgreSQL schema that holds everything.
    """

    url: str
    schema: str = "pagefold"


class SourceConfig(Table, frozen=True):
    """A system that owns facts, the domains it may write, where it says all of them at once, how it sends changes.

    `zero_price` is whether a price of zero is one; `spreadsheet_skus` whether an SKU may look like `9.55E+12`.
    """

    domains: list[str]
    zero_price: Literal["accept", "refuse"] = "accept"
    spreadsheet_skus: Literal["accept", "refuse"] = "refuse"
    snapshot: SnapshotConfig | None = None
    webhook: WebhookConfig | None = None
    cdc: CdcConfig | None = None


class ChannelConfig(Table, frozen=True):
    """A storefront or marketplace, as the file has it.

    `sources` absent: every source of the domain, in the file's order. `cache_seconds` and
    `stale_while_revalidate_seconds` absent: those of `[http]`.
    """

    locale: str
    currency: str
    fallbacks: list[str] = msgspec.field(default_factory=list)
    requires: list[str] = msgspec.field(default_factory=list)
    sources: dict[str, list[str]] = msgspec.field(default_factory=dict)
    cache_seconds: CacheSeconds | None = None
    stale_while_revalidate_seconds: CacheSeconds | None = None


class WorkConfig(Table, frozen=True):
    """The pace of the consumers.

    `batch` is how many positions of the log one transaction folds at most when far behind, `poll_seconds` how often a
    consumer looks for changes that nobody announced, `lease_seconds` after what silence a frozen worker is replaced.
    """

    batch: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 8_000
    poll_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.5
    lease_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 10.0


class AppendConfig(Table, frozen=True):
    """Group commit: how long an append may wait for company, and how many events one transaction takes at most."""

    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=0.005)] = 0.0
    batch: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 5_000
    queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000


class Config(Table, frozen=True):
    """A whole configuration.

    Make one with `Config.load` (a file) or `Config.parse` (TOML text, or what it would hold).
    """

    store: StoreConfig
    sources: dict[str, SourceConfig]
    channels: dict[str, ChannelConfig]
    work: WorkConfig = WorkConfig()
    append: AppendConfig = AppendConfig()
    http: HttpConfig = HttpConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "Config":
        """The configuration in a TOML file: `path`, else `PAGEFOLD_CONFIG`, else `pagefold.toml`.

        `store`, else `PAGEFOLD_STORE`, is used in place of the file's `store.url`. Raises `ConfigurationError`.
        """
        file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
        try:
            text = file.read_text(encoding="utf-8-sig")
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
            document = tomllib.loads(source.removeprefix("\ufeff")) if isinstance(source, str) else dict(source)
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

    def rules(self, source: str) -> Rules:
        """What a source may state beyond what holds for all."""
        return Rules(zero_price=self.sources[source].zero_price == "accept")

    def fingerprint(self, domain: AnyDomain) -> str:
        """Equal where configuration and code give the domain's sections the same bytes."""
        parts = msgspec.json.encode([domain.name, *fingerprint_parts(domain, self.made_for)])
        return sha256(parts).hexdigest()[:16]

    def _channel(self, name: str, channel: ChannelConfig) -> Channel:
        return Channel(
            name=name,
            locale=canonical_locale(channel.locale) or channel.locale,
            fallbacks=tuple(canonical_locale(tag) or tag for tag in channel.fallbacks),
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
            check_snapshot(f"sources.{name}.snapshot", source.snapshot)
        if source.webhook is not None:
            check_webhook(f"sources.{name}.webhook", source.webhook)
        if source.cdc is not None:
            check_cdc(f"sources.{name}.cdc", source.cdc)
        for part, given in (("webhook", source.webhook), ("cdc", source.cdc)):
            if given is not None:
                _check_constant_channel(f"sources.{name}.{part}.constants.channel", given.constant_of, config)
    for name, channel in config.channels.items():
        _check_name("channels", name)
        _check_channel(f"channels.{name}", channel, config)


def _check_constant_channel(key: str, constants: Mapping[str, object], config: Config) -> None:
    """What is sent for another shop's channel is passed over: where all of it would be, something is misspelt."""
    channel = constants.get("channel", EVERY_CHANNEL)
    if channel != EVERY_CHANNEL and channel not in config.channels:
        names = ", ".join(config.channels) or "none"
        raise ConfigurationError(key, f"{channel!r} is neither {EVERY_CHANNEL!r} nor a channel; there are {names}")


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


def _check_channel(key: str, channel: ChannelConfig, config: Config) -> None:
    if _currency.fullmatch(channel.currency) is None:
        raise ConfigurationError(f"{key}.currency", f"{channel.currency!r} is not an ISO 4217 code such as 'EUR'")
    for where, locale in [("locale", channel.locale), *(("fallbacks", tag) for tag in channel.fallbacks)]:
        if canonical_locale(locale) is None:
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
