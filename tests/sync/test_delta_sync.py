"""A source is asked for what changed since the last time: nothing is lost, nothing stated twice; on both stores."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.delta_config import written
from pagefold.engine.errors import ConfigurationError, SourceFailed, SyncInProgress
from pagefold.engine.stores.sync_notes import SyncNotes
from pagefold.engine.sync import delta_sync
from pagefold.engine.sync.delta_sync import DeltaSync
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.small_shop import document, event, say, section

NOON = datetime(2026, 7, 8, 12, 0, tzinfo=UTC)
CONTRACT = {
    "sku": "code",
    "versions": "moment",
    "sourceVersion": "updated",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "price"},
}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.at


class Feed:
    """A source with records, which gives those that changed since a time, so many a page."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.broken: Callable[[Asked], Reply | None] = lambda _asked: None
        self.since: list[str] = []
        self.pages = 2

    def change(self, sku: str, at: datetime, price: str = "9.00") -> None:
        """A record changes."""
        self.records = [each for each in self.records if each["code"] != sku]
        self.records.append({"code": sku, "updated": written(at, "timestamp"), "price": price})

    def __call__(self, asked: Asked) -> Reply:
        """A page."""
        if (reply := self.broken(asked)) is not None:
            return reply
        page, since = int(asked.query.get("page", "1")), asked.query["since"]
        if page == 1:
            self.since.append(since)
        until = asked.query.get("until", "9999")
        changed = [each for each in self.records if since <= each["updated"] < until]
        changed.sort(key=lambda each: each["updated"])
        rows = changed[self.pages * (page - 1) : self.pages * page]
        return Reply(orjson.dumps({"items": rows, "total": len(changed)}))


def configured(store: str, server: Server, *, source: str = "erp", **more: object) -> Config:
    """The small shop, one of whose sources is asked for changes. A setting that is None is left out."""
    tables = document(store)
    tables["sources"][source] |= {
        "contract": CONTRACT,
        "delta": {
            "url": f"{server.url}/prices?since={{since}}",
            "items": "items",
            "total": "total",
            "paging": {"parameter": "page"},
            "requests_per_second": 1000.0,
            "start": "2026-07-01T00:00:00Z",
            **more,
        },
    }
    delta = tables["sources"][source]["delta"]
    tables["sources"][source]["delta"] = {name: value for name, value in delta.items() if value is not None}
    return Config.parse(tables, store=store)


async def price_of(shop: Shop, sku: str) -> str | None:
    """The price on a page."""
    await shop.catch_up()
    found = await section(shop, "pricing", sku=sku)
    return None if found is None else str(found["amount"])


class Fixture:
    """A shop that asks a feed."""

    def __init__(self, shop: Shop, feed: Feed) -> None:
        self.shop = shop
        self.feed = feed
        self.clock = Clock()
        self.sync = DeltaSync(shop, self.clock)

    async def prices(self, skus: Sequence[str]) -> list[str | None]:
        """The prices on pages."""
        return [await price_of(self.shop, sku) for sku in skus]


@pytest.fixture
async def asking(store_url: str) -> Any:  # noqa: ANN401  # a generator of `Fixture`
    """A shop, and its feed."""
    feed = Feed()
    async with serving(feed) as server, pagefold.open(configured(store_url, server)) as shop:
        yield Fixture(shop, feed)


async def test_only_what_changed_is_asked_for(asking: Fixture) -> None:
    """The next run asks since the newest change that was seen, less the overlap; what comes twice is a duplicate."""
    for number in range(5):
        asking.feed.change(f"SKU-{number}", NOON - timedelta(hours=5 - number))
    first = await asking.sync.run("erp")
    assert (first.records, first.appended, first.duplicate, first.needs_attention) == (5, 5, 0, False)
    asking.feed.change("SKU-2", NOON, "8.00")
    asking.clock.at = NOON + timedelta(minutes=10)
    second = await asking.sync.run("erp")
    assert (second.records, second.appended, second.duplicate) == (2, 1, 1)
    assert asking.feed.since == ["2026-07-01T00:00:00Z", "2026-07-08T10:55:00Z"]
    assert await asking.prices(["SKU-1", "SKU-2"]) == ["9.00", "8.00"]


async def test_without_a_change_the_time_stays(asking: Fixture) -> None:
    """Nothing seen proves nothing: the next run asks since the same time."""
    await asking.sync.run("erp")
    asking.clock.at = NOON + timedelta(hours=1)
    await asking.sync.run("erp")
    assert asking.feed.since == ["2026-07-01T00:00:00Z"] * 2


@pytest.mark.parametrize("wrong", [timedelta(days=365), -timedelta(days=365)])
async def test_a_clock_here_that_is_wrong_loses_nothing(asking: Fixture, wrong: timedelta) -> None:
    """For one run it is a year off; then it is right again, and what changed meanwhile comes."""
    asking.feed.change("A", NOON)
    asking.clock.at = NOON + wrong
    await asking.sync.run("erp")
    asking.feed.change("B", NOON + timedelta(seconds=1))
    asking.clock.at = NOON + timedelta(minutes=10)
    await asking.sync.run("erp")
    assert await asking.prices(["A", "B"]) == ["9.00", "9.00"]


