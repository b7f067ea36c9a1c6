"""Every route of intake, with a valid request: a shop that has them all, and its state."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagefold import Config, Shop
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.http.listening_socket import listen
from pagefold.engine.http.process_links import WORKER
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.rebuild.rebuild_service import report_of
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_records import RunSpec
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import RebuildResult, RebuildWork, WorkRequest
from pagefold.engine.runtime.clock import now
from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.sagas.saga_repository import open_sagas
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from tests.http.test_connection_limits import Place
from tests.http.test_handover import READER, peers
from tests.support.command_line import event
from tests.support.debezium_messages import CONTRACT, ROW, envelope
from tests.support.http_clients import served, service_of
from tests.support.small_shop import Document, append, document, everything, price

KEY = b"hush"
ENVIRONMENT = {"PLAIN": KEY.decode()}
JSON, NDJSON = "application/json", "application/x-ndjson"
SIGNATURE = "x-shop-signature"
HOW = ("alone", "handed over")
"""A server of one process, and one of two, of which the reader gets the request first."""

Headers: TypeAlias = Mapping[str, str]

PRICE = {"sku": "A", "revision": 1, "at": "2026-01-01T00:00:00Z", "price": "1.00"}
CLOUD = {
    "specversion": "1.0",
    "id": "1",
    "source": "erp",
    "type": "pricing",
    "subject": "A",
    "time": "2026-01-01T00:00:00Z",
    "sequence": "1",
}
IN_HEADERS = {f"ce-{name}": value for name, value in CLOUD.items()}
PAYLOAD = {"currency": "EUR", "amount": "1.00"}


NONE: Headers = {}


class Entrance(NamedTuple):
    """A way of intake: the requested path, the route's path, the media type, a valid body, and other headers."""

    path: str
    route: str
    media_type: str
    body: bytes
    headers: Headers = NONE

    def headers_for(self, body: bytes) -> dict[str, str]:
        """The headers for a body, which may be another one, with its signature if needed."""
        found = {"content-type": self.media_type, **self.headers}
        if SIGNATURE in found:
            found[SIGNATURE] = base64.b64encode(hmac.digest(KEY, body, hashlib.sha256)).decode()
        return found

    def head(self, body: bytes, *more: str) -> bytes:
        """The head of a request with that body, without its length and the empty line."""
        lines = [f"POST {self.path} HTTP/1.1", "host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers_for(body).items()]
        return "".join(f"{line}\r\n" for line in [*lines, *more]).encode()


def _text(value: object) -> bytes:
    return json.dumps(value).encode()


CHANGE = envelope("c", None, ROW)
EVENTS = "/v1/events"
DISMISS = "/v1/epochs:dismiss"
CONFLICT = "/v1/dead-letters/ingest-1"
DISCARDS = "/v1/dead-letters:discard"
SCHEDULE = {"reason": "summer", "publishAt": "2099-06-01T00:00:00Z"}

ABSENT = "http://127.0.0.1:9/items?since={since}"
"""Nobody answers there."""

REQUESTS = "/v1/requests"
TARGET = "/v1/targets/{name}"
GROUP = ("first", "second")
STUCK, SAGA_PAGE = "/v1/sagas/both/pages/web-de/Z", "/v1/sagas/{saga}/pages/{channel}/{sku}"
HELD_SYNC = {"source": "list", "decision": "append", "expect": 6, "reason": "given up"}

ENTRANCES: Mapping[str, Entrance] = {
    "an event": Entrance(EVENTS, EVENTS, JSON, _text(event())),
    "events": Entrance(EVENTS, EVENTS, JSON, _text([event(), event("B")])),
    "lines": Entrance(EVENTS, EVENTS, NDJSON, _text(event()) + b"\n" + _text(event("B")) + b"\n"),
    "a CloudEvent": Entrance(EVENTS, EVENTS, "application/cloudevents+json", _text({**CLOUD, "data": PAYLOAD})),
    "CloudEvents": Entrance(EVENTS, EVENTS, "application/cloudevents-batch+json", _text([{**CLOUD, "data": PAYLOAD}])),
    "a CloudEvent in headers": Entrance(EVENTS, EVENTS, JSON, _text(PAYLOAD), IN_HEADERS),
    "a change": Entrance("/v1/cdc/erp", "/v1/cdc/{source}", JSON, _text(CHANGE)),
    "changes": Entrance("/v1/cdc/erp", "/v1/cdc/{source}", NDJSON, _text(CHANGE) + b"\nnull\n"),
    "a tombstone": Entrance("/v1/cdc/erp", "/v1/cdc/{source}", JSON, b"null"),
    "a webhook": Entrance("/v1/webhooks/shop", "/v1/webhooks/{source}", JSON, _text(PRICE), {SIGNATURE: ""}),
    "pages": Entrance("/v1/pages:batchGet", "/v1/pages:batchGet", JSON, _text({"channel": "web-de", "skus": ["A"]})),
    "a retry": Entrance("/v1/dead-letters:retry", "/v1/dead-letters:retry", JSON, _text({"all": True})),
    "discards": Entrance(
        "/v1/dead-letters:discard",
        "/v1/dead-letters:discard",
        JSON,
        _text({"all": True, "reason": "seen", "expect": 1}),
    ),
    "a release": Entrance("/v1/releases", "/v1/releases", JSON, _text({"name": "new", "reason": "summer"})),
    "a publication": Entrance(
        "/v1/releases/sale:publish", "/v1/releases/{name}:publish", JSON, _text({"reason": "summer"})
    ),
    "a schedule": Entrance("/v1/releases/later:schedule", "/v1/releases/{name}:schedule", JSON, _text(SCHEDULE)),
    "a rollback": Entrance(
        "/v1/releases/over:rollback", "/v1/releases/{name}:rollback", JSON, _text({"reason": "autumn"})
    ),
    "a correction": Entrance(f"{CONFLICT}:correct", "/v1/dead-letters/{id}:correct", JSON, _text({"payload": PAYLOAD})),
    "an alarm": Entrance(DISMISS, DISMISS, JSON, _text({"source": "erp", "reason": "looked into"})),
    "an epoch": Entrance("/v1/epochs", "/v1/epochs", JSON, _text({"scope": "erp", "reason": "restored"})),
    "a dry run": Entrance(
        f"{REQUESTS}:rebuild", f"{REQUESTS}:rebuild", JSON, _text({"source": "list", "reason": "repaired"})
    ),
    "a start": Entrance(
        f"{REQUESTS}/1:start", f"{REQUESTS}/{{number}}:start", JSON, _text({"expect": 0, "reason": "looked into"})
    ),
    "a verification": Entrance(f"{REQUESTS}:verify", f"{REQUESTS}:verify", JSON, _text({"reason": "a question"})),
    "a held sync": Entrance(f"{REQUESTS}:sync", f"{REQUESTS}:sync", JSON, _text(HELD_SYNC)),
    "a request that is cancelled": Entrance(
        f"{REQUESTS}/2:cancel", f"{REQUESTS}/{{number}}:cancel", JSON, _text({"reason": "not any more"})
    ),
    "a pause": Entrance("/v1/targets/box:pause", f"{TARGET}:pause", JSON, _text({"reason": "full"})),
    "a resumption": Entrance("/v1/targets/paused:resume", f"{TARGET}:resume", JSON, _text({"reason": "emptied"})),
    "a delivery": Entrance("/v1/targets/box:deliver", f"{TARGET}:deliver", JSON, _text({"skus": ["Z"], "reason": "x"})),
    "a comparison": Entrance("/v1/targets/box:verify", f"{TARGET}:verify", JSON, _text({"reason": "a question"})),
    **{
        f"a saga's {decision}": Entrance(f"{STUCK}:{decision}", f"{SAGA_PAGE}:{decision}", JSON, _text({"reason": "x"}))
        for decision in ("resume", "compensate", "settle")
    },
    "a decision": Entrance(f"{CONFLICT}:discard", "/v1/dead-letters/{id}:discard", JSON, _text({"reason": "seen"})),
}


def configured(url: str, **http: Any) -> Config:  # noqa: ANN401  # settings
    """A shop with a source whose tables are read, and one that sends webhooks."""
    parsed = document(url, http=http)
    prices: Document = {"currency": {"constant": "EUR"}, "amount": "price"}
    says: Document = {"sku": "sku", "sourceVersion": "revision", "occurredAt": "at", "pricing": prices}
    hook = {"secret_variables": ["PLAIN"], "scheme": "hmac-sha256", "header": SIGNATURE, "contract": says}
    parsed["sources"]["erp"] = {"domains": ["pricing"], "cdc": {"contract": CONTRACT}}
    parsed["sources"]["shop"] = {"domains": ["pricing"], "webhook": hook}
    parsed["sources"]["list"] = {
        "domains": ["inventory"],
        "snapshot": {"url": ABSENT.partition("?")[0]},
        "delta": {"url": ABSENT},
    }
    parsed["targets"] = {name: {"files": {"folder": name}} for name in ("box", "paused", *GROUP)}
    parsed["sagas"] = {"both": {"targets": list(GROUP), "pivot": GROUP[0]}}
    return Config.parse(parsed, store=url)


async def settle(shop: Shop) -> None:
    """A page, a dead letter of the only event that is rejected, a source that looks reset, releases, and requests."""
    await append(shop, price("1.00", sku="Z"))
    await shop.append([price("2.00", sku="Z")])
    await shop.catch_up()
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.save_streaks({"erp": RESET_THRESHOLD})
    for name in ("sale", "later", "over"):
        await shop.releases.create(name, by="ada", reason="summer")
    await shop.releases.publish("over", by="ada", reason="summer")
    note = SyncNote("list-1", "list", now(), now(), now(), held="6 streams would be withdrawn", removals=6)
    await shop.append_noted([], SyncNotes(shop.store, "list").event(note))
    await _settle_dry_run(shop)
    await RequestService(shop).verify_target("paused", 1, by="ada", reason="a question")
    await shop.targets.pause("paused", by="ada", reason="full")
    await _settle_saga(shop)


async def _settle_saga(shop: Shop) -> None:
    """A page whose second version the second target has refused, after the first one had decided."""
    saga = PageSaga.create(PageName("both", "Z", "web-de"))
    saga.agree(upto=1, position=1, tag="v1")
    saga.start(upto=2, position=2, tag="v2", targets=GROUP, pivot=GROUP[0])
    saga.take(GROUP[0])
    saga.stick(GROUP[1], "422")
    async with open_sagas(shop.store) as sagas:
        assert not await sagas.save([saga])


async def _settle_dry_run(shop: Shop) -> None:
    """A dry run that an operator asked for, and that found no difference."""
    run = RebuildRun.start(
        RunSpec(
            source="list",
            domains=["inventory"],
            start_position=0,
            snapshot="list",
            identity="list",
            process="a worker",
        )
    )
    request = WorkRequest(RebuildWork("list", dry_run=True), "ada", "repaired", "http")
    records = shop.store.schedule
    number = await records.request(request.work.task, msgspec.json.encode(request).decode(), now())
    assert number is not None
    result = RebuildResult(report_of(run, dry_run=True), [])
    await records.end(number, "done", "", now(), msgspec.json.encode(result).decode())


async def state_of(shop: Shop) -> tuple[int, Sequence[object]]:
    """The state that any accepted request changes: the log, and what is open or was resolved."""
    dead_letters = [dead_letter.id for dead_letter in await shop.dead_letters.newest()]
    alarms = [each.source for each in (await shop.status()).looks_reset]
    return len(await everything(shop.store)), [
        *dead_letters,
        *alarms,
        *(note.what for note in await shop.epochs.list()),
        *(each.number for each in await RequestService(shop).open()),
        *(f"{each.name} {each.state}" for each in await shop.targets.list() if each.state != "starting"),
    ]


class Listening(NamedTuple):
    """A port, and the servers behind it."""

    port: int
    services: Sequence[ServerContext]

    @property
    def gone(self) -> int:
        """The number of clients that disconnected before their request was complete."""
        return sum(each.traffic.gone for each in self.services)

    @property
    def arriving(self) -> int:
        """Bytes of incomplete bodies."""
        return sum(each.incoming.bytes for each in self.services)


@asynccontextmanager
async def listening(shop: Shop, how: str, **settings: Any) -> AsyncIterator[Listening]:  # noqa: ANN401  # as `ServerContext` takes them
    """A server of one process; or the reader of two, which passes on requests that are not for readers."""
    options: dict[str, Any] = {"reads_open": True, "environment": ENVIRONMENT} | settings
    if how == "alone":
        service = service_of(shop, **options)
        async with served(service) as (_, port):
            yield Listening(port, [service])
        return
    worker, reader = (service_of(shop, worker=number, **options) for number in (WORKER, READER))
    listener = listen("127.0.0.1", 0)
    with peers() as ways:
        async with serving(worker, None, ways), serving(reader, listener, ways):
            yield Listening(listener.getsockname()[1], [worker, reader])


@asynccontextmanager
async def placed(shop: Shop, how: str, **settings: Any) -> AsyncIterator[tuple[Place, Listening]]:  # noqa: ANN401  # likewise
    """The same, with an address for raw bytes; every connection is closed in the end."""
    async with listening(shop, how, **settings) as server:
        place = Place("127.0.0.1", server.port)
        try:
            yield place, server
        finally:
            await place.close()
