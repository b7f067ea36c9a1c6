"""The configuration: one TOML file, checked completely before anything starts. Every error names file, line and key.

The environment can name the file (`PAGEFOLD_CONFIG`) and replace the URL of the store (`PAGEFOLD_STORE`).
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS, AnyDomain, Rules
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.category_trees import load_forests
from pagefold.engine.configuration.channel_config import ChannelConfig
from pagefold.engine.configuration.channel_documents import Document, channel_view, resolved_locales, with_documents
from pagefold.engine.configuration.config_tables import ConfigTables, check_tables
from pagefold.engine.configuration.delta_config import DeltaConfig
from pagefold.engine.configuration.page_settings import ChannelSettings, PageSettings
from pagefold.engine.configuration.shop_config import ShopIdentity, identity_of
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.configuration.source_config import SourceConfig
from pagefold.engine.configuration.structure import StructureCheck
from pagefold.engine.configuration.target_documents import with_target_documents
from pagefold.engine.configuration.toml_lines import KeyPlaces
from pagefold.engine.errors import ConfigurationError
from pagefold.projections import Channel, fingerprint_parts
from pagefold.projections.channels import Inherit
from pagefold.projections.releases import RELEASE_DOMAINS, release_source

CONFIG_VARIABLE = "PAGEFOLD_CONFIG"
STORE_VARIABLE = "PAGEFOLD_STORE"
DEFAULT_FILE = "pagefold.toml"


class Config(ConfigTables, frozen=True):
    """A complete configuration.

    `Config.load` reads one from a file, `Config.parse` from TOML text, or from the document that it decodes to.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "Config":
        """The configuration in a TOML file: `path`, else `PAGEFOLD_CONFIG`, else `pagefold.toml`.

        `store`, else `PAGEFOLD_STORE`, replaces the file's `store.url`. Raises `ConfigurationError` for the first
        problem.
        """
        return _valid(cls.inspect(path, store=store))

    @classmethod
    def parse(cls, source: str | Mapping[str, object], *, store: str | None = None) -> "Config":
        """The configuration in TOML text, or in the document that such text decodes to.

        `store` as in `load`. Raises `ConfigurationError` for the first problem.
        """
        return _valid(_inspected(cls, source, store, None))

    @classmethod
    def inspect(cls, path: str | os.PathLike[str] | None = None, *, store: str | None = None) -> "InspectedConfig":
        """The configuration in a TOML file, and everything that is wrong with it. Arguments as in `load`.

        Raises `ConfigurationError` only if the file cannot be read as TOML.
        """
        file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
        try:
            text = file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            problem = f"no configuration at {file}; `pagefold init` writes one, --config or {CONFIG_VARIABLE} names one"
            raise ConfigurationError("", problem) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("", f"cannot read {file}: {error}") from error
        return _inspected(cls, text, store, str(file))

    @cached_property
    def resolved_channels(self) -> tuple[Channel, ...]:
        """The channels with every default filled in, in the file's order."""
        return tuple(self._channel(name, channel) for name, channel in self.channels.items())

    @cached_property
    def releases(self) -> tuple[str, ...]:
        """The releases that count, highest rank first. No file has any."""
        return ()

    @cached_property
    def day(self) -> str:
        """The newest day from which a requirement set counts. Sets of later days do not count; in a file, none do."""
        return ""

    def counting_sources(self, domain: str) -> tuple[str, ...]:
        """The sources of a domain, and above them the releases that count."""
        return (*self._release_sources(domain), *self.sources_of(domain))

    def _ranked(self, domain: str, sources: Sequence[str]) -> tuple[str, ...]:
        """The sources of a channel, below the releases. A channel that uses no source of a domain uses no release."""
        return (*self._release_sources(domain), *sources) if sources else ()

    def _release_sources(self, domain: str) -> tuple[str, ...]:
        return tuple(map(release_source, self.releases)) if domain in RELEASE_DOMAINS else ()

    def rules(self, source: str) -> Rules:
        """The rules that a source's events are validated by, beside those for all sources."""
        return Rules(zero_price=self.sources[source].zero_price == "accept")

    def error(self, key: str, problem: str) -> ConfigurationError:
        """An error of a key, with its place in the file, if the configuration was read from one."""
        return ConfigurationError(key, problem, None if self._places is None else self._places.place_of(key))

    def with_http(self, **settings: object) -> "Config":
        """A copy with other settings of the HTTP server."""
        return self._copy(msgspec.structs.replace(self, http=msgspec.structs.replace(self.http, **settings)))

    def with_snapshot(self, source: str, snapshot: SnapshotConfig) -> "Config":
        """A copy in which a source has another snapshot."""
        settings = msgspec.structs.replace(self.sources[source], snapshot=snapshot)
        return self._copy(msgspec.structs.replace(self, sources=self.sources | {source: settings}))

    def asking_since(self, source: str, since: datetime) -> "Config":
        """A copy in which what a source changed since a time is its snapshot. Without a contract, it has that one's."""
        settings = self.sources[source]
        asked = (settings.delta or DeltaConfig()).asking_since(since)
        if asked.contract is None and settings.snapshot is not None:
            asked = msgspec.structs.replace(asked, contract=settings.snapshot.contract)
        return self.with_snapshot(source, asked)

    def _copy(self, copy: "Config") -> "Config":
        """A copy that keeps what is not in the file."""
        copy.__dict__.update(_places=self._places, shared=self.shared, releases=self.releases, day=self.day)
        return copy

    @cached_property
    def shared(self) -> dict[str, dict[str, object]]:
        """By source, what a process keeps for all copies of its configuration: tables that it has fetched."""
        return {}

    @cached_property
    def page_settings(self) -> PageSettings:
        """What pages depend on."""
        domains = {name: source.domains for name, source in self.sources.items()}
        inherit = {name: source.inherit for name, source in self.sources.items() if source.inherit is not None}
        return PageSettings.of(domains, self.channels, self.resolved_channels, inherit)

    def under(self, settings: PageSettings) -> "Config":
        """This configuration where pages depend on these settings instead."""
        if settings.digest == self.page_settings.digest:
            return self
        return self._under(settings)

    def _under(self, settings: PageSettings) -> "Config":
        sources = {name: self._source_under(name, settings) for name in settings.sources}
        channels = {name: self._channel_under(name, each) for name, each in settings.channels.items()}
        copy = self._copy(msgspec.structs.replace(self, sources=sources, channels=channels))
        copy.__dict__.update(page_settings=settings, releases=tuple(settings.releases), day=settings.day)
        return copy

    def _source_under(self, name: str, settings: PageSettings) -> SourceConfig:
        domains, inherit = settings.sources[name], settings.inherit.get(name)
        own = self.sources.get(name, SourceConfig(domains=domains))
        return msgspec.structs.replace(own, domains=domains, inherit=inherit)

    def _channel_under(self, name: str, settings: ChannelSettings) -> ChannelConfig:
        parts = {field: getattr(settings, field) for field in settings.__struct_fields__}
        own = self.channels.get(name)
        return ChannelConfig(**parts) if own is None else msgspec.structs.replace(own, **parts)

    @cached_property
    def folder(self) -> Path:
        """The folder of its file, from which contracts are read; the working directory if it has none."""
        return Path() if self._places is None else Path(self._places.file).parent

    @cached_property
    def identity(self) -> ShopIdentity:
        """Which shop this is, as people read it."""
        return identity_of(self.shop, "" if self._places is None else self.folder.resolve().name)

    @cached_property
    def _places(self) -> KeyPlaces | None:
        """Where the keys are; None unless the configuration was read from a file, which sets it."""
        return None

    def fingerprint(self, domain: AnyDomain) -> str:
        """Equal fingerprints: configuration and code give the domain's sections the same bytes."""
        parts = msgspec.json.encode([domain.name, *fingerprint_parts(domain, self.resolved_channels)])
        return sha256(parts).hexdigest()[:16]

    @cached_property
    def _inherit(self) -> Mapping[str, Inherit]:
        """How sources inherit, by name."""
        return {name: each.inherit.resolved() for name, each in self.sources.items() if each.inherit is not None}

    def _channel(self, name: str, channel: ChannelConfig) -> Channel:
        return Channel(
            name=name,
            locale=canonical_locale(channel.locale) or channel.locale,
            fallbacks=tuple(canonical_locale(tag) or tag for tag in channel.fallbacks),
            currency=channel.currency,
            requires=frozenset(channel.requires),
            sources={
                domain.name: self._ranked(domain.name, channel.sources.get(domain.name, self.sources_of(domain.name)))
                for domain in DOMAINS
            },
            view=channel_view(channel, resolved_locales(channel), self.day),
            inherit=self._inherit,
        )


