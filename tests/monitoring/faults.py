"""The faults that key figures show: each is made in an open shop, and ended."""

import asyncio
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial

import apsw
import msgspec
import orjson
import psycopg
import pytest

import pagefold
from pagefold import DomainEvent
from pagefold.engine.errors import SourceFailed
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.runtime.clock import moment
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.schedule.scheduler import Scheduler
from pagefold.engine.stores.field_ledger import FieldFilter
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import PAGES
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchReport, FetchWorker
from tests.monitoring.delivery_faults import DELIVERY_FAULTS
from tests.monitoring.places import CONTRACT, Fault, Place, limit, ten_minutes_pass, two_hours_pass
from tests.support.http_clients import client_of, service_of
from tests.support.processes import eventually
from tests.support.rebuild_fixtures import Intruder, export, file_of, rebuild
from tests.support.small_shop import Document, apply_file, catalog, event, price, say, stock, with_channel

TWENTY = [f"SKU-{number}" for number in range(20)]
NINE = TWENTY[:9]


async def nobody_folds(place: Place) -> None:
    """An event waits."""
    await place.shop.append([catalog("shirt")])
    await asyncio.sleep(0.05)


async def a_worker_folds(place: Place) -> None:
    """Everything."""
    await place.shop.catch_up()


async def the_worker_is_stopped(place: Place) -> None:
    """Meanwhile the source says of some products that they have changed."""
    head = {"specversion": "1.0", "source": "/erp", "time": "2026-01-01T00:00:00Z", "type": "price.changed"}
    events = [head | {"id": sku, "data": {"id": sku}} for sku in NINE]
    kind = {"content-type": "application/cloudevents-batch+json"}
    async with client_of(service_of(place.shop), "all") as client:
        answer = await client.post("/v1/events", json=events, headers=kind)
    assert {each["outcome"] for each in answer.json()["results"]} == {"wanted"}, answer.text


async def the_worker_runs_again(place: Place) -> None:
    """And fetches what is wanted."""
    assert await FetchWorker(place.shop).run_due() == FetchReport(fetched=len(NINE))


async def prices_have_commas(place: Place) -> None:
    """A source sends what its domain refuses, among other events."""
    await say(place.shop, *(catalog("shirt", sku=sku) for sku in TWENTY))
    [result] = await place.shop.append([event("pricing", {"currency": "EUR", "amount": "9,90"})])
    assert result.outcome == "rejected"


async def two_prices_of_one_version(place: Place) -> None:
    """Two systems write under one name."""
    await place.shop.append([price(amount, sku=sku) for sku in TWENTY for amount in ("9.90", "8.90")])
    await place.shop.catch_up()


async def it_is_discarded(place: Place) -> None:
    """A person decides that nothing is to be done."""
    for letter in await place.shop.dead_letters.newest():
        await place.shop.dead_letters.discard(letter, "a test", "ada")


async def somebody_deletes_rows(place: Place) -> None:
    """Behind the program's back, and the nightly comparison finds it."""
    await say(place.shop, catalog("shirt"))
    intruder = Intruder(place.url)
    intruder.remove(list(intruder.sections())[:1])
    await place.shop.verify(sample=10)


async def pages_are_replayed(place: Place) -> None:
    """And compared once more."""
    await place.shop.replay()
    await place.shop.verify()


async def the_source_is_tired(place: Place) -> None:
    """It answers 429 to each attempt."""
    place.feed.status = 429
    with suppress(SourceFailed):
        await DeltaSync(place.shop).run("erp")


async def it_is_asked_less(place: Place) -> None:
    """Some minutes later."""
    place.feed.status = 200
    await ten_minutes_pass(place)


async def the_server_is_behind(place: Place) -> None:
    """It takes no more events until somebody folds."""
    await nobody_folds(place)
    place.shop.lag._until = 0.0
    async with client_of(service_of(place.shop)) as client:
        assert (await client.post("/v1/events", json=[])).status_code == 429


async def records_change(place: Place, record: Document) -> None:
    """The second export of a source has other fields than the first."""
    for version, exported in enumerate(({"price": "9.90"}, record), start=1):
        rows = [{"code": sku, "updated": version, **exported} for sku in NINE]
        marked = [*map(orjson.dumps, rows), orjson.dumps({"snapshot": "end", "count": len(rows)})]
        file_of(place.shop.config, "erp").write_bytes(b"\n".join(marked))
        await rebuild(place.shop, "erp")


async def they_are_acknowledged(place: Place) -> None:
    """By a person."""
    await place.shop.store.fields.acknowledge(FieldFilter(), ["new", "vanished", "type", "value"])


async def no_sync_completes(place: Place) -> None:
    """The source has another password since two hours."""
    place.feed.status = 401
    outcome = await Scheduler(place.shop, lambda: moment() - timedelta(hours=2)).sync_now("erp")
    assert outcome.state == "failed"


async def a_sync_completes(place: Place) -> None:
    """Just now."""
    place.feed.status = 200
    assert (await Scheduler(place.shop).sync_now("erp")).state == "done"


async def a_counter_restarts(place: Place) -> None:
    """Later events have lower versions."""
    await say(place.shop, stock(9, version=9))
    for version in (1, 2, 3):
        await say(place.shop, _later(version))


