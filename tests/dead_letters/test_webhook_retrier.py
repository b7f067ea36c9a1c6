"""Requests of senders that cannot correct their data: nothing is lost, and nothing is stored twice."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx2
import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.dead_letters.past_epochs import PastEpochs
from pagefold.engine.dead_letters.webhook_retrier import Entrance, Reader
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from tests.support.debezium_messages import envelope
from tests.support.deliveries import found_in
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import Document, append, document, event, everything, price, section

ENVIRONMENT = {"PLAIN": "hush"}
AT = "2026-01-01T00:00:00Z"
HOOK: Document = {
    "secret_variables": ["PLAIN"],
    "scheme": "hmac-sha256",
    "header": "X-Hmac",
}
PRICE: Document = {"currency": {"constant": "EUR"}, "amount": "price", "taxClass": "tax"}
ITEMS: Document = {
    "items": "data.rows",
    "sku": "sku",
    "channel": "shop",
    "sourceVersion": "$.revision",
    "occurredAt": "$.at",
    "pricing": PRICE,
}
ROWS: Document = {"sku": "item", "channel": "shop", "pricing": PRICE}
WORD = "__debezium_unavailable_value"


def configured(url: str, items: Document = ITEMS, rows: Document = ROWS, **http: object) -> Config:
    """A shop whose prices come by webhook and by CDC."""
    parsed = document(url, http={"max_body_bytes": 16 * 1024 * 1024} | http)
    hook, tables = HOOK | {"contract": items}, {"contract": rows}
    parsed["sources"]["erp"] = {"domains": ["pricing"], "webhook": hook, "cdc": tables}
    return Config.parse(parsed, store=url)


@pytest.fixture
def config(store_url: str) -> Config:
    """The same with a correct mapping."""
    return configured(store_url)


@asynccontextmanager
async def sender(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """The sender of the source erp."""
    async with client_of(service_of(shop, None, environment=ENVIRONMENT), "erp") as client:
        yield client


def row(sku: object, amount: object = "1.00", **more: object) -> Document:
    """An item of a webhook."""
    return {"sku": sku, "price": amount, **more}


def delivery(*rows: object, revision: object = 1, **more: object) -> bytes:
    """A webhook with some items."""
    return json.dumps({"revision": revision, "at": AT, "data": {"rows": rows, "count": len(rows)}, **more}).encode()


def written(sku: object, amount: object = "1.00", lsn: object = 1, **more: object) -> Document:
    """A CDC message of a row that was written."""
    return envelope("c", None, {"item": sku, "price": amount, **more}, lsn=lsn)


def changes(*messages: object) -> bytes:
    """Debezium messages, in an array."""
    return json.dumps(messages).encode()


async def post(client: httpx2.AsyncClient, via: str, body: bytes, **headers: str) -> httpx2.Response:
    """The response to a webhook or CDC request."""
    signature = base64.b64encode(hmac.digest(b"hush", body, hashlib.sha256)).decode()
    sent = {"x-hmac": signature, "content-type": "application/json"} | headers
    return await client.post(f"/v1/{via}/erp", content=body, headers=sent)


async def outcomes_in(client: httpx2.AsyncClient, via: str, body: bytes, **headers: str) -> list[str]:
    """The outcomes of an accepted request."""
    answer = await post(client, via, body, **headers)
    assert answer.status_code == 202, answer.text
    return [each["outcome"] for each in answer.json()["results"]]


async def skus(shop: Shop) -> list[str]:
    """The SKUs in the log, in order."""
    return [each.originator_id.partition("/")[0] for each in await everything(shop.store)]


async def kept_bodies(shop: Shop) -> list[bytes]:
    """The bodies of open dead letters, in an order of their own."""
    return sorted([dead_letter.state for dead_letter in await shop.dead_letters.newest()])


# --- single parts -----------------------------------------------------------------------------


async def test_failed_parts_are_stored_one_by_one(store_url: str) -> None:
    """Each failed part alone, whichever way it came; sent again with other parts, it is not stored twice."""
    rows = [written("A"), written("B", "free"), written(None), {"op": "?", "source": {}}, written("C")]
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        assert await outcomes_in(client, "cdc", changes(*rows)) == ["appended", "kept", "kept", "kept", "appended"]
        assert await outcomes_in(client, "cdc", changes(*rows[3:], rows[1])) == ["kept", "duplicate", "kept"]
        assert await outcomes_in(client, "cdc", json.dumps(rows[2]).encode()) == ["kept"]
        lines = b"\n".join(json.dumps(each).encode() for each in rows)
        assert await outcomes_in(client, "cdc", lines) == ["duplicate", "kept", "kept", "kept", "duplicate"]
        first = await kept_bodies(shop)
        assert first == sorted(json.dumps(each).encode() for each in rows[1:4])
        body = delivery(row("D"), row("E", "dear"), row([7]), row("F"), sender="erp")
        for outcome in ("appended", "duplicate"):
            assert await outcomes_in(client, "webhooks", body) == [outcome, "kept", "kept", outcome]
        second = [json.loads(state) for state in await kept_bodies(shop) if state not in first]
        assert second == [
            json.loads(delivery(row(*each), sender="erp")) | {"data": {"rows": [row(*each)], "count": 4}}
            for each in (("E", "dear"), ([7],))
        ]
        assert await skus(shop) == ["A", "C", "D", "F"]


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_a_part_is_retried_when_the_mapping_is_corrected(store_url: str, via: str) -> None:
    """Each part alone; those that still fail stay dead letters, and those accepted before are no obstacle."""
    wrong = {"pricing": PRICE | {"amount": "net"}}
    both = [("A", "1.00", "2.00"), ("B", "1.00", "free"), ("C", "cheap", "free")]
    items = [row(sku, amount, net=net) for sku, amount, net in both]
    messages = [written(sku, amount, net=net) for sku, amount, net in both]
    body = delivery(*items) if via == "webhooks" else changes(*messages)
    async with pagefold.open(configured(store_url, ITEMS | wrong, ROWS | wrong)) as shop, sender(shop) as client:
        assert await outcomes_in(client, via, body) == ["appended", "kept", "kept"]
        assert [each async for each in shop.dead_letters.retry_all()] == [
            ("ingest-1", "still dead"),
            ("ingest-2", "still dead"),
        ]
    async with pagefold.open(configured(store_url)) as shop:
        assert [each async for each in shop.dead_letters.retry_all(by="ada")] == [
            ("ingest-1", "resolved"),
            ("ingest-2", "still dead"),
        ]
        assert await skus(shop) == ["A", "B"]
        dead_letter = await shop.dead_letters.get("ingest-1")
        assert (dead_letter.resolution, dead_letter.resolved_by, dead_letter.via) == (
            "appended",
            "ada",
            via.removesuffix("s"),
        )
        await shop.catch_up()
        assert await section(shop, "pricing", sku="B") == {"amount": "1.00", "currency": "EUR"}


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[1,", b'"text"', b"<xml/>", b'{"a":1,"a":2}', b"[" * 9_000])
async def test_an_unreadable_request_is_stored_completely(shop: Shop, body: bytes) -> None:
    """Byte by byte, whatever its content type, once, of authenticated senders. Of others it is not."""
    async with sender(shop) as client:
        for via in ("webhooks", "cdc"):
            for media_type in ("application/json", "text/xml", "nonsense"):
                assert await outcomes_in(client, via, body, **{"content-type": media_type}) == ["kept"]
        assert await kept_bodies(shop) == [body, body]
        stranger = await post(client, "webhooks", body + b" ", **{"x-hmac": "AAAA"})
        assert problem_in(stranger)["status"] == 401
    async with client_of(service_of(shop, None, environment=ENVIRONMENT)) as anonymous:
        assert problem_in(await post(anonymous, "cdc", body + b" "))["status"] == 401
    assert len(await kept_bodies(shop)) == 2


async def test_an_element_of_an_array_is_the_same_dead_letter_as_a_line(shop: Shop) -> None:
    """A byte order mark is skipped, and does not make another dead letter of the rest."""
    async with sender(shop) as client:
        message = json.dumps(written("A", "free")).encode()
        for body in (message, b"[%b]" % message, b"%b\n%b\n" % (message, message)):
            assert set(await outcomes_in(client, "cdc", body)) == {"kept"}
        assert await outcomes_in(client, "cdc", b"\xef\xbb\xbf[%b]" % json.dumps(written("B")).encode()) == ["appended"]
        assert await outcomes_in(client, "webhooks", b"\xef\xbb\xbf" + delivery(row("C"))) == ["appended"]
    assert await kept_bodies(shop) == [message]


# --- large requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_a_request_may_be_as_large_as_a_body(store_url: str, via: str) -> None:
    """More events, and more bytes, than one event may have; what failed is stored without the rest, and retried."""
    many = [(f"S{number:05}", "dear" if number in (7, 6_001) else "1.00") for number in range(6_003)]
    make: Callable[..., Document] = row if via == "webhooks" else written
    parts = [make(sku, amount, more="x" * 400) for sku, amount in many]
    body = delivery(*parts) if via == "webhooks" else changes(*parts)
    assert len(body) > 2 * 1024 * 1024
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        outcomes = await outcomes_in(client, via, body)
        assert [number for number, outcome in enumerate(outcomes) if outcome != "appended"] == [7, 6_001]
        assert {len(state) < 1_200 for state in await kept_bodies(shop)} == {True}
        assert set(await outcomes_in(client, via, body)) == {"duplicate", "kept"}
        assert await shop.dead_letters.count() == 2
        assert len(await skus(shop)) == 6_001
        dead_letter = await shop.dead_letters.get("ingest-2")
        assert dead_letter.originator_id == "S06001/*/pricing/erp"
    corrected = {"pricing": {"currency": {"constant": "EUR"}, "amount": {"constant": "9.99"}, "taxClass": "price"}}
    async with pagefold.open(configured(store_url, ITEMS | corrected, ROWS | corrected)) as shop:
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved"] * 2
        assert len(await skus(shop)) == 6_003


async def test_the_limit_is_one_for_an_event(shop: Shop) -> None:
    """One event above the limit is a dead letter, and the others are accepted; extra fields do not count."""
    async with sender(shop) as client:
        huge = "x" * (1024 * 1024)
        body = delivery(row("A"), row("B", tax=huge), row("C", photo=huge), receipt=huge)
        assert await outcomes_in(client, "webhooks", body) == ["appended", "kept", "appended"]
        body = changes(written("D"), written("E", tax=huge), written("F", photo=huge))
        assert await outcomes_in(client, "cdc", body) == ["appended", "kept", "appended"]
        assert await skus(shop) == ["A", "C", "D", "F"]
        assert {dead_letter.error for dead_letter in await shop.dead_letters.newest()} == {
            "payload: has 1048624 bytes; at most 1048576 are allowed"
        }
        too_large = await post(client, "cdc", b" " * (16 * 1024 * 1024 + 1))
        assert problem_in(too_large)["status"] == 413


# --- failures --------------------------------------------------------------------------

CRASHES = ["before the append", "after the append", "before the dead letters", "after the dead letters"]


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_only_durable_requests_are_acknowledged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, via: str, crash: str
) -> None:
    """The store fails once, at any point: the response is a 5xx, and the same request then ends as if it had not."""
    parts = [("A", "1.00"), ("B", "free"), ("C", "2.00")]
    body = delivery(*[row(*each) for each in parts]) if via == "webhooks" else changes(*[written(*e) for e in parts])
    when, what = crash.split(" the ")
    owner, name = (shop._appender, "_insert") if what == "append" else (shop.store.dead_letters, "add")
    real = getattr(owner, name)

    async def failing(*args: object) -> None:
        if when == "behind":
            await real(*args)
        raise StoreUnavailable("here", OSError("gone"))

    async with sender(shop) as client:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, failing)
            assert (await post(client, via, body)).status_code == 503
        outcomes = await outcomes_in(client, via, body)
    assert [each for each in outcomes if each == "kept"] == ["kept"]
    assert set(outcomes) <= {"appended", "duplicate", "kept"}
    assert await skus(shop) == ["A", "C"]
    assert len(await kept_bodies(shop)) == 1


async def test_a_refused_request_stores_nothing(shop: Shop) -> None:
    """While appends are refused, the complete request must be sent again, and no part of it is in dead letters.

    It is 503: some senders take any 4xx as final.
    """
    async with sender(shop) as client:
        for via, body in (("webhooks", delivery(row("A", "free"))), ("cdc", changes(written("A", "free")))):
            shop._appender.queued = shop.config.append.queue
            answer = await post(client, via, body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            shop._appender.queued = 0
    assert await kept_bodies(shop) == []


async def test_senders_that_cannot_wait_get_a_time_to_retry(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While folding is far behind, 503 with `Retry-After`; a sender of events gets 429, webhooks if configured."""
    monkeypatch.setattr("pagefold.engine.reading.lag_cache.FRESH_SECONDS", 0.0)
    async with pagefold.open(configured(store_url, lag_seconds=0.001)) as shop:
        async with sender(shop) as client:
            assert await outcomes_in(client, "webhooks", delivery(row("A"))) == ["appended"]
            for via, body in (("webhooks", delivery(row("A", "2.00"))), ("cdc", changes(written("A")))):
                answer = await post(client, via, body)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert "behind" in answer.json()["detail"]
            described = (await client.get("/openapi.json")).json()["paths"]
        for path, has in (("/v1/webhooks/{source}", True), ("/v1/cdc/{source}", False), ("/v1/events", True)):
            assert ("429" in described[path]["post"]["responses"]) is has
        assert await kept_bodies(shop) == []


