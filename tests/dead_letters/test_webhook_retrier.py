"""Deliveries of those who cannot mend what they send: nothing of them is lost, and nothing is kept twice."""

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
from pagefold.engine.intake.formats.debezium import DebeziumReader
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.formats.webhook_bodies import WebhookReader
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
    "items": "data.rows",
    "paths": {
        "sku": "sku",
        "channel": "shop",
        "sourceVersion": "$.revision",
        "occurredAt": "$.at",
        "payload": {"amount": "price", "taxClass": "tax"},
    },
    "constants": {"payload": {"currency": "EUR"}},
}
TABLES: Document = {
    "columns": {"sku": "item", "channel": "shop", "payload": {"amount": "price", "taxClass": "tax"}},
    "constants": {"payload": {"currency": "EUR"}},
}
WORD = "__debezium_unavailable_value"


def configured(url: str, hook: Document = HOOK, tables: Document = TABLES, **http: object) -> Config:
    """The shop, whose prices come by webhook and as changes of a table."""
    parsed = document(url, http={"max_body_bytes": 16 * 1024 * 1024} | http)
    parsed["sources"]["erp"] = {"domains": ["pricing"], "webhook": hook, "cdc": tables}
    return Config.parse(parsed, store=url)


@pytest.fixture
def config(store_url: str) -> Config:
    """With its mapping as it should be."""
    return configured(store_url)