def _later(version: int) -> DomainEvent:
    at = stock(9, version=9).occurred_at + timedelta(hours=version)
    return msgspec.structs.replace(stock(version, version=version), occurred_at=at)


async def a_person_dismisses_it(place: Place) -> None:
    """It was a test."""
    await place.shop.epochs.dismiss("wms-a", reason="a test", operator="ada")


async def an_export_is_empty(place: Place) -> None:
    """A rebuild would withdraw everything."""
    await say(place.shop, *(price("9.90", sku=sku) for sku in NINE))
    export(place.shop.config, "erp")
    assert (await rebuild(place.shop, "erp", RebuildRequest())).state == "held"


async def it_is_refused(place: Place) -> None:
    """By a person."""
    async with place.shop.rebuilds() as service:
        [held] = await service.newest(1, "erp")
        assert held.run is not None
        await service.refuse(held.run, by="ada", reason="a test")


async def somebody_rebuilds_without_an_export(place: Place) -> None:
    """By hand, at no time of a schedule."""
    with pytest.raises(SourceFailed):
        await rebuild(place.shop, "erp")


async def the_export_is_there(place: Place) -> None:
    """And somebody rebuilds again."""
    export(place.shop.config, "erp", price("9.90"))
    assert (await rebuild(place.shop, "erp")).state == "completed"


async def another_configuration_counts(place: Place) -> None:
    """Somebody has applied another file."""
    other = with_channel(place.shop.config, "web-de", requires=["catalog"])
    async with pagefold.open(other) as shop:
        await shop.catch_up()


async def the_file_is_applied(place: Place) -> None:
    """By a person."""
    await apply_file(place.shop)


async def a_consumer_fails(place: Place) -> None:
    """Somebody renames a table, and back; since then, nobody has folded."""
    rename(place.url, "sections", "sections_of_yesterday")
    await place.shop.append([price("9.90")])
    async with run_beside(partial(place.shop.work, enduring=True)):  # as `pagefold work` does
        await eventually(lambda: place.shop.faults.last("fold pricing") is not None, "the consumer has failed")
    rename(place.url, "sections_of_yesterday", "sections")


async def it_folds_again(place: Place) -> None:
    """By itself."""
    async with run_beside(partial(place.shop.work, enduring=True)):  # as `pagefold work` does
        await eventually(lambda: not place.shop.faults.by_prefix("fold "), "the consumers fold")


def rename(url: str, table: str, name: str) -> None:
    """Renames a table of a store, behind the program's back."""
    statement = f"ALTER TABLE {table} RENAME TO {name}"
    if url.startswith("sqlite:"):
        with closing(apsw.Connection(str(folder_of(url) / PAGES))) as file:
            file.set_busy_timeout(10_000)
            file.execute(statement)
        return
    with psycopg.connect(url, options="-c search_path=pagefold") as connection:
        connection.execute(statement.encode())


MAPPED: Mapping[str, Document] = {"snapshot": {"contract": CONTRACT}}
"""More of the snapshot: its rows are records."""

NOTIFICATIONS: dict[str, Document] = {"cloudevents": {"only": {"type": ["price.changed"]}, "contract": CONTRACT}}
"""The source says what has changed; each record is fetched."""

FAULTS: Mapping[str, Fault] = {
    "lag": Fault(nobody_folds, a_worker_folds, "catalog", limit("lag", "20ms")),
    "queue": Fault(
        the_worker_is_stopped, the_worker_runs_again, "fetch erp", limit("queue", 0, window="1m") | NOTIFICATIONS
    ),
    "failures": Fault(prices_have_commas, two_hours_pass),
    "conflicts": Fault(two_prices_of_one_version, two_hours_pass),
    "drift": Fault(somebody_deletes_rows, pages_are_replayed),
    "throttled": Fault(the_source_is_tired, it_is_asked_less, "erp", limit("throttled", 0.5, window="10m")),
    "refused": Fault(
        the_server_is_behind, two_hours_pass, "", limit("refused", 0, window="10m") | {"http": {"lag_seconds": 0.02}}
    ),
    "dead-letters": Fault(two_prices_of_one_version, it_is_discarded, "conflict", limit("dead-letters", 0)),
    "expiring": Fault(two_prices_of_one_version, it_is_discarded, "", {"dead_letters": {"conflict_days": 5}}),
    "schema-drift": Fault(
        partial(records_change, record={"price": {"gross": "9.90"}}), they_are_acknowledged, "erp", MAPPED
    ),
    "unmapped": Fault(
        partial(records_change, record={"price": "9.90", "size": "XL"}), they_are_acknowledged, "erp", MAPPED
    ),
    "source-overdue": Fault(no_sync_completes, a_sync_completes, "erp"),
    "looks-reset": Fault(a_counter_restarts, a_person_dismisses_it, "wms-a inventory"),
    "held-runs": Fault(an_export_is_empty, it_is_refused, "erp"),
    "failed-rebuilds": Fault(somebody_rebuilds_without_an_export, the_export_is_there, "erp"),
    "not-applied": Fault(another_configuration_counts, the_file_is_applied),
    **DELIVERY_FAULTS,
    "checks": Fault(a_consumer_fails, it_folds_again, "consumers"),
}
"""By key figure."""