# --- waiting for a dead letter -------------------------------------------------------------------


async def test_a_partial_change_waits_for_a_dead_letter_of_its_stream(shop: Shop) -> None:
    """A partial change is not completed with a value that an unaccepted row overtook; later both are, in order."""
    first, bad, last = written("A", tax="low"), written("A", "free", 2, tax="high"), written("A", "3.00", 3, tax=WORD)
    async with sender(shop) as client:
        assert await outcomes_in(client, "cdc", changes(first)) == ["appended"]
        assert await outcomes_in(client, "cdc", changes(bad, last)) == ["kept", "kept"]
        assert await outcomes_in(client, "cdc", changes(last)) == ["kept"]
    oldest, waiting = reversed(await shop.dead_letters.newest())
    assert "version 2, which has it, is in dead letters" in waiting.error
    assert await shop.dead_letters.retry(waiting) == "still dead"
    await shop.dead_letters.discard(oldest, "a test", "ada")
    assert await shop.dead_letters.retry(waiting) == "resolved"
    await shop.catch_up()
    assert await section(shop, "pricing", sku="A") == {"amount": "3.00", "currency": "EUR", "taxClass": "low"}


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
@pytest.mark.parametrize("scope", ["erp", "A/*/pricing/erp", None])
async def test_a_retry_has_the_epoch_of_its_request(store_url: str, via: str, scope: str | None) -> None:
    """A counter that restarted meanwhile is not overtaken by the retry; without a restart the retry is news."""
    old, new = (row("A", "free", net="7.00"), row("A", "1.00")), (written("A", "free", 100, net="7.00"), written("A"))
    bodies = {"webhooks": (delivery(old[0], revision=100), delivery(old[1])), "cdc": tuple(map(changes, new))}[via]
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        assert await outcomes_in(client, via, bodies[0]) == ["kept"]
        if scope is not None:
            await shop.epochs.raise_epoch(scope, reason="its counter was restored", operator="ada")
        assert await outcomes_in(client, via, bodies[1]) == ["appended"]
    net = {"pricing": PRICE | {"amount": "net"}}
    async with pagefold.open(configured(store_url, ITEMS | net, ROWS | net)) as shop:
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved"]
        await shop.catch_up()
        amount = "7.00" if scope is None else "1.00"
        assert (await section(shop, "pricing", sku="A"))["amount"] == amount


