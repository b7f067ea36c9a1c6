"""The rows in which a SKU's sections are stored, and how stores of the former form are brought up to date."""

from collections.abc import Mapping
from typing import Any

import apsw
import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import given

from pagefold import Config
from pagefold.engine.errors import StoreDamaged
from pagefold.engine.shop import Shop
from pagefold.engine.stores import open_store
from pagefold.engine.stores.section_rows import (
    SectionRow,
    count_all,
    decode_sections,
    encode_sections,
    flags_by_channel,
    page_sections,
    section_flags,
)
from pagefold.engine.stores.sql_files import Migration, migrations
from pagefold.engine.stores.sqlite import folder_of
from pagefold.projections import Section, sections_of, shared_sections
from tests.support.small_shop import MOMENT, SKU, a_section, catalog, pages_of, price, say

CHANNELS = [f"channel-{number:02}" for number in range(40)]

bodies = st.none() | st.binary(max_size=6)


@st.composite
def contents(draw: st.DrawFn) -> tuple[Any, ...]:
    """A section without its key."""
    moment = draw(st.sampled_from([MOMENT, '"\\', ""]))
    return draw(st.booleans()), draw(st.booleans()), draw(st.binary(max_size=3)), draw(bodies), moment, MOMENT


@st.composite
def sections(draw: st.DrawFn) -> list[Section]:
    """Sections of a SKU in some channels, many of which are equal."""
    some = draw(st.lists(contents(), min_size=1, max_size=4))
    channels = draw(st.lists(st.sampled_from(CHANNELS), unique=True))
    return [Section(SKU, channel, "catalog", *draw(st.sampled_from(some))) for channel in sorted(channels)]


@given(sections())
def test_a_row_has_every_section(written: list[Section]) -> None:
    """Decoded, read for one channel, listed and counted, each section is as it was."""
    shared = shared_sections(written)
    rows = encode_sections(shared)
    assert [decode_sections(row) for row in rows] == shared
    assert sections_of(shared) == written
    own = {section.channel: section for section in written}
    for channel in CHANNELS:
        section = own.get(channel)
        found = page_sections([row[1:] for row in rows], channel, "a store")
        assert found == ([] if section is None else [section[2:8]])
        flags = [section_flags(row[1:5], channel) for row in rows] or [None]
        assert flags == [None if section is None else (*section[2:5], section.occurred_at)]
    assert count_all([(*row[1:4], 3) for row in rows]) == 3 * len(written)
    states = {each.channel: {"catalog": (each.enabled, each.ready)} for each in written}
    assert flags_by_channel([row[1:4] for row in rows]) == states


@given(sections(), st.randoms())
def test_equal_sections_give_equal_rows(written: list[Section], dice: Any) -> None:  # noqa: ANN401  # a Random
    """Whatever order they come in. Each distinct content is stored once."""
    rows = encode_sections(shared_sections(written))
    dice.shuffle(written)
    assert encode_sections(shared_sections(written)) == rows
    if rows:
        assert len(rows[0].flags) == len({section[3:] for section in written})


ROW = SectionRow("A", "catalog", '{"web-de":0}', "3", '[[0,2,2,"",""]]', b"{}[]")


@pytest.mark.parametrize(
    "change",
    [
        {"channels": ""},
        {"channels": "[]"},
        {"channels": '{"web-de":"0"}'},
        {"channels": '{"web-de":1}'},
        {"flags": ""},
        {"flags": "9"},
        {"layout": ""},
        {"layout": "[]"},
        {"layout": "[[0]]"},
        {"layout": '[["0",2,2,"",""]]'},
    ],
)
def test_an_unreadable_row_is_an_error(change: Mapping[str, str]) -> None:
    """A row that another program wrote is never read as an empty page; for repairs, it has no section; lists go on."""
    row = ROW._replace(**change)  # type: ignore[arg-type]  # only texts are changed
    with pytest.raises(StoreDamaged, match="a row of sections is damaged"):
        page_sections([row[1:]], "web-de", "a store")
    assert decode_sections(row).sections() == []
    assert section_flags(row[1:5], "web-de") in {None, ("catalog", True, True, "")}
    assert flags_by_channel([row[1:4]]) in ({}, {"web-de": {"catalog": (True, True)}})
    assert page_sections([ROW[1:]], "web-de", "a store") == [("catalog", True, True, b"{}", b"[]", "")]


