"""Events over HTTP: the outcome of each, the status of the request, and which sources a token may write."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

import pagefold
from pagefold import Shop
from pagefold.engine.http.request_intake import MIN_THREAD_BYTES
from tests.support.command_line import event, ndjson, on_sqlite, product
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.shared_data import data_file
from tests.support.small_shop import append, configured, everything, price

EVENTS = "/v1/events"
JSON = "application/json"
NDJSON = "application/x-ndjson"
BROKEN = event("B", colour="red")


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that may write for every source."""
    async with client_of(service_of(shop, None), "all") as opened:
        yield opened


async def post(client: httpx2.AsyncClient, body: object, media_type: str = JSON, **headers: str) -> httpx2.Response:
    """The response to a body; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(EVENTS, content=content, headers={"content-type": media_type} | headers)


def outcomes_in(answer: httpx2.Response) -> list[str]:
    """The outcomes, in order."""
    if answer.status_code == 422:
        problem_in(answer)
    return [each["outcome"] for each in answer.json()["results"]]


def first(answer: httpx2.Response) -> Any:  # noqa: ANN401  # JSON
    """The outcome of the first item."""
    return answer.json()["results"][0]


# --- outcomes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "status", "outcomes"),
    [
        ([event()], 202, ["appended"]),
        ([event(), event()], 202, ["appended", "duplicate"]),
        ([event(), event(amount="2.00")], 207, ["appended", "conflict"]),
        ([event(), BROKEN, product()], 207, ["appended", "rejected", "appended"]),
        ([BROKEN], 422, ["rejected"]),
        ([BROKEN, 7], 422, ["rejected", "rejected"]),
    ],
)
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
async def test_every_event_has_its_outcome(
    shop: Shop,
    client: httpx2.AsyncClient,
    events: Sequence[object],
    status: int,
    outcomes: list[str],
    media_type: str,
) -> None:
    """In order, in an array or one per line; the status says whether all, some or none were accepted."""
    answer = await post(client, ndjson(events) if media_type == NDJSON else events, media_type)
    assert (answer.status_code, outcomes_in(answer)) == (status, outcomes)
    assert len(await everything(shop.store)) == outcomes.count("appended")


async def test_one_event_is_no_array(shop: Shop, client: httpx2.AsyncClient) -> None:
    """It has its position, and is in the log when it is answered; a repetition has the same position."""
    answer = await post(client, event())
    assert answer.status_code == 202
    [stored] = await everything(shop.store)
    assert answer.json() == {"results": [{"outcome": "appended", "position": stored.notification_id}]}
    again = await post(client, event())
    assert (again.status_code, first(again)["outcome"]) == (202, "duplicate")
    assert first(again)["position"] == stored.notification_id
    assert len(await everything(shop.store)) == 1


async def test_a_conflict_is_a_dead_letter(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Other content at the same version is refused, and is in dead letters when that is answered."""
    await append(shop, price("1.00", sku="A"))
    answer = await post(client, [event("A", amount="2.00")])
    assert (answer.status_code, outcomes_in(answer)) == (422, ["conflict"])
    assert [dead_letter.id for dead_letter in await shop.dead_letters.newest()] == ["ingest-1"]


async def test_a_rejection_has_its_reason(client: httpx2.AsyncClient) -> None:
    """The path and the reason of each; for a single event, the problem has them too."""
    problem = problem_in(await post(client, event(amount=1.5)))
    [result] = problem["results"]
    assert result["path"] == "payload.amount"
    assert "money is a decimal string" in result["reason"]
    assert problem["detail"] == result["reason"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"hello", 422),
        (b"\xff", 422),
        (b"null", 422),
        (b"[", 400),
        (b"[1,]", 400),
        (b"[" * 100_000, 400),
        (b"{" * 100_000, 422),
        (json.dumps([event()]).encode()[:-5], 400),
    ],
)
async def test_an_unreadable_event_is_refused(shop: Shop, client: httpx2.AsyncClient, body: bytes, status: int) -> None:
    """Not JSON, or not an event: refused with the reason, and nothing is stored."""
    assert problem_in(await post(client, body))["status"] == status
    assert await everything(shop.store) == []


async def test_a_request_has_its_limits(shop: Shop, client: httpx2.AsyncClient) -> None:
    """More than 5,000 events, more than a megabyte, another media type, or compressed: refused completely."""
    assert problem_in(await post(client, b"{}\n" * 5_001, NDJSON))["status"] == 422
    assert problem_in(await post(client, b"[" + b"{}," * 5_000 + b"{}]"))["status"] == 422
    assert problem_in(await post(client, b" " * 1_048_577))["status"] == 413
    assert problem_in(await post(client, b"x=1", "application/x-www-form-urlencoded"))["status"] == 415
    assert problem_in(await post(client, [event()], **{"content-encoding": "gzip"}))["status"] == 415
    assert await everything(shop.store) == []


@pytest.mark.parametrize("batch", [7, 5_000])
async def test_a_large_request_is_one_transaction(store_url: str, batch: int) -> None:
    """All 3,000 events are appended together, however small other batches are."""
    events = [event(f"S{number}") for number in range(3_000)]
    assert len(ndjson(events)) > MIN_THREAD_BYTES
    config = configured(store_url, append={"batch": batch})
    async with pagefold.open(config) as shop, client_of(service_of(shop)) as client:
        assert set(outcomes_in(await post(client, ndjson(events), NDJSON))) == {"appended"}
        assert sum(shop.counters.appends.events.counts) == 1
        assert shop.counters.outcomes["appended"] == 3_000