async def test_a_retry_has_its_epoch_where_the_source_names_the_next(shop: Shop) -> None:
    """Also if no epoch was raised: the stream itself names the epoch it entered."""
    body = changes(written("A", "free", 100, tax="low"))
    async with sender(shop) as client:
        assert await outcomes_in(client, "cdc", body) == ["kept"]
    for version in range(1, 60):
        await append(shop, msgspec.structs.replace(price("2.00", sku="A", version=version), epoch=1))
    dead_letter = await shop.dead_letters.get("ingest-1")
    past = PastEpochs(shop.store.log, shop.webhooks._epochs, dead_letter.recorded_at)
    assert await past.begin()
    assert await past.of("A/*/pricing/erp") == 0
    assert await past.of("B/*/pricing/erp") is None


# --- what this shop ignores --------------------------------------------------------------


async def outcomes_of(shop: Shop, via: str, parts: Sequence[Document]) -> list[str]:
    """The outcomes of some parts in one request, of which no dead letter is stored."""
    async with sender(shop) as client:
        outcomes = await outcomes_in(client, via, delivery(*parts) if via == "webhooks" else changes(*parts))
    assert await shop.dead_letters.count() == 0
    return outcomes


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_an_unknown_channel_is_ignored(shop: Shop, via: str) -> None:
    """Whatever else is wrong with it: it is counted, reported and not stored. In our own format it is an error."""
    make: Callable[..., Document] = row if via == "webhooks" else written
    parts = [
        make("A", shop="web-de"),
        make("A", "5.00 PLN", shop="web-pl"),
        make(None, shop="web-pl"),
        make("B", shop="*"),
        make("C", shop=None),
    ]
    assert await outcomes_of(shop, via, parts) == ["appended", "ignored", "ignored", "appended", "appended"]
    assert shop.counters.aside == {"erp": {"channel": 2}}
    async with sender(shop) as client:
        own = {"type": "pricing", "sku": "A", "channel": "web-pl", "source": "erp", "sourceVersion": 1}
        answer = await client.post("/v1/events", json=own | {"occurredAt": AT, "payload": None})
    assert problem_in(answer)["results"][0]["path"] == "channel"


