"""`[channels.X]`: a storefront or marketplace: its locale, its currency, its sources."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Protocol, TypeAlias

from msgspec import Meta, field

from pagefold.domains import DOMAINS
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.http_config import CacheSeconds
from pagefold.engine.configuration.iso_codes import LANGUAGE_OF_COUNTRY, LANGUAGES, PRIVATE_REGIONS, REGIONS
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError

_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_subtags = re.compile(r"(?P<language>[a-z]+)(?:-[A-Z][a-z]{3})?(?:-(?P<region>[A-Z]{2}))?(?:-.*)?", re.ASCII)

FilterValue: TypeAlias = str | int | float | bool | list[str]
FilterValues: TypeAlias = bool | list[FilterValue]


class FilterConfig(Table, frozen=True):
    """A rule of a channel's filter: which products the channel shows, by what their catalog says."""

    only: Annotated[
        dict[str, FilterValues],
        Meta(
            description="By path of an attribute, `@family`, `@categories` or `@parent`, the values of products that "
            "are shown: a family with all below it, a category with all below it. Of a list, one item is enough. "
            "`true` is any value, `false` none."
        ),
    ] = field(default_factory=dict)
    without: Annotated[
        dict[str, FilterValues],
        Meta(description="The same of products that are not shown."),
    ] = field(default_factory=dict)


class ChannelConfig(Table, frozen=True):
    """A storefront or marketplace."""

    locale: Annotated[
        str,
        Meta(
            description="The language of its texts, as a BCP 47 tag such as `de-DE`. Where a text is missing, `de` is "
            "tried next."
        ),
    ]
    currency: Annotated[
        str, Meta(description="The ISO 4217 code of its prices. Prices in other currencies do not count.")
    ]
    fallbacks: Annotated[
        list[str],
        Meta(description="The languages to try after that, in order. A text in none of them is absent from the page."),
    ] = field(default_factory=list)
    requires: Annotated[
        list[str],
        Meta(description="The domains that must be ready for a page to be ready. Catalog always must."),
    ] = field(default_factory=list)
    sources: Annotated[
        dict[str, list[str]],
        Meta(
            description="By domain, the sources that count for the channel, highest rank first. Without it, every "
            "source of the domain counts, in the file's order."
        ),
    ] = field(default_factory=dict)
    filters: Annotated[
        dict[str, FilterConfig],
        Meta(
            description="Which products it shows, as rules by name; a product has to meet all of them. The page of any "
            "other is disabled."
        ),
    ] = field(default_factory=dict)
    contract: Annotated[
        str | dict[str, object] | None,
        Meta(
            description="Which attributes it shows, under its own names: a channel contract as a table, or its file, "
            "relative to the folder of this one. Without it, it shows all, as they are."
        ),
    ] = None
    tree: Annotated[
        str | dict[str, object] | None,
        Meta(
            description="The categories that it shows, as paths: those below a category of `[trees]`, or a whole tree."
        ),
    ] = None
    requirements: Annotated[
        list[str | dict[str, object]],
        Meta(
            description="What products must have to be complete there: files of requirement sets, relative to the "
            "folder of this one, or names of sets that come with Pagefold, such as `google-merchant`; or a set as a "
            "table, or the `file` and the `column` of a table of families."
        ),
    ] = field(default_factory=list)
    incomplete: Annotated[
        Literal["show", "hide", "keep"],
        Meta(
            description="What becomes of a page that lacks something that blocks: it is shown, and its catalog is not "
            "ready; it is disabled; or it keeps the newest version of its first source that is complete by itself, and "
            "is disabled if none is."
        ),
    ] = "show"
    cache_seconds: Annotated[
        CacheSeconds | None,
        Meta(
            description="Seconds that a page may be cached, less if a scheduled price begins or ends before. Without "
            "it, as in `[http]`."
        ),
    ] = None
    stale_while_revalidate_seconds: Annotated[
        CacheSeconds | None,
        Meta(
            description="Seconds that a cached page may be shown after that, while a new one is fetched. Without it, "
            "as in `[http]`."
        ),
    ] = None


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
    if channel.incomplete != "show" and not channel.requirements and channel.contract is None:
        yield ConfigurationError(f"{key}.incomplete", "has no effect without `requirements` or `contract`")
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
    """What is wrong with a locale: its form, or its language or region. None if nothing is."""
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
