"""The fold and the splicer: any delivery of the same events gives the same bytes, equal to the model's."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from uuid import uuid4

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent
from pagefold.domains import DOMAINS
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.projections import (
    ChannelMismatch,
    DecodedEvent,
    DomainFold,
    Section,
    Splicer,
    Stream,
    normalise_sku,
    parse_stream_id,
    stream_id,
)
from pagefold.projections.channels import locale_chain
from pagefold.projections.section_fold import shared_sections
from pagefold.projections.streams import MAX_SKU_CHARACTERS, encode_part, sku_error
from tests.support.small_shop import (
    MOMENT,
    SKU,
    a_model,
    as_document,
    assert_every_event_is_counted,
    catalog,
    configured,
    document,
    event,
    pages_in,
    pages_of,
    price,
    stock,
)
from tests.support.strategies import SKUS, Delivery, deliveries, histories, texts

CONFIG = Config.parse(document())
VALIDATOR = EventValidator(CONFIG)


SPLICER = Splicer(DOMAINS, CONFIG.resolved_channels)


def heads_of(history: Sequence[DomainEvent], domain: str) -> Mapping[str, Mapping[str, DecodedEvent]]:
    """By SKU, the heads of one domain's streams, in any order of events."""
    payload_type = next(each.payload for each in DOMAINS if each.name == domain)
    heads: dict[str, dict[str, DecodedEvent]] = {}
    for each in history:
        if each.type != domain:
            continue
        admission = VALIDATOR.encode(each, MOMENT, "made")
        payload = msgspec.json.decode(admission.content, type=payload_type | None)
        occurred_at = each.occurred_at.isoformat(timespec="microseconds")[:-6] + "Z"
        sku, suffix = admission.originator_id.split("/", 1)
        known = heads.setdefault(sku, {})
        if f"/{suffix}" not in known or known[f"/{suffix}"].version < each.source_version:
            known[f"/{suffix}"] = DecodedEvent(occurred_at, MOMENT, payload, each.source_version)
    return heads


def sections_of(history: Sequence[DomainEvent]) -> list[Section]:
    """Every section, by the pure fold only."""
    sections: list[Section] = []
    for domain in DOMAINS:
        fold = DomainFold(domain, CONFIG.resolved_channels)
        for sku, heads in heads_of(history, domain.name).items():
            sections += fold.fold(sku, heads).sections()
    return sections


def spliced(sections: Sequence[Section]) -> dict[tuple[str, str], bytes | None]:
    """Every page, disabled ones too."""
    pages: dict[tuple[str, str], list[Section]] = {}
    for section in sections:
        pages.setdefault((section.sku, section.channel), []).append(section)
    return {
        key: SPLICER.splice(
            *key, [each[2:8] for each in sorted(rows, key=lambda section: section.domain)], disabled=True
        )
        for key, rows in pages.items()
    }


def modelled(history: Sequence[DomainEvent], config: Config = CONFIG) -> dict[tuple[str, str], bytes | None]:
    """Every page that is expected."""
    model = a_model(config)
    for each in history:
        model.submit(as_document(each))
    return pages_in(model)


# --- the fold -----------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=120)
def test_the_fold_gives_the_pages_of_the_model(data: st.DataObject) -> None:
    """From the heads of any history, in any order, the fold gives the model's pages."""
    history = data.draw(histories(SKUS[:3]))
    order = data.draw(st.permutations(history))
    assert spliced(sections_of(order)) == modelled(history)


@given(histories(SKUS[:2], largest=12))
@settings(max_examples=60)
def test_equal_sections_are_shared(history: list[DomainEvent]) -> None:
    """The form in which channels share sections is the same, folded or made of the sections one by one."""
    for domain in DOMAINS:
        fold = DomainFold(domain, CONFIG.resolved_channels)
        for sku, heads in heads_of(history, domain.name).items():
            needed = set(fold.needed_streams([sku]))
            shared = fold.fold(sku, {suffix: head for suffix, head in heads.items() if sku + suffix in needed})
            assert shared.sections() == fold.fold(sku, heads).sections()
            assert [shared][: len(shared.channels)] == shared_sections(shared.sections())
            assert len(set(shared.contents)) == len(shared.contents)


def test_an_event_that_does_not_fit_names_its_stream() -> None:
    """An event that does not fit the channel is named by the suffix of its stream, with the reason."""
    fold = DomainFold(DOMAINS[1], CONFIG.resolved_channels)
    heads = heads_of([price("1.00", currency="USD")], "pricing")["TSHIRT-M"]
    moved = {"/web-de/pricing/erp": heads["/*/pricing/erp"]}
    with pytest.raises(ChannelMismatch, match="the price is in USD, the channel's currency is EUR") as caught:
        fold.fold("TSHIRT-M", moved)
    assert caught.value.suffix == "/web-de/pricing/erp"