class InspectedConfig(NamedTuple):
    """A configuration, with valid values in place of wrong ones, and its problems in the file's order."""

    config: Config
    problems: list[ConfigurationError]


def _valid(inspected: InspectedConfig) -> Config:
    for problem in inspected.problems:
        raise problem
    return inspected.config


def _inspected(
    kind: type[Config], source: str | Mapping[str, object], store: str | None, file: str | None
) -> InspectedConfig:
    document = _document(source, file)
    url = store or os.environ.get(STORE_VARIABLE)
    if url:
        table = document.get("store")
        document["store"] = (table if isinstance(table, dict) else {}) | {"url": url}
    check = StructureCheck()
    config = msgspec.convert(check.repaired(document, kind), kind)
    problems = [*check.problems, *check_tables(config)]
    config, invalid = _with_documents(config, Path() if file is None else Path(file).parent)
    problems += invalid
    if file is not None and isinstance(source, str):
        config.__dict__["_places"] = KeyPlaces(file, source, ["store.url"] if url else [])
        problems = [config.error(each.key, each.problem) if each.place is None else each for each in problems]
    return InspectedConfig(config, sorted(problems, key=lambda each: _line(each.place)))


def _with_documents(config: Config, folder: Path) -> tuple[Config, list[ConfigurationError]]:
    """The configuration with the documents that its channels and targets name, complete without their files."""
    forests, wrong = load_forests(config.trees, folder)
    given = {
        name: msgspec.structs.replace(each, tree=None) if wrong and isinstance(each.tree, str) else each
        for name, each in config.channels.items()
    }
    contracts: dict[str, Document] = {}
    found = {name: with_documents(f"channels.{name}", each, folder, forests, contracts) for name, each in given.items()}
    channels = {name: each.channel for name, each in found.items()}
    problems = wrong + [problem for each in found.values() for problem in each.problems]
    targets = {
        name: with_target_documents(f"targets.{name}", each, folder, forests, channels)
        for name, each in config.targets.items()
    }
    problems += [problem for each in targets.values() for problem in each.problems]
    inlined = {name: each.target for name, each in targets.items()}
    return msgspec.structs.replace(config, channels=channels, targets=inlined), problems


def _document(source: str | Mapping[str, object], file: str | None) -> dict[str, object]:
    if not isinstance(source, str):
        return dict(source)
    try:
        return tomllib.loads(source.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = None if file is None else f"{file}:{line[1]}" if line else file
        raise ConfigurationError("", f"this is not TOML: {error}", place) from error


def _line(place: str | None) -> int:
    number = (place or "").rpartition(":")[2]
    return int(number) if number.isdecimal() else 0