async def test_a_row_that_moves_to_another_shop_is_withdrawn(shop: Shop) -> None:
    """A row that moves to this shop is an event; the end of a row of another shop is ignored."""
    here, there = {"item": "A", "price": "1.00", "shop": "web-de"}, {"item": "A", "price": "4.00", "shop": "web-pl"}
    moves = [
        envelope("c", None, there, lsn=1),
        envelope("u", there, here, lsn=2),
        envelope("u", here, there, lsn=3),
        envelope("d", there, None, lsn=4),
    ]
    assert await outcomes_of(shop, "cdc", moves) == ["ignored", "appended", "appended", "ignored", "ignored"]
    said = [json.loads(each.state)["payload"] for each in await everything(shop.store)]
    assert said == [{"amount": "1.00", "currency": "EUR"}, None]


async def test_a_channel_in_a_constant_is_one_of_the_configuration(store_url: str) -> None:
    """Else every row would be ignored without an error."""
    problem = r"sources.erp.webhook.contract.pricing.channel: 'web-dee' is unknown; did you mean 'web-de'"
    with pytest.raises(pagefold.ConfigurationError, match=problem):
        WebhookReader(configured(store_url, ITEMS | {"channel": {"constant": "web-dee"}}), "erp")


async def test_a_conflict_has_its_own_dead_letter(shop: Shop) -> None:
    """The event, not the request: 202, for the sender has nothing to correct."""
    await append(shop, price("1.00", sku="A"), event("pricing", {"currency": "EUR", "amount": "1.00"}, sku="B"))
    async with sender(shop) as client:
        assert await outcomes_in(client, "cdc", changes(written("A", "2.00"), written("B"))) == [
            "conflict",
            "duplicate",
        ]
    assert await shop.dead_letters.count(DeadLetterFilter(domain="pricing")) == 1
    assert await shop.dead_letters.count(DeadLetterFilter(domain="")) == 0