async def test_a_record_from_the_future_does_not_end_the_sync(asking: Fixture) -> None:
    """One wrong time in the source does not make later runs miss what changes now."""
    asking.feed.change("A", datetime(2099, 1, 1, tzinfo=UTC))
    await asking.sync.run("erp")
    asking.feed.change("B", NOON + timedelta(minutes=1))
    asking.clock.at = NOON + timedelta(minutes=10)
    await asking.sync.run("erp")
    assert asking.feed.since[1] == "2026-07-08T11:55:00Z"
    assert await asking.prices(["B"]) == ["9.00"]


def failing_at(page: str, reply: Reply) -> Callable[[Asked], Reply | None]:
    """A feed that fails at a page."""
    return lambda asked: reply if asked.query.get("page", "1") == page else None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b'{"error":"too many"}'),
        Reply(b'{"items":[{"code":"SKU-3"', status=200),
        Reply(b"<html>", status=404),
        Reply(b'{"items":[],"total":5}'),
    ],
    ids=["an error that is called 200", "cut", "404", "fewer than it says"],
)
async def test_what_fails_in_the_middle_is_asked_for_again(asking: Fixture, reply: Reply) -> None:
    """What came before is kept; the time does not move; the next run has everything."""
    for number in range(5):
        asking.feed.change(f"SKU-{number}", NOON - timedelta(hours=5 - number))
    asking.feed.broken = failing_at("2", reply)
    with pytest.raises(SourceFailed):
        await asking.sync.run("erp")
    asking.feed.broken = lambda _asked: None
    again = await asking.sync.run("erp")
    assert again.appended + again.duplicate == 5
    assert set(asking.feed.since) == {"2026-07-01T00:00:00Z"}
    assert await asking.prices(["SKU-0", "SKU-4"]) == ["9.00", "9.00"]


async def test_refusals_are_counted_and_shown(asking: Fixture) -> None:
    """A record that cannot be taken does not keep the others, and says why."""
    asking.feed.change("A", NOON, "on request")
    asking.feed.change("B", NOON, "-1")
    asking.feed.change("C", NOON)
    report = await asking.sync.run("erp")
    assert (report.records, report.appended, report.refused) == (3, 1, 2)
    assert report.needs_attention
    assert "on request" in report.refusals[0]
    assert "payload.amount" in report.refusals[1]
    assert report.refusals[1].endswith("; SKU B")


async def test_what_was_refused_is_kept(asking: Fixture) -> None:
    """The source is not asked for it again: the record is a dead letter, once."""
    asking.feed.change("A", NOON - timedelta(hours=3), "on request")
    asking.feed.change("B", NOON)
    await asking.sync.run("erp")
    [letter] = await asking.shop.dead_letters.newest()
    assert "on request" in letter.error
    asking.clock.at = NOON + timedelta(hours=1)
    assert (await asking.sync.run("erp")).records == 1
    assert await asking.shop.dead_letters.count() == 1


async def test_a_field_that_is_gone_stops_a_run(asking: Fixture) -> None:
    """Of enough records: nothing is appended. The ledger has the fields of all that were read before."""
    for number in range(120):
        asking.feed.change(f"SKU-{number:03}", NOON - timedelta(minutes=number))
    await asking.sync.run("erp")
    assert {each.field for each in await asking.shop.store.fields.entries()} == {"code", "updated", "price"}
    for record in asking.feed.records:
        record["amount"] = record.pop("price")
        record["updated"] = written(NOON + timedelta(hours=1), "timestamp")
    asking.feed.pages = 200
    asking.clock.at = NOON + timedelta(hours=1)
    with pytest.raises(SourceFailed, match="no record has `price`"):
        await asking.sync.run("erp")
    assert await asking.prices(["SKU-000"]) == ["9.00"]


async def test_a_record_that_names_its_sku_by_a_reference(store_url: str) -> None:
    """One that is known is appended; one that is not waits, and is taken when it is known."""
    feed = Feed()
    feed.change("11", NOON)
    feed.change("12", NOON)
    contract = CONTRACT | {"sku": {"from": "code", "via": "erp:item"}}
    async with serving(feed) as server:
        config = configured(store_url, server, contract=contract)
        async with pagefold.open(config) as shop:
            await say(shop, event("catalog", {"references": {"erp:item": 11}}, sku="A"))
            await shop.catch_up()
            report = await DeltaSync(shop, Clock()).run("erp")
            assert (report.appended, report.refused) == (1, 1)
            assert "waits for erp:item 12" in report.refusals[0]
            assert await price_of(shop, "A") == "9.00"
            assert await shop.dead_letters.count() == 1


