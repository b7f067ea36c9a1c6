"""Invariants of rebuilds: all losses in transit and all damage to the store are found, and nothing else.

An independent model has all events; the shop received most of them, and its sections are damaged. The snapshots of all
sources and the log restore every page, byte for byte.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop, parse_event
from pagefold.engine.demo import sample_shop
from pagefold.engine.demo.faults import contradicted
from pagefold.engine.demo.reference_model import DOMAINS, Document, Drift, Model, in_microseconds, stream_of
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift, SectionDriftKind
from pagefold.projections import Section, Stream, parse_stream_id, stream_id
from tests.support.fault_scenario import SOAK_SEED
from tests.support.rebuild_fixtures import AT_ONCE, SPOIL, Intruder, SectionKey, Witness, counts_of, export_lines, harm
from tests.support.shared_data import data_file
from tests.support.small_shop import a_model

LOST = 0.05
GARBLED = 0.01
REPEATED = 0.03
TAKEN_BACK = 0.01
GONE = 0.01
"""The shares of events that are lost, arrive with other content, arrive twice, or are withdrawals; and of products that
are removed from their sources."""

FAR = 50
"""Maximum events that overtake another in transit."""

APPENDED_AT_ONCE = 5_000
READ_AT_ONCE = 500

Rows: TypeAlias = Mapping[str, Sequence[Document]]
"""The snapshot of each source, in the order of its rows."""

Damage: TypeAlias = Mapping[SectionKey, SectionDriftKind]


# --- what was said, and what of it was heard ----------------------------------------------------------


class Past(NamedTuple):
    """The events sent, those that the shop received, all that arrived, and the SKUs removed from their sources."""

    truth: Model
    told: Model
    arrived: Sequence[Document]
    gone: frozenset[str]


def past_of(config: Config, said: Iterable[Document], seed: int) -> Past:
    """Every event is sent once; some are lost, garbled, repeated or late."""
    luck = random.Random(f"{seed} past")
    truth, told = a_model(config), a_model(config)
    skus: set[str] = set()
    underway: list[tuple[float, Document]] = []
    for place, event in enumerate(said):
        assert truth.submit(event) == "appended"
        skus.add(stream_of(event).sku)
        underway += [(place + luck.choice((0, 0, FAR * luck.random())), heard) for heard in arriving(event, luck)]
    arrived = [event for _, event in sorted(underway, key=lambda each: each[0])]
    for event in arrived:
        assert told.submit(event) != "conflict"
    return Past(truth, told, arrived, frozenset(luck.sample(sorted(skus), max(2, int(len(skus) * GONE)))))


def arriving(event: Document, luck: random.Random) -> list[Document]:
    """The lines that arrive of an event."""
    if luck.random() < LOST:
        return []
    if luck.random() < GARBLED and event["payload"] is not None:
        return [contradicted(event)]
    return [event, event] if luck.random() < REPEATED else [event]


async def hear(shop: Shop, arrived: Sequence[Document]) -> None:
    """The shop appends what arrives, and folds it."""
    for start in range(0, len(arrived), APPENDED_AT_ONCE):
        events = [parse_event(orjson.dumps(event)) for event in arrived[start : start + APPENDED_AT_ONCE]]
        assert {result.outcome for result in await shop.append(events)} <= {"appended", "duplicate"}
    await shop.catch_up()


def drift_of(past: Past) -> dict[str, Drift]:
    """The drifted streams by name."""
    return {stream_id(Stream(*each)): drift for each, drift in past.truth.drift(past.told, past.gone).items()}


def model_after(config: Config, past: Past, rows: Rows, taken_at: datetime) -> Model:
    """The expected pages: from the snapshots; streams that they lack are withdrawn."""
    model = a_model(config)
    for row in (row for each in rows.values() for row in each):
        assert model.submit(row) == "appended"
    for row in (row for source in config.sources for row in past.told.snapshot(source)):
        stream = stream_of(row)
        if stream.sku in past.gone:
            assert model.submit(row) == "appended"
            if row["payload"] is not None:
                model.withdraw(stream, taken_at)
    return model


# --- damage -----------------------------------------------------------------------------------------

NOBODYS = ("NOBODY-KNOWS-THIS", "", "0", "ZZZ/ZZZ", "100%", "%2F", "Ka\u0308se", "\U0001f9e6")
"""SKUs that no source knows. Some could not come in through the door; some sort before all others, or behind them."""


def spoil(url: str, number: int, seed: int) -> Damage:
    """Changes, moves, removes and invents this many rows of each kind. Returns everything that is wrong."""
    luck = random.Random(f"{seed} damage")
    intruder = Intruder(url)
    before = intruder.sections()
    chosen = iter(luck.sample(sorted(before.values()), number * (len(SPOIL) + 4)))

    def some() -> Iterator[Section]:
        return (next(chosen) for _ in range(number))

    spoilt = [change(section) for change in SPOIL.values() for section in some()]
    moved = list(some())
    spoilt += [section._replace(sku=other.sku) for section, other in zip(moved, some(), strict=True)]
    removed = {section[:3] for section in (*moved, *some())}
    ends = {min(before)[0], max(before)[0]}
    removed |= {key for key in before if key[0] in ends and key[2] != "media"}
    intruder.put(list({section[:3]: section for section in spoilt}.values()))
    intruder.remove(removed)
    surplus = [section._replace(channel="web-mars") for section in some()]
    surplus += [moved[0]._replace(sku=sku, domain=domain) for sku in NOBODYS for domain in DOMAINS]
    intruder.put(surplus)
    return harm(before, intruder.sections())


def left_to_find(damage: Damage, drifted: Iterable[str]) -> Damage:
    """The damage that remains once every repaired stream is folded: its SKU is then folded for all channels."""
    folded = {(stream.sku, stream.domain) for stream in map(parse_stream_id, drifted)}
    return {key: kind for key, kind in damage.items() if (key[0], key[2]) not in folded}


# --- the rebuild ------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The findings: runs by source, drift by stream, and damaged sections."""

    runs: Mapping[str, RunReport]
    streams: Mapping[str, Drift]
    sections: Damage
    pages: ReplayResult
    sorted_first: frozenset[str]


