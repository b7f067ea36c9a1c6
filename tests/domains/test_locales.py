"""Locales in any spelling: one canonical form, for every text by locale and every channel."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import Config, DomainEvent, Shop
from pagefold.domains import DOMAINS
from pagefold.domains.locales import (
    are_canonical,
    canonical_locale,
    canonical_text,
    resolve,
    upcast_text,
    with_general_forms,
)
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EventState
from tests.support.small_shop import Document, Raw, append, as_line, configured, document, event, say, section

CANONICAL = {
    "fr": ["fr", "FR", "Fr"],
    "fr-CA": ["fr-CA", "fr_CA", "FR_ca", "fr-ca", "fr_CA.UTF-8", "fr_CA.ISO8859-1", "fr_CA@euro", "fr_CA.utf8@euro"],
    "sr-Latn-RS": ["sr-latn-rs", "sr_Latn_RS", "SR_LATN_RS", "sr_RS@latin", "sr_RS.UTF-8@latin", "sr_RS_#Latn"],
    "zh-Hans": ["zh-hans", "zh_Hans", "zh__#Hans"],
    "yue-Hant-HK": ["yue-hant-hk", "zh-yue-Hant-HK"],
    "es-419": ["es-419", "ES_419"],
    "ca-ES-valencia": ["ca-es-VALENCIA", "ca_ES@valencia"],
    "de-CH-1996": ["de_CH_1996", "de-ch-1996"],
    "de-DE-u-co-phonebk": ["de_DE_u_co_phonebk", "DE-de-U-CO-PHONEBK"],
    "en-x-shop": ["en-X-Shop", "en_x_shop"],
    "he-IL": ["he-IL", "iw_IL"],
    "en-GB": ["en-GB", "en_uk"],
    "nds": ["nds", "NDS"],
}
NO_LOCALES = [
    "", "-", "_de", "de_", "de__DE", "de DE", " de", "de\n", "xx_1", "d", "default", "german", "C", "POSIX", "de_DEU",
    "de/DE", "de.", "de@", "de_DE@bogus", "de-DE-DE", "de-Latn-Cyrl", "däe", "de" + "-abcdefgh" * 8, "name", "\u212ao",
]  # fmt: skip
HELLO: Document = {"localized": {"claim": {"fr_FR": "Bonjour", "DE-AT": "Servus", "en_US.UTF-8": "Hello"}}}
SPELT: Document = {
    "nord": {"locale": "nb_no", "fallbacks": ["SV", "en-us"], "currency": "EUR"},
    "wien": {"locale": "DE_at", "currency": "EUR"},
}


@pytest.mark.parametrize(("tag", "spelling"), [(tag, each) for tag, spelt in CANONICAL.items() for each in spelt])
def test_one_locale_has_one_form(tag: str, spelling: str) -> None:
    """Whatever the case and the separator, and whatever POSIX and Java add."""
    assert canonical_locale(spelling) == tag


@pytest.mark.parametrize("name", NO_LOCALES)
def test_invalid_locales(name: str) -> None:
    """Names of languages, stores and columns are not locales, nor is text that only starts like one."""
    assert canonical_locale(name) is None


@given(st.from_regex(r"[a-z]{2,3}([_-]([A-Za-z0-9]{1,8})){0,4}(@latin|\.UTF-8)?", fullmatch=True))
def test_the_canonical_form_is_stable(name: str) -> None:
    """It is its own canonical form, and case and separators do not matter."""
    tag = canonical_locale(name)
    if tag is not None:
        assert canonical_locale(tag) == tag
        assert {canonical_locale(each) for each in (tag.upper(), tag.lower(), tag.replace("-", "_"))} == {tag}
    assert canonical_locale(name.upper()) == tag


def test_more_general_locales() -> None:
    """From the most specific tag to the language; no tag ends in an extension's introducer."""
    assert with_general_forms("zh-Hant-TW") == ["zh-Hant-TW", "zh-Hant", "zh"]
    assert with_general_forms("de-DE-u-co-phonebk") == ["de-DE-u-co-phonebk", "de-DE-u-co", "de-DE", "de"]
    assert with_general_forms("en-x-a") == ["en-x-a", "en"]