@asynccontextmanager
async def sender(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """Who delivers for the source erp."""
    async with client_of(service_of(shop, None, environment=ENVIRONMENT), "erp") as client:
        yield client


def row(sku: object, amount: object = "1.00", **more: object) -> Document:
    """An item of a webhook."""
    return {"sku": sku, "price": amount, **more}


def delivery(*rows: object, revision: object = 1, **more: object) -> bytes:
    """A webhook with some items."""
    return json.dumps({"revision": revision, "at": AT, "data": {"rows": rows, "count": len(rows)}, **more}).encode()


def stated(sku: object, amount: object = "1.00", lsn: object = 1, **more: object) -> Document:
    """A row of a table that was written."""
    return envelope("c", None, {"item": sku, "price": amount, **more}, lsn=lsn)


def changes(*messages: object) -> bytes:
    """Some messages of Debezium, in an array."""
    return json.dumps(messages).encode()


async def post(client: httpx2.AsyncClient, via: str, body: bytes, **headers: str) -> httpx2.Response:
    """The answer to a delivery by webhook or as changes of a table."""
    signature = base64.b64encode(hmac.digest(b"hush", body, hashlib.sha256)).decode()
    sent = {"x-hmac": signature, "content-type": "application/json"} | headers
    return await client.post(f"/v1/{via}/erp", content=body, headers=sent)


async def told(client: httpx2.AsyncClient, via: str, body: bytes, **headers: str) -> list[str]:
    """The outcomes, when the delivery is taken."""
    answer = await post(client, via, body, **headers)
    assert answer.status_code == 202, answer.text
    return [each["outcome"] for each in answer.json()["results"]]


async def skus(shop: Shop) -> list[str]:
    """Those of the log, in its order."""
    return [each.originator_id.partition("/")[0] for each in await everything(shop.store)]


async def kept(shop: Shop) -> list[bytes]:
    """What is in open letters, the oldest first."""
    return [dead_letter.state for dead_letter in reversed(await shop.dead_letters.newest())]


# --- a part by itself -----------------------------------------------------------------------------


async def test_what_cannot_be_taken_is_kept_part_by_part(store_url: str) -> None:
    """Alone, whichever way it came, beside what is taken; sent again in other company, nothing is kept twice."""
    rows = [stated("A"), stated("B", "free"), stated(None), {"op": "?", "source": {}}, stated("C")]
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        assert await told(client, "cdc", changes(*rows)) == ["appended", "kept", "kept", "kept", "appended"]
        assert await told(client, "cdc", changes(*rows[3:], rows[1])) == ["kept", "duplicate", "kept"]
        assert await told(client, "cdc", json.dumps(rows[2]).encode()) == ["kept"]
        lines = b"\n".join(json.dumps(each).encode() for each in rows)
        assert await told(client, "cdc", lines) == ["duplicate", "kept", "kept", "kept", "duplicate"]
        assert [json.loads(state) for state in await kept(shop)] == rows[1:4]
        body = delivery(row("D"), row("E", "dear"), row(7.5), row("F"), sender="erp")
        for outcome in ("appended", "duplicate"):
            assert await told(client, "webhooks", body) == [outcome, "kept", "kept", outcome]
        assert [json.loads(state) for state in (await kept(shop))[3:]] == [
            json.loads(delivery(row(*each), sender="erp")) | {"data": {"rows": [row(*each)], "count": 4}}
            for each in (("E", "dear"), (7.5,))
        ]
        assert await skus(shop) == ["A", "C", "D", "F"]


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_a_part_is_tried_again_when_the_mapping_is_mended(store_url: str, via: str) -> None:
    """Each by itself, and the letters of what is still wrong stay; what was taken before is no obstacle."""
    wrong_hook = HOOK | {"paths": HOOK["paths"] | {"payload": {"amount": "net"}}}
    wrong_tables = TABLES | {"columns": TABLES["columns"] | {"payload": {"amount": "net"}}}
    both = [("A", "1.00", "2.00"), ("B", "1.00", "free"), ("C", "cheap", "free")]
    items = [row(sku, amount, net=net) for sku, amount, net in both]
    messages = [stated(sku, amount, net=net) for sku, amount, net in both]
    body = delivery(*items) if via == "webhooks" else changes(*messages)
    async with pagefold.open(configured(store_url, wrong_hook, wrong_tables)) as shop, sender(shop) as client:
        assert await told(client, via, body) == ["appended", "kept", "kept"]
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
async def test_what_nobody_understands_is_kept_whole(shop: Shop, body: bytes) -> None:
    """Byte by byte, whatever its type is said to be, once: of senders who are known. Of others it is not."""
    async with sender(shop) as client:
        for via in ("webhooks", "cdc"):
            for media_type in ("application/json", "text/xml", "nonsense"):
                assert await told(client, via, body, **{"content-type": media_type}) == ["kept"]
        assert await kept(shop) == [body, body]
        stranger = await post(client, "webhooks", body + b" ", **{"x-hmac": "AAAA"})
        assert problem_in(stranger)["status"] == 401
    async with client_of(service_of(shop, None, environment=ENVIRONMENT)) as nobody:
        assert problem_in(await post(nobody, "cdc", body + b" "))["status"] == 401
    assert len(await kept(shop)) == 2


async def test_an_element_of_an_array_stands_in_the_same_dead_letter_as_a_line(shop: Shop) -> None:
    """A mark in front of the text is passed over, and does not make another letter of what follows."""
    async with sender(shop) as client:
        message = json.dumps(stated("A", "free")).encode()
        for body in (message, b"[%b]" % message, b"%b\n%b\n" % (message, message)):
            assert set(await told(client, "cdc", body)) == {"kept"}
        assert await told(client, "cdc", b"\xef\xbb\xbf[%b]" % json.dumps(stated("B")).encode()) == ["appended"]
        assert await told(client, "webhooks", b"\xef\xbb\xbf" + delivery(row("C"))) == ["appended"]
    assert await kept(shop) == [message]


# --- however large --------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_a_delivery_may_hold_what_the_body_can(store_url: str, via: str) -> None:
    """More events, and more bytes, than one event may have; what failed is kept without the others, and mended."""
    many = [(f"S{number:05}", "dear" if number in (7, 6_001) else "1.00") for number in range(6_003)]
    make: Callable[..., Document] = row if via == "webhooks" else stated
    parts = [make(sku, amount, more="x" * 400) for sku, amount in many]
    body = delivery(*parts) if via == "webhooks" else changes(*parts)
    assert len(body) > 2 * 1024 * 1024
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        outcomes = await told(client, via, body)
        assert [number for number, outcome in enumerate(outcomes) if outcome != "appended"] == [7, 6_001]
        assert {len(state) < 1_200 for state in await kept(shop)} == {True}
        assert set(await told(client, via, body)) == {"duplicate", "kept"}
        assert await shop.dead_letters.count() == 2
        assert len(await skus(shop)) == 6_001
        dead_letter = await shop.dead_letters.get("ingest-2")
        assert dead_letter.originator_id == "S06001/*/pricing/erp"
    mended = {"payload": {"taxClass": "price"}}, {"payload": {"currency": "EUR", "amount": "9.99"}}
    paths, columns = HOOK["paths"] | mended[0], TABLES["columns"] | mended[0]
    hook = HOOK | {"paths": paths, "constants": mended[1]}
    async with pagefold.open(
        configured(store_url, hook, TABLES | {"columns": columns, "constants": mended[1]})
    ) as shop:
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved"] * 2
        assert len(await skus(shop)) == 6_003


async def test_the_limit_is_one_for_an_event(shop: Shop) -> None:
    """One event above it is kept, and those beside it are taken; what has no place in an event does not count."""
    async with sender(shop) as client:
        huge = "x" * (1024 * 1024)
        body = delivery(row("A"), row("B", tax=huge), row("C", photo=huge), receipt=huge)
        assert await told(client, "webhooks", body) == ["appended", "kept", "appended"]
        body = changes(stated("D"), stated("E", tax=huge), stated("F", photo=huge))
        assert await told(client, "cdc", body) == ["appended", "kept", "appended"]
        assert await skus(shop) == ["A", "C", "D", "F"]
        assert {dead_letter.error for dead_letter in await shop.dead_letters.newest()} == {
            "payload: has 1048624 bytes; at most 1048576 are allowed"
        }
        too_large = await post(client, "cdc", b" " * (16 * 1024 * 1024 + 1))
        assert problem_in(too_large)["status"] == 413


# --- whenever it crashes --------------------------------------------------------------------------

CRASHES = ["before the append", "behind the append", "before the letters", "behind the letters"]


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_what_is_not_durable_is_not_acknowledged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, via: str, crash: str
) -> None:
    """The store fails once, anywhere: the answer is a 5xx, and the same delivery ends as if nothing had been."""
    parts = [("A", "1.00"), ("B", "free"), ("C", "2.00")]
    body = delivery(*[row(*each) for each in parts]) if via == "webhooks" else changes(*[stated(*e) for e in parts])
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
        outcomes = await told(client, via, body)
    assert [each for each in outcomes if each == "kept"] == ["kept"]
    assert set(outcomes) <= {"appended", "duplicate", "kept"}
    assert await skus(shop) == ["A", "C"]
    assert len(await kept(shop)) == 1