async def rebuild_everything(shop: Shop) -> Found:
    """Does what `pagefold rebuild` does: every source, then new events, then every page."""
    runs: dict[str, RunReport] = {}
    streams: dict[str, Drift] = {}
    sorted_first: set[str] = set()
    async with shop.rebuilds() as office:
        for source in office.sources(None, None):
            witness = Witness()
            runs[source] = report = await office.rebuild(source, RebuildRequest(max_orphans="100%"), witness)
            assert report.run is not None
            recorded = {stream: drift async for stream, drift in office.drifted(report.run)}
            assert recorded == witness.drift
            streams |= recorded
            sorted_first |= {source} if witness.restarts else set()
    await shop.catch_up()
    told: list[SectionDrift] = []
    pages = await shop.replay(on_drift=told.append)
    sections: Damage = {(each.sku, each.channel, each.domain): each.kind for each in told}
    assert len(sections) == len(told)
    return Found(runs, streams, sections, pages, frozenset(sorted_first))


def judge_runs(found: Found, rows: Rows, drift: Mapping[str, Drift]) -> None:
    """Every run read its snapshot to the end, and has the expected counts."""
    assert found.streams == drift
    assert found.runs.keys() == rows.keys()
    for source, report in found.runs.items():
        kinds: Counter[str] = Counter(
            kind for stream, kind in drift.items() if parse_stream_id(stream).source == source
        )
        withdrawn = kinds.pop("orphan", 0)
        counts = {"rows": len(rows[source]), "equal": len(rows[source]) - kinds.total(), **kinds}
        counts |= {"orphans": withdrawn, "withdrawn": withdrawn}
        assert (report.state, report.complete) == ("completed", True)
        assert counts_of(report) == {name: number for name, number in counts.items() if number}


async def judge_pages(shop: Shop, model: Model) -> None:
    """Every page equals the model byte for byte, for operators and for storefronts; there are no others."""
    keys = sorted(model.pages())
    assert [key async for key in shop.store.pages.keys()] == keys  # noqa: SIM118  # it is no dictionary
    for start in range(0, len(keys), READ_AT_ONCE):
        some = keys[start : start + READ_AT_ONCE]
        pages = await asyncio.gather(*(shop.pages.get_json(*key, disabled=True) for key in some))
        shown = await asyncio.gather(*(shop.pages.get_json(*key) for key in some))
        for key, page, text in zip(some, pages, shown, strict=True):
            expected = model.page(*key, disabled=True)
            assert page == expected, key
            live = expected is not None and orjson.loads(expected)["status"] == "live"
            assert text == (expected if live else None), key


async def judge_events(shop: Shop, told: Model, drift: Iterable[str]) -> None:
    """Every drifted stream was repaired by one event, and the log has no other new events."""
    repaired = Counter(parse_stream_id(stream).domain for stream in drift)
    for each in (await shop.status()).domains:
        assert each.applied + each.stale == told.events(each.domain) + repaired[each.domain]
        assert (each.dead, each.lag_events) == (0, 0)