# --- parts of a request -----------------------------------------------------------------------------


def pieces(body: bytes, parts: Sequence[int], **contract: object) -> list[object]:
    """The requests made of some parts of a webhook, decoded."""
    config = configured("sqlite:///nowhere", ITEMS | contract)
    return [json.loads(text) for _, text in WebhookReader(config, "erp").parse(body, {}).divided(parts)]


def test_a_part_keeps_the_structure_around_it() -> None:
    """Whatever the path to the items, its keys and array positions are kept_bodies; numbers stay as written."""
    body = b' {"revision": 1.50, "data": {"rows": [ {"n":1e2},{"n":2} , {"n":3.0}], "count":3}, "at":"x"}'
    around = b'{"revision":1.50,"data":{"rows":[{"n":1e2}],"count":3},"at":"x"}'
    reader = WebhookReader(configured("sqlite:///nowhere"), "erp")
    [(parts, text)] = reader.parse(body, {}).divided([0])
    assert (list(parts), text) == ([0], around)
    assert pieces(b'[{"deep":{"rows":[1,2]}},5]', [1], items="0.deep.rows") == [[{"deep": {"rows": [2]}}, 5]]


def test_parts_too_large_to_separate_stay_together() -> None:
    """Of a large request with much around its items, or with very many items, one dead letter has those that failed."""
    many = delivery(*[row(f"S{number}") for number in range(9)], note="x" * 100_000)
    [together] = pieces(many, [2, 4, 5])
    assert [each["sku"] for each in together["data"]["rows"]] == ["S2", "S4", "S5"]  # type: ignore[index]  # it is an object
    assert len(pieces(many, [2])) == 1
    assert len(pieces(delivery(*range(1_000)), range(1_000))) == 1
    assert len(pieces(delivery(*range(50)), range(50))) == 50


@pytest.mark.parametrize("via", ["webhook", "cdc"])
def test_tiny_elements_are_one_part(via: Entrance) -> None:
    """So many parts would take a thousand times as long as the request's bytes."""
    parts = b"7," * 5_000
    body = b"[%b7]" % parts if via == "cdc" else b'{"data":{"rows":[%b7]}}' % parts
    make: Callable[[Config, str], Reader] = DebeziumReader if via == "cdc" else WebhookReader
    reader = make(configured("sqlite:///nowhere"), "erp")
    [found] = found_in(reader, body)
    assert isinstance(found, RejectedPart)
    assert "has 5001 parts in " in str(found.rejection)
    assert len(found_in(reader, body.replace(b"7,", b"", 1))) == 5_000


def test_a_mapping_that_reads_other_items_is_not_divided() -> None:
    """If a path leads from the request into the array, a single item would have another meaning."""
    body = delivery(row("A"), row("B"))
    assert pieces(body, [1], sourceVersion="$.data.rows.0.revision") == [json.loads(body)]
