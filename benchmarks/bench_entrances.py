"""Entrances over HTTP whose records a contract reads, beside converters written by hand: see `bench_contracts`.

Both sides make the same events of the same bodies: a webhook of many items, changes of a table, a batch of CloudEvents.
The server, the store and the checks of events are left out on both sides.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from benchmarks.bench_contracts import MIN_RATIO, PIECES, Columns, contract, event_by_hand, records
from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import SQLiteStores, Stores
from pagefold import Config, DomainEvent
from pagefold.engine.dead_letters.webhook_retrier import Reader
from pagefold.engine.intake.readers.cloudevents import CloudEventMessageReader
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement

RECORDS = 4_000
RECORDS_OF_A_BODY = 100
UNAVAILABLE = "__debezium_unavailable_value"
FACTS = {"@received": "2026-01-01T00:00:00.000000Z"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

ByHand = Callable[[bytes], list[DomainEvent]]


def config() -> Config:
    """A shop whose source sends webhooks, changes of a table, and CloudEvents."""
    rows = contract()
    return Config.parse(
        {
            "store": {"url": "sqlite:///nowhere"},
            "sources": {
                "pim": {
                    "domains": ["catalog"],
                    "webhook": {"secret_variables": ["S"], "contract": rows | {"items": "items"}},
                    "cdc": {"contract": rows},
                    "cloudevents": {"types": ["row"], "contract": rows | {"items": "data"}},
                }
            },
            "channels": {"web": {"locale": "de", "currency": "EUR"}},
        }
    )


def change(number: int, row: Columns) -> dict[str, object]:
    """A row that was created, as Debezium sends it without its schema."""
    origin = {"schema": "public", "table": "rows", "lsn": number, "ts_ms": 1_767_225_600_000}
    return {"op": "c", "before": None, "after": row, "source": origin, "ts_ms": 1_767_225_600_100}


def cloudevent(number: int, row: Columns) -> dict[str, object]:
    """An event of another system."""
    return {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "row", "data": row}


def webhook_by_hand(body: bytes) -> list[DomainEvent]:
    """The events of a webhook."""
    return [event_by_hand(row) for row in _decode(body)["items"]]


def changes_by_hand(body: bytes) -> list[DomainEvent]:
    """The events of rows that were created. A row that lacks a column that did not change cannot be one."""
    changes = [each for each in _decode(body) if each["op"] in {"c", "u", "r"}]
    assert not any(UNAVAILABLE in each["after"].values() for each in changes)
    return [event_by_hand(each["after"]) for each in changes]


def cloudevents_by_hand(body: bytes) -> list[DomainEvent]:
    """The events of CloudEvents, which have the ids of those."""
    return [msgspec.structs.replace(event_by_hand(each["data"]), id=each["id"]) for each in _decode(body)]


def events_of(reader: Reader, body: bytes) -> list[DomainEvent]:
    """The events that Pagefold makes of a body, before they are checked and appended."""
    delivery = reader.parse(body, FACTS)
    found = [each for part in delivery.read(0, delivery.parts) for each in part]
    return [each.event for each in found if isinstance(each, Statement)]


def _timed(convert: Callable[[bytes], list[DomainEvent]], bodies: Iterable[bytes]) -> Callable[[], Awaitable[Timed]]:
    async def run() -> Timed:
        begin = time.process_time()
        made = sum([len(convert(body)) for body in bodies])
        return Timed(time.process_time() - begin, made)

    return run


def _comparable(event: DomainEvent) -> object:
    """The event with its payload decoded: its members may be in another order."""
    assert isinstance(event.payload, bytes)
    moment = (event.occurred_at - EPOCH) // timedelta(microseconds=1)
    return event.sku, event.source_version, moment, event.id, msgspec.json.decode(event.payload)


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Records a second through a contract of 50 mappings: 10 lookups, 5 localized, 5 computed, 3 amounts."""
    if not isinstance(stores, SQLiteStores):
        return []
    rows = records(RECORDS // (10 if bench.quick else 1))
    groups = [rows[start : start + RECORDS_OF_A_BODY] for start in range(0, len(rows), RECORDS_OF_A_BODY)]
    shop = config()
    entrances: Mapping[str, tuple[Reader, ByHand, list[bytes]]] = {
        "webhooks": (WebhookReader(shop, "pim"), webhook_by_hand, [_encode({"items": each}) for each in groups]),
        "changes of a table": (
            DebeziumReader(shop, "pim"),
            changes_by_hand,
            [_encode([change(number, row) for number, row in enumerate(each)]) for each in groups],
        ),
        "CloudEvents": (
            CloudEventMessageReader(shop, "pim"),
            cloudevents_by_hand,
            [_encode([cloudevent(number, row) for number, row in enumerate(each)]) for each in groups],
        ),
    }
    return [await _line(bench, name, *each, len(rows)) for name, each in entrances.items()]


async def _line(  # what an entrance has
    bench: Bench, name: str, reader: Reader, by_hand: ByHand, bodies: list[bytes], number: int
) -> Line:
    made = [list(map(_comparable, convert(bodies[0]))) for convert in (lambda body: events_of(reader, body), by_hand)]
    assert made[0] == made[1]
    sides = [
        Side(PAGEFOLD, _timed(lambda body: events_of(reader, body), bodies)),
        Side(BASELINE, _timed(by_hand, bodies)),
    ]
    rates = await interleave(sides, bench.rounds, PIECES)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=MIN_RATIO, what="× a converter written by hand")]
    return Line(f"records of {name}, by contract", "sqlite", number, "records/s", spreads(rates), claims)