def test_plans_serve_many_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """SKUs with events in the same streams share a compiled fold; the cache is bounded."""
    monkeypatch.setattr("pagefold.projections.section_fold.MAX_COMPILED_FOLDS", 2)
    fold = DomainFold(DOMAINS[1], CONFIG.resolved_channels)
    own = heads_of([price("1.00"), price("2.00", currency="USD", channel="web-us")], "pricing")["TSHIRT-M"]
    shared = {suffix: head for suffix, head in own.items() if suffix.startswith("/*/")}
    asked = [own, shared, {}]
    first = [fold.fold("A", heads).sections() for heads in asked]
    assert [len(each) for each in first] == [4, 4, 0]
    for _ in range(2):
        for heads, before in zip(asked, first, strict=True):
            again = fold.fold("B", heads).sections()
            assert [section._replace(sku="A") for section in again] == before
            assert len(fold._compiled) <= 2
            assert fold.fold("C", heads).channels is fold.fold("D", heads).channels


# --- from events to pages --------------------------------------------------------------------------------------


@st.composite
def delivered(draw: st.DrawFn) -> tuple[list[DomainEvent], Delivery]:
    """A history, and a way to deliver it."""
    history = draw(histories())
    return history, draw(deliveries(history))


async def arrives(config: Config, delivery: Delivery) -> dict[tuple[str, str], bytes | None]:
    """The pages of a shop after the delivery."""
    async with pagefold.open(config) as shop:
        for batch, folds in zip(*delivery, strict=True):
            results = await shop.append(batch)
            assert {result.outcome for result in results} <= {"appended", "duplicate"}
            if folds:
                await shop.catch_up()
        await shop.catch_up()
        await assert_every_event_is_counted(shop.store)
        assert await shop.dead_letters.newest() == []
        return await pages_of(shop)


@given(delivered(), st.integers(1, 7))
@settings(max_examples=50)
async def test_any_delivery_gives_the_pages_of_the_model(
    drawn: tuple[list[DomainEvent], Delivery], window: int
) -> None:
    """Any order, repetition and batching, folded in small windows, gives the model's pages byte for byte (SQLite)."""
    history, delivery = drawn
    with tempfile.TemporaryDirectory() as folder:
        config = configured(f"sqlite:///{folder}/shop", work={"batch": window})
        assert await arrives(config, delivery) == modelled(history, config)


@given(delivered(), st.integers(1, 7))
@settings(max_examples=15)
async def test_any_delivery_gives_the_pages_of_the_model_on_postgres(
    postgres_url: str, drawn: tuple[list[DomainEvent], Delivery], window: int
) -> None:
    """The same on PostgreSQL, with fewer examples, each in a schema of its own."""
    history, delivery = drawn
    store = {"url": postgres_url, "schema": f"shop_{uuid4().hex}"}
    config = configured(postgres_url, work={"batch": window}, store=store)
    assert await arrives(config, delivery) == modelled(history, config)


# --- the splicer -------------------------------------------------------------------------------------------


@given(histories(SKUS[:2]))
@settings(max_examples=80)
def test_the_splice_is_json(history: list[DomainEvent]) -> None:
    """Spliced without parsing, a page equals the encoded JSON document, keys in order."""
    sections = sections_of(history)
    for (sku, channel), page in spliced(sections).items():
        assert page is not None
        rows = {each.domain: each for each in sections if (each.sku, each.channel) == (sku, channel)}
        names = [domain.name for domain in DOMAINS]
        live = "catalog" not in rows or rows["catalog"].enabled
        versions = [json.loads(rows[name].versions) for name in names if name in rows]
        ready = {name: name in rows and rows[name].ready for name in names}
        expected = {
            "sku": sku,
            "channel": channel,
            "status": "live" if live else "disabled",
            "ready": all(ready[name] for name in ["catalog", *CONFIG.channels[channel].requires]),
            "readiness": ready,
            "sourceVersions": {name: version for each in versions for name, version in each.items()},
            "updatedAt": max(row.occurred_at for row in rows.values()),
        } | {name: orjson.loads(rows[name].body or b"null") if name in rows else None for name in names}
        assert orjson.loads(page) == expected
        assert list(orjson.loads(page)) == list(expected)
        assert msgspec.json.encode(orjson.loads(page)) == page, "compact"
        hidden = SPLICER.splice(sku, channel, [row[2:8] for _, row in sorted(rows.items())], disabled=False)
        assert hidden == (page if live else None)


@given(st.dictionaries(texts(5), st.sampled_from(["%b", "%", "%%s", "}{", '"}{"', "{}", "\\", '"'])))
def test_the_splice_leaves_bodies_alone(attributes: dict[str, str]) -> None:
    """Nothing in a body, not even text like the template's, changes the page around it."""
    [section, *_] = sections_of([event("catalog", {"attributes": attributes})])
    [page] = spliced([section]).values()
    assert page is not None
    assert orjson.loads(page)["catalog"]["attributes"] == attributes