async def prove(shop: Shop, past: Past, rows: Rows, *, spoilt: int, seed: int) -> Found:
    """All losses and damage are found and repaired; a second rebuild finds nothing."""
    config = shop.config
    await hear(shop, past.arrived)
    drift = drift_of(past)
    damage = spoil(config.store.url, spoilt, seed)
    taken_at = datetime.now(UTC) + timedelta(minutes=1)
    for source, lines in rows.items():
        export_lines(config, source, map(orjson.dumps, lines), taken_at=in_microseconds(taken_at))
    found = await rebuild_everything(shop)
    judge_runs(found, rows, drift)
    left = left_to_find(damage, drift)
    assert found.sections == left
    assert (found.pages.changed, found.pages.behind) == (len(left), 0)
    await judge_pages(shop, model_after(config, past, rows, taken_at))
    await judge_events(shop, past.told, drift)

    table = Intruder(config.store.url).sections()
    again = await rebuild_everything(shop)
    judge_runs(again, rows, {})
    assert again.pages == ReplayResult(sections=len(table))
    assert found.pages.sections == len(table) + Counter(left.values())["surplus"]
    assert Intruder(config.store.url).sections() == table
    await judge_events(shop, past.told, drift)
    return found


# --- the demo's shop --------------------------------------------------------------------------------

AS_THEY_COME = ("erp", "dam")
"""Sources that export unsorted rows; the others export in the log's order."""


def story(skus: int, changes: int, seed: int) -> Iterator[Document]:
    """A catalog and its changes, with some withdrawals."""
    shop, luck = sample_shop.Shop(seed, skus), random.Random(f"{seed} story")
    yield from shop.catalog()
    for event in shop.changes(changes):
        yield event | {"payload": None} if luck.random() < TAKEN_BACK else event


def snapshots_of(config: Config, past: Past) -> Rows:
    """The current state of each source."""
    rows = {source: list(past.truth.snapshot(source, past.gone)) for source in config.sources}
    for source in rows.keys() - AS_THEY_COME:
        rows[source].sort(key=lambda row: stream_id(Stream(*stream_of(row))))
    return rows


async def prove_the_story(url: str, folder: Path, skus: int, changes: int, *, seed: int) -> None:
    """The demo's shop, on its four channels."""
    config = Config.parse(sample_shop.Shop(seed, 1).config(url, folder))
    past = past_of(config, story(skus, changes, seed), seed)
    assert set(drift_of(past).values()) == {"missing", "newer", "changed", "orphan"}
    async with pagefold.open(config) as shop:
        found = await prove(shop, past, snapshots_of(config, past), spoilt=skus // 100, seed=seed)
    assert found.sorted_first == frozenset(AS_THEY_COME)
    assert set(found.sections.values()) == {"differs", "lost", "surplus"}


async def test_everything_that_was_lost_or_spoilt_comes_back(store_url: str, tmp_path: Path) -> None:
    """2,000 SKUs on 4 channels: exactly the losses and the damage are found, and every page equals the model."""
    await prove_the_story(store_url, tmp_path, skus=2_000, changes=3_000, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED])
async def test_everything_comes_back_in_a_large_shop(store_url: str, tmp_path: Path, seed: int) -> None:
    """The same with 50,000 SKUs."""
    await prove_the_story(store_url, tmp_path, skus=50_000, changes=100_000, seed=seed)


# --- a real shop's data -----------------------------------------------------------------------------


def sunrise_rows() -> list[Document]:
    """The rows of the four files."""
    files = [data_file("sunrise", f"{domain}.ndjson") for domain in DOMAINS]
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def with_files(config: Config, folder: Path) -> Config:
    """The same configuration, where every source has a snapshot in a folder."""
    tables: Document = msgspec.to_builtins(config)
    for source, table in tables["sources"].items():
        table["snapshot"] = {"file": str(folder / f"{source}.ndjson.gz"), **AT_ONCE}
    return Config.parse(tables, store=config.store.url)


async def test_a_real_shop_comes_back(store_url: str, tmp_path: Path) -> None:
    """The same with a real shop's 102 products, whose files are the snapshots, with prices unsorted."""
    config = with_files(Config.load(data_file("sunrise", "pagefold.toml"), store=store_url), tmp_path)
    past = past_of(config, sunrise_rows(), seed=1)
    assert set(drift_of(past).values()) == {"missing", "changed", "orphan"}  # of everything there is one version
    rows: defaultdict[str, list[Document]] = defaultdict(list)
    for row in sunrise_rows():
        if row["sku"] not in past.gone:
            rows[row["source"]].append(row)
    async with pagefold.open(config) as shop:
        found = await prove(shop, past, rows, spoilt=10, seed=1)
    assert "erp" in found.sorted_first
    assert set(found.sections.values()) == {"differs", "lost", "surplus"}