def test_a_text_has_one_form() -> None:
    """Keys are canonical; a null or blank text is left out."""
    given = {"fr_FR": "Bonjour", "DE": None, "en-us": "", "it": " \t\u2003", "sv": " Hej "}
    plain = canonical_text("claim", given)
    assert plain == {"fr-FR": "Bonjour", "sv": " Hej "}
    assert are_canonical([plain])
    assert canonical_text("claim", plain) == plain
    others: list[dict[str, str | None]] = [{}, {"fr": None}, {"fr": " "}, {"fr_FR": "Bonjour"}, {"xx_1": "?"}]
    assert not any(are_canonical([plain, each]) for each in others)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"fr_FR": "old", "fr": "language"}, "old"),
        ({"fr_FR": "old", "fr-FR": "new"}, "new"),
        ({"FR_fr": "a", "fr_FR": "b"}, "b"),
        ({"fr-FR": " ", "fr": None, "en": "english"}, "english"),
        ({"no locale": "?", "FR": "language"}, "language"),
        ({"de": "deutsch"}, None),
    ],
)
def test_texts_of_an_older_log_are_shown(given: dict[str, str | None], shown: str | None) -> None:
    """In their own spelling; of two spellings of one locale the canonical counts, else the order is fixed."""
    for each in (given, dict(reversed(given.items()))):
        assert resolve(upcast_text(each), ("fr-FR", "fr", "en")) == shown


# --- at the intake ------------------------------------------------------------------------------------------


def content_of(given: DomainEvent) -> bytes:
    """The canonical payload of an event. Both validators give the same."""
    validator = EventValidator(configured("sqlite:///nowhere"))
    contents = {validator.validate(each).content for each in (given, parse_event(as_line(given)))}
    assert len(contents) == 1
    return contents.pop()


def refusal_of(domain: str, payload: Document) -> tuple[str, str]:
    """The path and reason for which the validators reject a payload. Both give the same."""
    validator, given = EventValidator(configured("sqlite:///nowhere")), event(domain, payload)
    refusals = set()
    for each in (given, parse_event(as_line(given))):
        with pytest.raises(Rejected) as caught:
            validator.validate(each)
        refusals.add((caught.value.path, caught.value.reason))
    assert len(refusals) == 1
    return refusals.pop()


def test_stored_locales_are_canonical() -> None:
    """Of a catalog and of media; a text without any translation is not stored."""
    text = {"fr_ca": "Chemise", "EN": None, "it_IT": " "}
    assert content_of(event("catalog", {"localized": {"name": text, "claim": {"de": ""}}})) == (
        b'{"localized":{"name":{"fr-CA":"Chemise"}}}'
    )
    assert content_of(event("media", {"assets": [{"url": "a", "alt": text}, {"url": "b", "alt": {"de": None}}]})) == (
        b'{"assets":[{"alt":{"fr-CA":"Chemise"},"url":"a"},{"url":"b"}]}'
    )
    empty: list[Document] = [{}, {"name": {}}, {"name": {"de": None}}]
    assert {content_of(event("catalog", {"localized": each})) for each in empty} == {b"{}"}


@pytest.mark.parametrize(
    ("domain", "payload", "path", "reason"),
    [
        ("catalog", {"localized": {"name": {"it": "a", "xx_1": "b"}}}, "localized.name.xx_1", "is not a locale"),
        ("catalog", {"localized": {"name": {"german": None}}}, "localized.name.german", "such as 'de' or 'de-AT'"),
        ("catalog", {"localized": {"a.b": {"": "x"}}}, "localized.a.b.", "is not a locale"),
        ("media", {"assets": [{"url": "a"}, {"url": "b", "alt": {"deu_": "b"}}]}, "assets[1].alt.deu_", "not a locale"),
        (
            "catalog",
            {"localized": {"claim": {"de": "c"}, "name": {"it_IT": "a", "it-it": "b"}}},
            "localized.name.it-it",
            "is the same locale as 'it_IT': it-IT",
        ),
        ("media", {"assets": [{"url": "a", "alt": {"FR": None, "fr": "b"}}]}, "assets[0].alt.fr", "as 'FR': fr"),
        ("catalog", {"localized": {"a": {"de": "x"}, "b": {"de": "x", "en": 3}}}, "localized.b.en", "got `int`"),
        ("catalog", {"localized": {"a": {"de": "x"}, "b": "x"}}, "localized.b", "got `str`"),
        ("catalog", {"localized": {"name": None}}, "localized.name", "got `null`"),
        ("catalog", {"localized": {"x[0]": {"de": {"x": "y"}}}}, "localized.x[0].de", "got `object`"),
        ("catalog", {"localized": {"x": {"de": ["a", 1]}}}, "localized.x.de[1]", "got `int`"),
        ("media", {"assets": [{"url": "a", "alt": {"de": {}}}]}, "assets[0].alt.de", "got `object`"),
    ],
)
def test_an_invalid_locale_is_named(domain: str, payload: Document, path: str, reason: str) -> None:
    """The error names the key of the payload."""
    where, why = refusal_of(domain, payload)
    assert where == f"payload.{path}"
    assert reason in why