def run(config: Config, sql: str) -> None:
    """Runs statements on the pages of a store, as another program does."""
    if config.store.url.startswith("sqlite:"):
        connection = apsw.Connection(str(folder_of(config.store.url) / "pages.db"))
        connection.execute(sql)
        connection.close()
        return
    with psycopg.connect(config.store.url, options="-c search_path=pagefold") as session:
        session.execute(sql.encode())


async def test_a_damaged_row_is_reported_and_repaired(shop: Shop) -> None:
    """Reading the page fails, lists and counts go on, `verify` reports its sections, a replay writes them again."""
    await say(shop, catalog("shirt", sku="A"), catalog("hat", sku="B"))
    before = await pages_of(shop)
    run(shop.config, "UPDATE sections SET channels = 'x', layout = '' WHERE sku = 'A'")
    with pytest.raises(StoreDamaged):
        await shop.pages.get("A", "web-de")
    with pytest.raises(StoreDamaged):
        await shop.pages.get_many_json(["A", "B"], "web-de")
    assert await shop.pages.get("B", "web-de") is not None
    layouts = {each.last: each.sections for each in await shop.store.pages.layouts("", 10)}
    assert layouts == {"A": {}, "B": {channel: {"catalog": (True, True)} for channel in shop.config.channels}}
    found = await shop.verify()
    assert (found.sections, found.changed) == (2 * len(shop.config.channels), len(shop.config.channels))
    assert await shop.replay() == found
    assert await pages_of(shop) == before


# --- stores of the former form ------------------------------------------------------------------------


@pytest.fixture
def store_url(new_store_url: str) -> str:
    """Here stores are made."""
    return new_store_url


def former(package: str, folder: str = "migrations") -> list[Migration]:
    """The migrations before sections were shared."""
    found = migrations(package, folder)
    names = [each.name for each in found]
    return found[: names.index("shared_sections")] if "shared_sections" in names else found


def literal(value: object) -> str:
    """A value in SQL that both stores understand, but for bytes."""
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def former_rows(config: Config, written: list[Section]) -> str:
    """Inserts a row for each section, as former releases did."""
    is_sqlite = config.store.url.startswith("sqlite:")
    rows: list[str] = []
    for section in written:
        flags = [str(flag).lower() if not is_sqlite else str(int(flag)) for flag in section[3:5]]
        blobs = [
            "NULL" if blob is None else f"x'{blob.hex()}'" if is_sqlite else f"'\\x{blob.hex()}'"
            for blob in section[5:7]
        ]
        values = [*map(literal, section[:3]), *flags, *blobs, *map(literal, section[7:])]
        rows.append(f"({', '.join(values)})")
    return f"INSERT INTO sections VALUES {', '.join(rows)}"  # noqa: S608  # values of ours


async def test_former_sections_are_kept(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every section is as it was as soon as the store is opened, and pages are then folded again."""
    written = [
        a_section("A", "web-de"),
        a_section("A", "web-us", body=None),
        a_section("A", "web-at"),
        a_section("A", "web-fr", body=b'{"name":"\xc3\xa4\\""}'),
        a_section("A", "web-us", "pricing"),
        a_section("Ä%/", "web-de"),
    ]
    with monkeypatch.context() as patch:
        for kind in ("sqlite", "postgres"):
            patch.setattr(f"pagefold.engine.stores.{kind}.schema.migrations", former)
        await (await open_store(config)).close()
        run(config, former_rows(config, written))
        run(config, "INSERT INTO checkpoints (domain, fingerprint) VALUES ('catalog', 'f'), ('media', NULL)")
    store = await open_store(config, create=False)
    try:
        found: list[Section] = []
        for domain in ("catalog", "pricing"):
            async with store.coordination.fold_transaction(domain) as folding:
                found += sections_of(await folding.sections(["A", "Ä%/"]))
        assert sorted(found) == sorted(written)
        assert await store.pages.count("catalog") == 5
        checkpoints = {each.domain: each.fingerprint for each in await store.coordination.checkpoints()}
        assert checkpoints == {"catalog": "", "media": None, "pricing": None}
    finally:
        await store.close()


async def test_channels_share_what_is_equal(shop: Shop) -> None:
    """A price for every channel is stored once for each currency, and read in every channel."""
    await say(shop, price("5.00", sku="A"))
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        [shared] = await folding.sections(["A"])
    assert len(shared.channels) == len(shop.config.channels)
    assert len(shared.contents) == len({section[3:] for section in shared.sections()}) < len(shared.channels)
