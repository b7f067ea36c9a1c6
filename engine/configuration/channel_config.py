"""`[channels.X]`: the storefronts and marketplaces, their languages and their sources."""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.http_config import CacheSeconds
from pagefold.engine.configuration.iso_codes import LANGUAGE_OF_COUNTRY, LANGUAGES, PRIVATE_REGIONS, REGIONS
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError

_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_subtags = re.compile(r"(?P<language>[a-z]+)(?:-[A-Z][a-z]{3})?(?:-(?P<region>[A-Z]{2}))?(?:-.*)?", re.ASCII)


class ChannelConfig(Table, frozen=True):
    """A storefront or marketplace, as the file has it.

    Without `sources`, every source of a domain counts, in the file's order. Without `cache_seconds` or
    `stale_while_revalidate_seconds`, those of `[http]` apply.
    """

    locale: str
    currency: str
    fallbacks: list[str] = msgspec.field(default_factory=list)
    requires: list[str] = msgspec.field(default_factory=list)
    sources: dict[str, list[str]] = msgspec.field(default_factory=dict)
    cache_seconds: CacheSeconds | None = None
    stale_while_revalidate_seconds: CacheSeconds | None = None


class SourcesByDomain(Protocol):
    """Which sources may write a domain."""

    def sources_of(self, domain: str) -> Sequence[str]:
        """The sources that may write a domain, in the file's order."""


def check_channel(key: str, channel: ChannelConfig, config: SourcesByDomain) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    if _currency.fullmatch(channel.currency) is None:
        yield ConfigurationError(f"{key}.currency", f"{channel.currency!r} is not an ISO 4217 code such as 'EUR'")
    for name, locale in [("locale", channel.locale), *(("fallbacks", tag) for tag in channel.fallbacks)]:
        if (fault := locale_error(locale)) is not None:
            yield ConfigurationError(f"{key}.{name}", fault)
    yield from check_domains(f"{key}.requires", channel.requires)
    for domain, names in channel.sources.items():
        wrong = list(check_domains(f"{key}.sources.{domain}", [domain]))
        yield from wrong
        if not wrong:
            yield from _check_sources(f"{key}.sources.{domain}", names, config.sources_of(domain))


def check_domains(key: str, names: Sequence[str]) -> Iterator[ConfigurationError]:
    """Yields the names that are not domains, and those that are given twice."""
    known = [domain.name for domain in DOMAINS]
    for name in names:
        if name not in known:
            yield ConfigurationError(key, f"unknown domain {name!r}; {suggestion(name, known, 'domains')}")
    if len(set(names)) < len(names):
        yield ConfigurationError(key, "names a domain twice")


def locale_error(locale: str) -> str | None:
    """Why a locale cannot be meant, or None if it can: its form, then its language and region."""
    tag = canonical_locale(locale)
    found = None if tag is None else _subtags.fullmatch(tag)
    if found is None:
        return f"{locale!r} is not a BCP 47 tag such as 'de-AT'"
    language, region = found["language"], found["region"]
    if len(language) == len("de") and language not in LANGUAGES:
        meant = LANGUAGE_OF_COUNTRY.get(language)
        hint = "" if meant is None else f"; {language.upper()} is a country, its language is {meant!r}"
        return f"{locale!r} has an unknown language {language!r} (ISO 639-1){hint}"
    if region is not None and region not in REGIONS | PRIVATE_REGIONS:
        return f"{locale!r} has an unknown region {region!r} (ISO 3166-1)"
    return None


def _check_sources(key: str, names: Sequence[str], known: Sequence[str]) -> Iterator[ConfigurationError]:
    for name in names:
        if name not in known:
            problem = f"{name!r} is not a source of this domain; {suggestion(name, known, 'sources')}"
            yield ConfigurationError(key, problem)
    if len(set(names)) < len(names):
        yield ConfigurationError(key, "names a source twice")