async def test_spellings_are_one_content(shop: Shop) -> None:
    """The same text in another spelling is a duplicate, and another text a conflict."""
    await append(shop, event("catalog", HELLO))
    again = {"localized": {"claim": {"en-us": "Hello", "de_AT": "Servus", "FR-FR": "Bonjour", "it": None, "sv": ""}}}
    other = {"localized": {"claim": {"en-us": "Hello", "de_AT": "Servus", "FR-FR": "Salut"}}}
    results = await shop.append([event("catalog", again), event("catalog", other)])
    assert [each.outcome for each in results] == ["duplicate", "conflict"]


async def test_pages_show_texts_in_any_spelling(shop: Shop) -> None:
    """Each channel in its language, blank texts skipped; of attributes and of pictures."""
    claim = {"DE_de": "Moin", "de-at": " ", "de": "Hallo", "EN": "Hello", "en_us": None}
    await say(
        shop,
        event("catalog", {"localized": {"claim": claim}}),
        event("media", {"assets": [{"url": "a", "alt": claim}]}),
    )
    for channel, shown in {"web-de": "Moin", "market-at": "Hallo", "outlet-de": "Moin"}.items():
        assert (await section(shop, "catalog", channel))["attributes"] == {"claim": shown}
        assert (await section(shop, "media", channel))["assets"][0]["alt"] == shown
    assert (await section(shop, "catalog", "web-us"))["attributes"] == {"claim": "Hello"}


async def test_an_older_log_is_shown_unchanged(shop: Shop) -> None:
    """Texts stored before the canonical form fold as intended, and the same event is a duplicate."""
    old = b'{"localized":{"claim":{"de_DE":"Moin","en":"Hello","fr":""}}}'
    moment = "2026-01-01T12:00:00.000000Z"
    state = EventState(id="1", occurred_at=moment, recorded_at=moment, payload=msgspec.Raw(old))
    await shop.store.log.insert([Raw("A/*/catalog/pim", 1, "catalog", msgspec.json.encode(state))])
    await shop.catch_up()
    assert (await section(shop, "catalog", sku="A"))["attributes"] == {"claim": "Moin"}
    assert (await section(shop, "catalog", "outlet-de", sku="A"))["attributes"] == {"claim": "Moin"}
    again = event("catalog", {"localized": {"claim": {"de-DE": "Moin", "en": "Hello"}}}, sku="A")
    assert [each.outcome for each in await shop.append([again])] == ["duplicate"]


# --- in the configuration -----------------------------------------------------------------------------------


def test_channels_have_canonical_locales() -> None:
    """In any spelling: the canonical form is in the fingerprint, so another spelling folds nothing again."""
    config = configured("sqlite:///nowhere", channels=SPELT)
    assert {channel.name: channel.context().locales for channel in config.resolved_channels} == {
        "nord": ("nb-NO", "nb", "sv", "en-US", "en"),
        "wien": ("de-AT", "de"),
    }
    same = configured("sqlite:///nowhere", channels=SPELT | {"wien": {"locale": "de-AT", "currency": "EUR"}})
    catalog = DOMAINS[0]
    assert same.fingerprint(catalog) == config.fingerprint(catalog)


@pytest.mark.parametrize(("key", "value"), [("locale", "austrian"), ("locale", "de_"), ("fallbacks", ["en", "xx_1"])])
def test_a_channel_without_a_language_is_rejected(key: str, value: object) -> None:
    """The error names its key, and what would be valid."""
    channels = {"wien": SPELT["wien"] | {key: value}}
    with pytest.raises(ConfigurationError, match=rf"channels\.wien\.{key}.*such as 'de-AT'"):
        Config.parse(document(channels=channels))


def test_lists_of_texts() -> None:
    """A translation may be a list of texts, as of options that were chosen: blank ones are dropped, the order stays."""
    stated = {"localized": {"functions": {"de_DE": ["Kopieren", " ", "Faxen"], "en": [""], "fr": []}}}
    assert content_of(event("catalog", stated)) == b'{"localized":{"functions":{"de-DE":["Kopieren","Faxen"]}}}'


@pytest.mark.parametrize("wrong", [[1], [None], [["a"]], {"a": "b"}, 1])
def test_what_is_no_text_is_refused(wrong: object) -> None:
    """Neither alone nor in a list."""
    with pytest.raises(Rejected, match=r"payload\.localized"):
        content_of(event("catalog", {"localized": {"functions": {"de": wrong}}}))