async def test_nothing_is_kept_of_what_is_not_taken(shop: Shop) -> None:
    """While nothing more is taken, the whole is to be sent again, and no part of it is in dead letters.

    It is 503: some who send take any 4xx for good.
    """
    async with sender(shop) as client:
        for via, body in (("webhooks", delivery(row("A", "free"))), ("cdc", changes(stated("A", "free")))):
            shop._appender.queued = shop.config.append.queue
            answer = await post(client, via, body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            shop._appender.queued = 0
    assert await kept(shop) == []


async def test_senders_that_cannot_wait_are_told_when_to_come_again(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While folding is far behind, 503 with the time; whoever is asked for an event is told 429."""
    monkeypatch.setattr("pagefold.engine.reading.lag_cache.FRESH_SECONDS", 0.0)
    async with pagefold.open(configured(store_url, HOOK, TABLES, lag_seconds=0.001)) as shop:
        async with sender(shop) as client:
            assert await told(client, "webhooks", delivery(row("A"))) == ["appended"]
            for via, body in (("webhooks", delivery(row("A", "2.00"))), ("cdc", changes(stated("A")))):
                answer = await post(client, via, body)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert "behind" in answer.json()["detail"]
            described = (await client.get("/openapi.json")).json()["paths"]
        for path, has in (("/v1/webhooks/{source}", False), ("/v1/cdc/{source}", False), ("/v1/events", True)):
            assert ("429" in described[path]["post"]["responses"]) is has
        assert await kept(shop) == []


# --- what waits behind a letter -------------------------------------------------------------------


async def test_what_did_not_change_waits_for_what_is_in_dead_letters(shop: Shop) -> None:
    """A change is not completed with what was overtaken by a row that nobody could take; then both are, in order."""
    first, bad, last = stated("A", tax="low"), stated("A", "free", 2, tax="high"), stated("A", "3.00", 3, tax=WORD)
    async with sender(shop) as client:
        assert await told(client, "cdc", changes(first)) == ["appended"]
        assert await told(client, "cdc", changes(bad, last)) == ["kept", "kept"]
        assert await told(client, "cdc", changes(last)) == ["kept"]
    oldest, waiting = reversed(await shop.dead_letters.newest())
    assert "version 2, which has it, is in dead letters" in waiting.error
    assert await shop.dead_letters.retry(waiting) == "still dead"
    await shop.dead_letters.discard(oldest, "a test", "ada")
    assert await shop.dead_letters.retry(waiting) == "resolved"
    await shop.catch_up()
    assert await section(shop, "pricing", sku="A") == {"amount": "3.00", "currency": "EUR", "taxClass": "low"}


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
@pytest.mark.parametrize("scope", ["erp", "A/*/pricing/erp", None])
async def test_what_waited_is_of_the_epoch_in_which_it_came(store_url: str, via: str, scope: str | None) -> None:
    """A counter that began anew meanwhile is not overtaken by what is tried again; without that it is news."""
    old, new = (row("A", "free", net="7.00"), row("A", "1.00")), (stated("A", "free", 100, net="7.00"), stated("A"))
    bodies = {"webhooks": (delivery(old[0], revision=100), delivery(old[1])), "cdc": tuple(map(changes, new))}[via]
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        assert await told(client, via, bodies[0]) == ["kept"]
        if scope is not None:
            await shop.epochs.raise_epoch(scope, reason="its counter was restored", operator="ada")
        assert await told(client, via, bodies[1]) == ["appended"]
    net = {"payload": {"amount": "net"}}
    mended = HOOK | {"paths": HOOK["paths"] | net}, TABLES | {"columns": TABLES["columns"] | net}
    async with pagefold.open(configured(store_url, *mended)) as shop:
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved"]
        await shop.catch_up()
        amount = "7.00" if scope is None else "1.00"
        assert (await section(shop, "pricing", sku="A"))["amount"] == amount


async def test_what_waited_is_of_its_epoch_where_the_source_names_the_next(shop: Shop) -> None:
    """Also where nobody has raised one: the stream itself tells when it entered it."""
    body = changes(stated("A", "free", 100, tax="low"))
    async with sender(shop) as client:
        assert await told(client, "cdc", body) == ["kept"]
    for version in range(1, 60):
        await append(shop, msgspec.structs.replace(price("2.00", sku="A", version=version), epoch=1))
    dead_letter = await shop.dead_letters.get("ingest-1")
    past = PastEpochs(shop.store.log, shop.deliveries._epochs, dead_letter.recorded_at)
    assert await past.begin()
    assert await past.of("A/*/pricing/erp") == 0
    assert await past.of("B/*/pricing/erp") is None


# --- what this shop does not ask for --------------------------------------------------------------


async def outcomes_of(shop: Shop, via: str, parts: Sequence[Document]) -> list[str]:
    """What becomes of some parts in one delivery, and that nothing is kept."""
    async with sender(shop) as client:
        outcomes = await told(client, via, delivery(*parts) if via == "webhooks" else changes(*parts))
    assert await shop.dead_letters.count() == 0
    return outcomes


@pytest.mark.parametrize("via", ["webhooks", "cdc"])
async def test_another_shops_channel_is_no_fault(shop: Shop, via: str) -> None:
    """Whatever else is wrong with it: it is counted, told, and not kept. In Pagefold's own form it is an error."""
    make: Callable[..., Document] = row if via == "webhooks" else stated
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


async def test_a_row_that_moves_to_another_shop_leaves_nothing_behind(shop: Shop) -> None:
    """And one that moves here is stated; the end of one of another shop is nothing to this one."""
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
    """Else everything would be passed over, and nobody would know."""
    constants = HOOK["constants"] | {"channel": "web-dee"}
    paths = {name: path for name, path in HOOK["paths"].items() if name != "channel"}
    problem = r"sources.erp.webhook.constants.channel: unknown channel 'web-dee'"
    with pytest.raises(pagefold.ConfigurationError, match=problem):
        configured(store_url, HOOK | {"paths": paths, "constants": constants})


async def test_a_conflict_has_its_own_dead_letter(shop: Shop) -> None:
    """The event, not the delivery: 202, for the sender has nothing to mend."""
    await append(shop, price("1.00", sku="A"), event("pricing", {"currency": "EUR", "amount": "1.00"}, sku="B"))
    async with sender(shop) as client:
        assert await told(client, "cdc", changes(stated("A", "2.00"), stated("B"))) == ["conflict", "duplicate"]
    assert await shop.dead_letters.count(DeadLetterFilter(domain="pricing")) == 1
    assert await shop.dead_letters.count(DeadLetterFilter(domain="")) == 0


# --- parts and pieces -----------------------------------------------------------------------------


def pieces(body: bytes, parts: Sequence[int], **settings: object) -> list[object]:
    """The deliveries that some parts of a webhook make, decoded."""
    config = configured("sqlite:///nowhere", HOOK | settings)
    return [json.loads(text) for _, text in WebhookReader(config, "erp").parse(body).divided(parts)]


def test_a_part_has_around_it_what_the_delivery_had() -> None:
    """Whatever path leads to the items: its names, and places in arrays, too; numbers stay as they are written."""
    body = b' {"revision": 1.50, "data": {"rows": [ {"n":1e2},{"n":2} , {"n":3.0}], "count":3}, "at":"x"}'
    around = b'{"revision":1.50,"data":{"rows":[{"n":1e2}],"count":3},"at":"x"}'
    reader = WebhookReader(configured("sqlite:///nowhere"), "erp")
    [(parts, text)] = reader.parse(body).divided([0])
    assert (list(parts), text) == ([0], around)
    assert pieces(b'[{"deep":{"rows":[1,2]}},5]', [1], items="0.deep.rows") == [[{"deep": {"rows": [2]}}, 5]]


def test_parts_that_would_take_too_much_alone_stay_together() -> None:
    """Of a large delivery with much around its items, or with very many, one letter holds those that failed."""
    many = delivery(*[row(f"S{number}") for number in range(9)], note="x" * 100_000)
    [together] = pieces(many, [2, 4, 5])
    assert [each["sku"] for each in together["data"]["rows"]] == ["S2", "S4", "S5"]  # type: ignore[index]  # it is an object
    assert len(pieces(many, [2])) == 1
    assert len(pieces(delivery(*range(1_000)), range(1_000))) == 1
    assert len(pieces(delivery(*range(50)), range(50))) == 50


@pytest.mark.parametrize("via", ["webhook", "cdc"])
def test_what_is_too_small_to_be_events_is_one_part(via: Entrance) -> None:
    """So many of them would take a thousand times as long as the bytes that they are."""
    parts = b"7," * 5_000
    body = b"[%b7]" % parts if via == "cdc" else b'{"data":{"rows":[%b7]}}' % parts
    make: Callable[[Config, str], Reader] = DebeziumReader if via == "cdc" else WebhookReader
    reader = make(configured("sqlite:///nowhere"), "erp")
    [found] = found_in(reader, body)
    assert isinstance(found, RejectedPart)
    assert "has 5001 parts in " in str(found.rejection)
    assert len(found_in(reader, body.replace(b"7,", b"", 1))) == 5_000


def test_what_looks_into_its_items_is_not_divided() -> None:
    """Where a path leads from the delivery into the array, an item alone would say something else."""
    paths = HOOK["paths"] | {"sourceVersion": "$.data.rows.0.revision"}
    body = delivery(row("A"), row("B"))
    assert pieces(body, [1], paths=paths) == [json.loads(body)]