async def test_a_long_time_is_asked_for_in_periods(store_url: str) -> None:
    """Each period has its end; a run that fails in one continues there, and the next asks since the newest change."""
    feed, clock = Feed(), Clock()
    for day, sku in ((1, "A"), (3, "B"), (5, "C")):
        feed.change(sku, datetime(2026, 7, day, 12, tzinfo=UTC))
    async with serving(feed) as server:
        config = configured(store_url, server, url=f"{server.url}/p?since={{since}}&until={{until}}", period="2d")
        async with pagefold.open(config) as shop:
            feed.broken = lambda asked: Reply(status=400) if asked.query["since"] == "2026-07-05T00:00:00Z" else None
            with pytest.raises(SourceFailed):
                await DeltaSync(shop, clock).run("erp")
            assert feed.since == ["2026-07-01T00:00:00Z", "2026-07-03T00:00:00Z"]
            feed.broken = lambda _asked: None
            report = await DeltaSync(shop, clock).run("erp")
            assert feed.since[2:] == ["2026-07-05T00:00:00Z", "2026-07-07T00:00:00Z"]
            assert (report.since, report.records, report.appended) == ("2026-07-05T00:00:00.000000Z", 1, 1)
            assert [await price_of(shop, sku) for sku in "ABC"] == ["9.00"] * 3
            assert (await DeltaSync(shop, clock).run("erp")).since == "2026-07-05T11:55:00.000000Z"


async def test_two_processes_ask_in_turn(asking: Fixture) -> None:
    """While one asks, another does not."""
    async with asking.shop.store.coordination.claim("sync-erp"):
        with pytest.raises(SyncInProgress):
            await asking.sync.run("erp")
    assert (await asking.sync.run("erp")).records == 0


async def test_a_process_that_lost_its_claim_notes_nothing(asking: Fixture) -> None:
    """Of two that write the same note, one learns that it lost; what it appended is a duplicate for the other."""
    asking.feed.change("A", NOON)
    notes = SyncNotes(asking.shop.store, "erp")
    await notes.newest()
    await asking.sync.run("erp")
    newest = await SyncNotes(asking.shop.store, "erp").newest()
    assert newest is not None
    results, noted = await asking.shop.append_noted([], notes.event(newest))
    assert (results, noted) == ([], False)
    assert await asking.shop.dead_letters.count() == 0


async def test_a_run_that_ends_at_any_row_is_made_up_for(asking: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever transaction is the last before a process dies, the next run has the rest, and counts stay true."""
    monkeypatch.setattr(delta_sync, "STEP_EVENTS", 1)
    for number in range(4):
        asking.feed.change(f"SKU-{number}", NOON - timedelta(hours=5 - number))
    append = asking.shop.append_noted
    for survives in range(6):
        left = survives

        async def dying(*arguments: Any) -> Any:  # noqa: ANN401  # of the method
            nonlocal left
            if not left:
                raise ProcessLookupError
            left -= 1
            return await append(*arguments)

        monkeypatch.setattr(asking.shop, "append_noted", dying)
        with pytest.raises(ProcessLookupError) if survives < 5 else anyio.CancelScope():
            await asking.sync.run("erp")
    monkeypatch.setattr(asking.shop, "append_noted", append)
    report = await asking.sync.run("erp")
    assert (report.records, report.appended) == (1, 0)
    newest = await SyncNotes(asking.shop.store, "erp").newest()
    assert newest is not None
    assert (newest.complete, newest.records, newest.statements) == (True, 1, 1)
    assert await asking.prices([f"SKU-{number}" for number in range(4)]) == ["9.00"] * 4


@pytest.mark.parametrize(
    ("delta", "problem"),
    [
        ({"url": "https://erp.example/prices"}, "delta.url: needs {since}"),
        ({"query": "SELECT 1", "database": "postgresql://erp@x/y"}, "delta.query: needs {since}"),
        ({"file": "prices.csv"}, "delta.file: goes with a snapshot"),
        ({"url": "https://erp.example/?s={since}", "settle": "1h"}, "delta.settle: goes with a snapshot"),
        ({"url": "https://erp.example/?s={since}", "period": "1d"}, "delta.period: goes with {until}"),
        ({"url": "https://erp.example/?s={since}&u={until}"}, "delta.period: goes with {until}"),
        ({"url": "https://erp.example/?s={since}", "every": "often"}, "delta.every: 'often'"),
        ({"url": "https://erp.example/?s={since}", "start": "2026-01-01"}, "delta.start: '2026-01-01' is not a time"),
    ],
)
def test_what_the_configuration_may_not_say(delta: dict[str, object], problem: str) -> None:
    """Each problem names its key."""
    tables = document()
    tables["sources"]["erp"]["delta"] = delta
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(tables)
    assert f"sources.erp.{problem}" in str(caught.value)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("timestamp", "2026-07-08T12:00:00Z"),
        ("datetime", "2026-07-08 12:00:00"),
        ("epoch_seconds", "1783512000"),
        ("epoch_milliseconds", "1783512000000"),
    ],
)
def test_how_the_time_is_written(form: Any, text: str) -> None:  # noqa: ANN401  # one of the forms
    """As the source understands it."""
    assert written(NOON, form) == text
    assert msgspec.convert(form, str) == form
