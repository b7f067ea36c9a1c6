"""Where the faults are made that key figures show, and what a fault is."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

import orjson

from pagefold import Config, Shop
from tests.support.fake_endpoint import Asked, Reply
from tests.support.hostile_target import HostileTarget
from tests.support.small_shop import Document, document

CONTRACT = {"sku": "code", "sourceVersion": "updated", "pricing": {"currency": {"constant": "EUR"}, "amount": "price"}}


class Feed:
    """A system that is asked for changes: it has none, or answers with an error."""

    def __init__(self) -> None:
        self.status = 200

    def __call__(self, asked: Asked) -> Reply:
        """An answer: a record, or all that have changed."""
        if self.status != 200:
            return Reply(status=self.status)
        folder, _, code = asked.path.rpartition("/")
        record = {"code": code, "updated": 1, "price": "9.90"}
        return Reply(orjson.dumps(record) if folder == "/records" else b'{"items":[]}')


class Place(NamedTuple):
    """Where a fault is made. `wait` lets time pass, for what measures. `target` is what pages are delivered to."""

    shop: Shop
    url: str
    feed: Feed
    target: HostileTarget
    wait: Callable[[timedelta], None]


Step: TypeAlias = Callable[[Place], Awaitable[None]]


class Fault(NamedTuple):
    """What makes a fault, and what ends it, the label of the key figure, and more of the configuration.

    `target` has the keys of the target that pages are delivered to; without it, there is none.
    """

    make: Step
    end: Step
    label: str = ""
    tables: Mapping[str, Document] = {}
    target: Document | None = None


async def two_hours_pass(place: Place) -> None:
    """What was wrong is not repeated."""
    place.wait(timedelta(hours=2))


async def ten_minutes_pass(place: Place) -> None:
    """As above."""
    place.wait(timedelta(minutes=10))


def limit(name: str, threshold: object, **more: object) -> dict[str, Document]:
    """The configuration of another limit."""
    return {"kpis": {name: {"threshold": threshold, **more}}}


def configured(fault: Fault, url: str, feed: str, target: str, folder: Path, **tables: Document) -> Config:
    """The shop in which a fault is made: the ERP has a snapshot, and is asked for changes."""
    more = {**fault.tables}
    snapshot = {"file": str(folder / "erp.ndjson"), "settle": 0, "duration": 0, **more.pop("snapshot", {})}
    rule = more.pop("cloudevents", None)
    if fault.target is not None:
        http = {"url": target, "networks": ["127.0.0.0/8"]}
        more["targets"] = {"shop": {"http": http, "timeout_seconds": 1.0, **fault.target}}
    if "sagas" in more:
        more["targets"]["stock"] = {"files": {"folder": str(folder / "stock")}}
    found = document(url, **more, **tables)
    if rule is not None:
        fetched = {"url": f"{feed}/records/{{data.id}}", "requests_per_second": 1000.0, **rule}
        found["sources"]["erp"]["cloudevents"] = {"types": rule["only"]["type"], "fetch": [fetched]}
    found["sources"]["erp"] |= {
        "snapshot": snapshot,
        "delta": {"url": f"{feed}/prices?since={{since}}", "items": "items", "every": "30m", "contract": CONTRACT},
    }
    return Config.parse(found, store=url)