async def test_outcomes_are_counted(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Unreadable ones included."""
    await post(client, [event(), event(), 7, BROKEN])
    assert shop.counters.outcomes == {"appended": 1, "duplicate": 1, "rejected": 2}


# --- sources of a token --------------------------------------------------------------------------


async def test_a_token_writes_for_its_source(shop: Shop) -> None:
    """Events of other sources are rejected one by one; a request with no other events is forbidden."""
    async with client_of(service_of(shop, None), "erp") as client:
        answer = await post(client, [event(), product()])
        assert (answer.status_code, outcomes_in(answer)) == (207, ["appended", "rejected"])
        assert answer.json()["results"][1]["path"] == "source"
        answer = await post(client, [product(), product("B")])
        assert problem_in(answer)["status"] == 403
        assert len(await everything(shop.store)) == 1


# --- overload ------------------------------------------------------------------------


async def test_a_full_queue_refuses_requests(store_url: str) -> None:
    """A request that would have to wait for room is refused completely, with `Retry-After`, and can be repeated."""
    config = configured(store_url, append={"queue": 2})
    async with pagefold.open(config) as shop, client_of(service_of(shop)) as client:
        shop._appender.queued = 2
        answer = await post(client, [event()])
        assert problem_in(answer)["status"] == 429
        assert answer.headers["retry-after"] == "1"
        shop._appender.queued = 1
        assert (await post(client, [event(), event("B")])).status_code == 429
        assert await everything(shop.store) == []
        shop._appender.queued = 0
        assert (await post(client, [event(), event("B"), event("C")])).status_code == 202


async def test_a_shop_that_is_far_behind_refuses_requests(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While folding lags more than the limit, everything is refused; once it has caught up, it is accepted."""
    monkeypatch.setattr("pagefold.engine.reading.lag_cache.FRESH_SECONDS", 0.0)
    config = configured(store_url, http={"lag_seconds": 0.001})
    async with pagefold.open(config) as shop:
        await append(shop, price("1.00"))
        async with client_of(service_of(shop)) as client:
            answer = await post(client, [event()])
            assert "behind" in problem_in(answer)["detail"]
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        await shop.catch_up()
        async with client_of(service_of(shop)) as client:
            assert (await post(client, [event()])).status_code == 202


# --- CloudEvents ----------------------------------------------------------------------------------


def cloud_event(sku: str = "A", **attributes: object) -> CloudEvent:
    """A price, as the CloudEvents SDK makes it."""
    known = {
        "id": f"id-{sku}",
        "source": "https://shop.example/erp",
        "type": "com.example.pricing",
        "specversion": "1.0",
        "subject": sku,
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "sequence": "0010",
        "datacontenttype": JSON,
    }
    return CloudEvent(known | attributes, {"currency": "EUR", "amount": "1.00"})


@pytest.mark.parametrize("write", [to_structured, to_binary])
async def test_cloudevents_of_the_sdk(shop: Shop, client: httpx2.AsyncClient, write: Any) -> None:  # noqa: ANN401  # a function of the SDK
    """Structured or binary, also with a non-ASCII SKU: appended, and a duplicate when repeated."""
    message = write(cloud_event("Größe 9%"), JSONFormat())
    for outcome in ("appended", "duplicate"):
        answer = await client.post(EVENTS, content=message.body, headers=message.headers)
        assert (answer.status_code, outcomes_in(answer)) == (202, [outcome])
    [stored] = await everything(shop.store)
    assert stored.originator_version == 10


async def test_a_batch_of_cloudevents(client: httpx2.AsyncClient) -> None:
    """Each has its outcome, and errors name the attributes of CloudEvents."""
    good, bad = (json.loads(to_structured(cloud_event(sku), JSONFormat()).body) for sku in ("A", " "))
    answer = await post(client, [good, bad, good], "application/cloudevents-batch+json; charset=utf-8")
    assert (answer.status_code, outcomes_in(answer)) == (207, ["appended", "rejected", "duplicate"])
    assert answer.json()["results"][1]["path"] == "subject"
    assert problem_in(await post(client, good, "application/cloudevents-batch+json"))["status"] == 422


async def test_binary_mode_takes_every_kind_of_json(client: httpx2.AsyncClient) -> None:
    """The data may have its own media type, if that is JSON."""
    message = to_binary(cloud_event(datacontenttype="application/vnd.acme.price+json"), JSONFormat())
    assert (await client.post(EVENTS, content=message.body, headers=message.headers)).status_code == 202
    message = to_binary(cloud_event(datacontenttype="text/csv"), JSONFormat())
    answer = await client.post(EVENTS, content=b"a,b", headers=message.headers)
    assert first(answer)["path"] == "datacontenttype"


async def test_cloudevents_of_the_folder(client: httpx2.AsyncClient) -> None:
    """Examples of other producers get an outcome, and never an error of the server."""
    for file in sorted(data_file("formats", "cloudevents").rglob("*.json")):
        for media_type in ("application/cloudevents+json", "application/cloudevents-batch+json"):
            assert (await post(client, file.read_bytes(), media_type)).status_code in (202, 207, 422)


@on_sqlite
@pytest.mark.parametrize(("secret", "status"), [("erp", 202), ("pim", 403)])
async def test_cloudevents_are_of_their_source(shop: Shop, secret: str, status: int) -> None:
    """A token writes for its source, whatever the format of an event."""
    message = to_structured(cloud_event(), JSONFormat())
    async with client_of(service_of(shop, None), secret) as client:
        answer = await client.post(EVENTS, content=message.body, headers=message.headers)
    assert answer.status_code == status