def test_sections_of_a_removed_domain_are_not_shown() -> None:
    """Rows of a removed domain change no page, however many there are."""
    sections = sections_of([event("catalog", {"family": "shirts"}), event("media", {"assets": [{"url": "a.webp"}]})])
    rows = [row[2:8] for row in sections if row.channel == "web-de"]
    gone = [(name, True, True, b"{}", b"{}", MOMENT) for name in ("bundles", "reviews")]
    page = SPLICER.splice(SKU, "web-de", rows, disabled=False)
    assert page is not None
    assert SPLICER.splice(SKU, "web-de", sorted([*rows, *gone[:1]]), disabled=False) == page
    assert SPLICER.splice(SKU, "web-de", sorted([*rows, *gone]), disabled=False) == page
    assert SPLICER.splice(SKU, "web-de", gone, disabled=False) is None


# --- streams, SKUs, locales, versions ------------------------------------------------------------------------


@given(st.builds(Stream, texts(), texts(), texts(), texts()))
@example(Stream("%2F", "%25", "/", "%"))
@example(Stream("%252F", "%2f", "", "*"))
def test_a_stream_is_found_in_its_name(stream: Stream) -> None:
    """Whatever the parts, a stream's name has four, and parsing returns them."""
    name = stream_id(stream)
    assert parse_stream_id(name) == stream
    assert name.count("/") == 3


@given(texts(), texts())
def test_the_prefix_of_a_sku_finds_its_streams_alone(one: str, other: str) -> None:
    """Two SKUs are equal if and only if one's prefix begins the other's streams."""
    begins = stream_id(Stream(other, "*", "catalog", "pim")).startswith(encode_part(one) + "/")
    assert begins == (one == other)


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "a/b/c/d/e"])
def test_an_invalid_stream_name_is_an_error(name: str) -> None:
    """A name with fewer or more than four parts is refused."""
    with pytest.raises(ValueError, match="sku/channel/domain/source"):
        parse_stream_id(name)


@given(st.text(max_size=140))
def test_a_normal_sku_stays_as_it_is(sku: str) -> None:
    """Normalising twice equals normalising once, and a valid SKU is short, not blank, and encodable."""
    normal = normalise_sku(sku)
    assert normalise_sku(normal) == normal
    if sku_error(normal) is None:
        assert 0 < len(normal) <= MAX_SKU_CHARACTERS
        assert normal == normal.strip()
        assert normal.encode().decode() == normal
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in normal)


@pytest.mark.parametrize(
    ("locale", "fallbacks", "chain"),
    [
        ("de", [], "de"),
        ("de-AT", [], "de-AT de"),
        ("de-AT", ["en"], "de-AT de en"),
        ("de-AT", ["de-DE", "en-GB", "fr"], "de-AT de de-DE en-GB en fr"),
        ("zh-Hant-TW", ["zh-Hans"], "zh-Hant-TW zh-Hant zh zh-Hans"),
        ("en", ["en", "en-US"], "en en-US"),
    ],
)
def test_locales_fall_back(locale: str, fallbacks: list[str], chain: str) -> None:
    """Each locale, then its more general forms, then the fallbacks alike; none is tried twice."""
    assert locale_chain(locale, fallbacks) == tuple(chain.split())


@given(st.permutations([catalog("one"), catalog("two", source="pim2", version=7), stock(1), stock(2, source="wms-b")]))
def test_versions_are_sorted_by_source(history: list[DomainEvent]) -> None:
    """The versions of a section are compact JSON, sorted by source, whatever their rank."""
    versions = {(each.channel, each.domain): each.versions for each in sections_of(history)}
    for channel in ("web-de", "web-us"):
        assert versions[channel, "catalog"] == b'{"catalog/pim":1,"catalog/pim2":7}'
    assert versions["outlet-de", "catalog"] == b'{"catalog/pim":1}'
    assert versions["market-at", "inventory"] == b'{"inventory/wms-b":1}'


def test_pages_of_the_same_sku_differ_by_channel() -> None:
    """One source's payloads, resolved for each channel's locale, currency and sources."""
    history = [catalog("shirt"), catalog("other", source="pim2"), price("5.00", channel="web-us", currency="USD")]
    pages = {channel: orjson.loads(page or b"") for (_, channel), page in spliced(sections_of(history)).items()}
    assert {channel: page["catalog"]["attributes"] for channel, page in pages.items()} == {
        "web-de": {"code": "shirt", "name": "shirt (de)"},
        "market-at": {"code": "shirt", "name": "shirt (de)"},
        "web-us": {"code": "other", "name": "other (en)"},
        "outlet-de": {"code": "shirt", "name": "shirt (de)"},
    }
    assert {channel: page["pricing"] is not None for channel, page in pages.items()} == {
        "web-de": False,
        "market-at": False,
        "web-us": True,
        "outlet-de": False,
    }
    assert pages["web-de"]["sku"] == SKU
