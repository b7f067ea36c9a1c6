"""Hypothesis strategies: valid payloads, events, and histories of a small shop."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pagefold import DomainEvent
from tests.support.small_shop import CHANNELS, Document, event

SKUS = ("A", "A-1", "A/1", "A%2F1", "\u00c4", "\U0001f3bd")
SPEAKERS = {"catalog": ("pim", "pim2"), "pricing": ("erp",), "inventory": ("wms-a", "wms-b"), "media": ("dam",)}
CURRENCIES = {"web-de": "EUR", "market-at": "EUR", "web-us": "USD", "outlet-de": "EUR"}
LOCALES = ("de", "de-DE", "de-AT", "de-CH", "en", "en-US", "fr", "fr-FR")
LARGEST = 2**53 - 1


def texts(largest: int = 20) -> SearchStrategy[str]:
    """Any text that JSON, UTF-8 and PostgreSQL can all hold."""
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=largest)


integers = st.integers(-LARGEST, LARGEST)
counts = st.integers(0, LARGEST)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | floats | texts(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(texts(8), inside, max_size=4),
    max_leaves=12,
)
SPELLINGS = (str, str.lower, str.upper, lambda tag: tag.replace("-", "_"), lambda tag: tag.replace("-", "_") + ".UTF-8")
translations = st.dictionaries(st.sampled_from(LOCALES), st.none() | st.just(" ") | texts(8), max_size=4)
word_lists = st.dictionaries(st.sampled_from(LOCALES), st.lists(st.just(" ") | texts(5), max_size=3), max_size=3)


def spelt(texts: SearchStrategy[dict[str, Any]]) -> SearchStrategy[dict[str, Any]]:
    """Texts by locale, with tags as some system writes them."""
    return st.builds(
        lambda text, spell: {spell(tag): each for tag, each in text.items()}, texts, st.sampled_from(SPELLINGS)
    )


texts_by_locale = spelt(translations)
amounts = st.from_regex(r"0{0,2}[0-9]{1,15}(\.[0-9]{1,6}0{0,2})?", fullmatch=True)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets)  # noqa: DTZ001  # Hypothesis wants them so


def fields(**optional: SearchStrategy[Any]) -> SearchStrategy[Document]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=optional)


catalogs = fields(
    attributes=st.dictionaries(st.sampled_from(["name", "size", "\u00fc", ""]) | texts(5), json_values, max_size=3),
    localized=st.dictionaries(
        st.sampled_from(["name", "size", "title"]), texts_by_locale | spelt(word_lists), max_size=3
    ),
    categories=st.lists(texts(5), max_size=3),
    family=st.none() | texts(5),
    parent=st.none() | texts(5),
    enabled=st.sampled_from([True, True, True, False]),
    references=st.dictionaries(
        st.sampled_from(["gtin", "shop:item"]),
        st.integers(0, 9) | st.lists(st.integers(0, 9) | st.just("7"), max_size=3),
    ),
)
tiers = st.fixed_dictionaries({"minQuantity": st.integers(1, LARGEST), "amount": amounts})


@st.composite
def schedules(draw: st.DrawFn) -> Document:
    """A price for a time that ends after it begins."""
    begin, end = sorted([draw(moments), draw(moments)])
    scheduled: Document = {"amount": draw(amounts)}
    if draw(st.booleans()):
        scheduled["from"] = begin.isoformat()
    if draw(st.booleans()) and begin < end:
        scheduled["until"] = end.isoformat()
    return scheduled


def prices(currency: str | None) -> SearchStrategy[Document]:
    """Prices in a currency, or in any if it is None."""
    currencies = st.sampled_from(["EUR", "USD", "JPY", "KWD"]) if currency is None else st.just(currency)
    return st.fixed_dictionaries(
        {"currency": currencies, "amount": amounts},
        optional={
            "compareAt": st.none() | amounts,
            "taxIncluded": st.none() | st.booleans(),
            "taxClass": st.none() | texts(5),
            "tiers": st.lists(tiers, max_size=2),
            "customerGroups": st.dictionaries(texts(5), amounts, max_size=3),
            "scheduled": st.lists(schedules(), max_size=2),
        },
    )


stocks = st.fixed_dictionaries(
    {"available": st.integers(-5, 50) | integers | st.none()},
    optional={
        "safetyStock": st.integers(0, 50) | counts,
        "backorderable": st.booleans(),
        "restockAt": st.none() | moments.map(datetime.isoformat),
    },
)
assets = st.fixed_dictionaries(
    {"url": texts(5).filter(bool)},
    optional={
        "role": st.none() | texts(5),
        "position": st.integers(0, 2) | integers,
        "alt": texts_by_locale,
        "width": st.none() | counts,
        "height": st.none() | counts,
        "mimeType": st.none() | texts(5),
    },
)
medias = fields(assets=st.lists(assets, max_size=4))


def payloads(domain: str, channel: str) -> SearchStrategy[Document | None]:
    """Valid payloads from a source of the domain for the channel; None withdraws."""
    stated: SearchStrategy[Document] = {
        "catalog": catalogs,
        "pricing": prices(CURRENCIES.get(channel)),
        "inventory": stocks,
        "media": medias,
    }[domain]
    return st.one_of(stated, stated, stated, st.none())


@st.composite
def events(draw: st.DrawFn, skus: Sequence[str] = SKUS, newest: int = 5) -> DomainEvent:
    """One valid event."""
    domain = draw(st.sampled_from(sorted(SPEAKERS)))
    channel = draw(st.sampled_from(["*", "*", *CHANNELS]))
    return event(
        domain,
        draw(payloads(domain, channel)),
        version=draw(st.integers(0, newest)),
        channel=channel,
        sku=draw(st.sampled_from(skus)),
        source=draw(st.sampled_from(SPEAKERS[domain])),
    )


def key_of(given: DomainEvent) -> tuple[object, ...]:
    """What may have only one content."""
    return given.sku, given.channel, given.type, given.source, given.source_version


def histories(skus: Sequence[str] = SKUS, largest: int = 25) -> SearchStrategy[list[DomainEvent]]:
    """Events of sources that keep one content per version."""
    return st.lists(events(skus), max_size=largest, unique_by=key_of)


class Delivery(NamedTuple):
    """How a history is delivered: in which order, with which repetitions, in which batches."""

    batches: list[list[DomainEvent]]
    folds: list[bool]
    """Whether there is a fold after each batch."""


@st.composite
def deliveries(draw: st.DrawFn, history: Sequence[DomainEvent]) -> Delivery:
    """Any permutation, duplication and batching."""
    again = draw(st.lists(st.sampled_from(history), max_size=5)) if history else []
    order = draw(st.permutations([*history, *again]))
    batches: list[list[DomainEvent]] = []
    while order:
        size = draw(st.integers(1, 8))
        batches.append(list(order[:size]))
        order = order[size:]
    return Delivery(batches, draw(st.lists(st.booleans(), min_size=len(batches), max_size=len(batches))))


def utc(text: str) -> datetime:
    """A timestamp in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def defaults_of(domain: str) -> Mapping[str, object]:
    """The default values of fields that have one."""
    defaults: dict[str, dict[str, object]] = {
        "catalog": {"attributes": {}, "localized": {}, "categories": [], "enabled": True},
        "pricing": {"tiers": [], "customerGroups": {}, "scheduled": []},
        "inventory": {"safetyStock": 0, "backorderable": False},
        "media": {"assets": []},
    }
    return defaults[domain]
