"""Dead letters over HTTP: lists, retries, corrections and decisions, under the name of the caller's token."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from pagefold import Shop
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.intake.operators import MAX_REASON_LENGTH
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import MOMENT, SKU, Raw, append, price, section, stock, stream_of

DEAD_LETTERS = "/v1/dead-letters"
RETRY = f"{DEAD_LETTERS}:retry"
DISCARD = f"{DEAD_LETTERS}:discard"
GOOD = {"currency": "EUR", "amount": "15.00"}


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator's client."""
    async with client_of(service_of(shop, None), "operator") as opened:
        yield opened


async def conflicts(shop: Shop, *skus: str) -> None:
    """Dead letters of prices of 12.00 where the log has 10.00: `ingest-1` and so on."""
    await append(shop, *(price("10.00", sku=sku) for sku in skus))
    for sku in skus:
        await shop.append([price("12.00", sku=sku)])


async def unvalidated(shop: Shop) -> None:
    """The dead letter of a price that no validator would accept: `projection-1`."""
    state = b'{"id":"x","occurredAt":"%s","recordedAt":"%s","payload":7}' % (MOMENT.encode(), MOMENT.encode())
    await shop.store.log.insert([Raw(stream_of(price("1.00")), 2, "pricing", state)])
    await shop.catch_up()


async def listed(client: httpx2.AsyncClient, **parameters: str | int) -> list[str]:
    """The identifiers of all dead letters, list by list."""
    names: list[str] = []
    while True:
        page = (await client.get(DEAD_LETTERS, params=parameters)).json()
        names += [dead_letter["id"] for dead_letter in page["items"]]
        if page["next"] is None:
            return names
        parameters["after"] = page["next"]


async def shown(client: httpx2.AsyncClient, name: str) -> Any:  # noqa: ANN401  # JSON
    """A complete dead letter."""
    answer = await client.get(f"{DEAD_LETTERS}/{name}")
    assert answer.status_code == 200
    return answer.json()


# --- reading --------------------------------------------------------------------------------------


async def test_dead_letters_are_listed(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Newest first, in chunks, by kind, domain and source; resolved ones only on request."""
    await conflicts(shop, "A", "B", "C")
    await append(shop, stock(1))
    await shop.append([stock(2)])
    await shop.dead_letters.discard(await shop.dead_letters.get("ingest-2"), "a test", "ada")
    assert await listed(client, limit=1) == ["ingest-4", "ingest-3", "ingest-1"]
    assert await listed(client) == ["ingest-4", "ingest-3", "ingest-1"]
    assert await listed(client, domain="pricing", source="erp") == ["ingest-3", "ingest-1"]
    assert await listed(client, resolved="true") == ["ingest-2"]
    assert await listed(client, kind="projection") == []


async def test_a_dead_letter_is_shown_completely(shop: Shop, client: httpx2.AsyncClient) -> None:
    """With its event, and its difference from the log."""
    await conflicts(shop, SKU)
    dead_letter = await shown(client, "ingest-1")
    assert (dead_letter["sku"], dead_letter["domain"], dead_letter["source"], dead_letter["version"]) == (
        SKU,
        "pricing",
        "erp",
        1,
    )
    assert dead_letter["event"]["payload"]["amount"] == "12.00"
    assert dead_letter["differences"] == [{"path": "amount", "before": "10.00", "after": "12.00"}]
    assert dead_letter["resolution"] is None


async def test_a_request_is_shown_byte_by_byte(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Bytes that are not text are in base64; a request has a source, and no domain."""
    await shop.store.dead_letters.add(
        [dead_letter_of_request("erp", b"\xff\0", "no JSON", headers={"webhook-id": "1"})]
    )
    dead_letter = await shown(client, "ingest-1")
    assert (dead_letter["source"], dead_letter["domain"], dead_letter["sku"]) == ("erp", None, None)
    assert dead_letter["base64"] == "/wA="
    assert dead_letter["headers"] == {"webhook-id": "1"}
    assert await listed(client, source="erp") == ["ingest-1"]
    assert 'pagefold_dead_letters{domain="",kind="ingest"} 1.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("kind=lost", "kind"),
        ("kind=null", "kind"),
        ("domain=weather", "domain"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("resolved=perhaps", "resolved"),
        ("after=ingest-1", "after"),
        ("after=2026-01-01T12:00:00.000000Z.ingest", "after"),
        ("color=red", "color"),
    ],
)
async def test_an_invalid_list_parameter_is_named(client: httpx2.AsyncClient, query: str, path: str) -> None:
    """The invalid parameter is named."""
    assert problem_in(await client.get(f"{DEAD_LETTERS}?{query}"))["errors"][0]["path"] == path


@pytest.mark.parametrize("name", ["ingest-7", "projection-7", "x", "ingest-", "ingest-1%2F2", "%F0%9F%8E%BD"])
async def test_an_unknown_dead_letter(client: httpx2.AsyncClient, name: str) -> None:
    """It cannot be shown, retried, corrected or discarded."""
    answers = [
        await client.get(f"{DEAD_LETTERS}/{name}"),
        await client.post(f"{DEAD_LETTERS}/{name}:retry"),
        await client.post(f"{DEAD_LETTERS}/{name}:correct", json={"payload": None}),
        await client.post(f"{DEAD_LETTERS}/{name}:discard", json={"reason": "a test"}),
    ]
    assert [problem_in(answer)["status"] for answer in answers] == [404] * 4


# --- retries ---------------------------------------------------------------------------------


async def test_a_dead_letter_is_retried(shop: Shop, client: httpx2.AsyncClient) -> None:
    """It is resolved, still dead, or was resolved before; the operator is stored."""
    await conflicts(shop, SKU)
    url = f"{DEAD_LETTERS}/ingest-1:retry"
    assert (await client.post(url)).json() == {"id": "ingest-1", "result": "still dead"}
    dead_letter = await shop.dead_letters.get("ingest-1")
    assert (await shop.dead_letters.correct(dead_letter, GOOD, "ada")).outcome == "appended"
    assert (await client.post(url)).json() == {"id": "ingest-1", "result": "gone"}


async def test_many_dead_letters_are_retried(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Some at a time, oldest first, until all of the beginning were retried, each once."""
    await conflicts(shop, "A", "B", "C", "D", "E")
    tried: list[str] = []
    after = None
    for size in (2, 2, 1):
        body = {"source": "erp", "limit": 2} | ({} if after is None else {"after": after})
        answer = (await client.post(RETRY, json=body)).json()
        await conflicts(shop, f"F{size}{len(tried)}")  # those added meanwhile are not retried
        tried += [each["id"] for each in answer["items"]]
        assert (answer["resolved"], answer["stillDead"], answer["gone"]) == (0, size, 0)
        after = answer["next"]
    assert after is None
    assert tried == [f"ingest-{number}" for number in range(1, 6)]


async def test_causes_are_listed_and_decided(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The one with the most comes first; its key selects its dead letters, in lists and in bulk decisions."""
    await conflicts(shop, "A", "B", "C")
    await append(shop, stock(1))
    await shop.append([stock(2)])
    causes = (await client.get(f"{DEAD_LETTERS}:causes")).json()["items"]
    assert [(each["letters"], each["more"], each["source"], each["domain"]) for each in causes] == [
        (3, False, "erp", "pricing"),
        (1, False, "wms-a", "inventory"),
    ]
    assert causes[0]["text"] == "version … of … is stored with other content"
    assert (causes[0]["newest"], "of C/*/pricing/erp" in causes[0]["error"]) == ("ingest-3", True)
    assert await listed(client, cause=causes[1]["cause"]) == ["ingest-4"]
    assert (await shown(client, "ingest-4"))["cause"] == causes[1]["cause"]
    counted = await client.post(RETRY, json={"cause": causes[0]["cause"], "dryRun": True})
    assert (counted.json()["selected"], counted.json()["items"]) == (3, [])
    retried = await client.post(RETRY, json={"cause": causes[0]["cause"], "expect": 3})
    assert retried.json()["stillDead"] == 3
    assert (await client.get(DEAD_LETTERS, params={"cause": "x"})).status_code == 422


async def test_many_dead_letters_are_discarded(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Only as many as were counted, with a reason, some at a time; those added meanwhile stay."""
    await conflicts(shop, "A", "B", "C")
    selected = {"source": "erp", "reason": "a test"}
    assert problem_in(await client.post(DISCARD, json=selected))["errors"][0]["path"] == "expect"
    counted = (await client.post(DISCARD, json=selected | {"dryRun": True})).json()
    assert counted == {"discarded": 0, "gone": 0, "items": [], "next": None, "selected": 3}
    await conflicts(shop, "D")
    for more in ({"expect": 3}, {"expect": 3, "dryRun": True}):
        answer = await client.post(DISCARD, json=selected | more)
        assert (answer.status_code, problem_in(answer)["detail"]) == (
            409,
            "expected 3, but it is 4 by now: look again",
        )
    assert len(await listed(client)) == 4
    first = (await client.post(DISCARD, json=selected | {"expect": 4, "limit": 3})).json()
    assert (first["discarded"], [each["id"] for each in first["items"]]) == (3, [f"ingest-{n}" for n in (1, 2, 3)])
    await conflicts(shop, "E")
    second = (await client.post(DISCARD, json=selected | {"after": first["next"]})).json()
    assert (second["items"], second["next"]) == ([{"id": "ingest-4", "result": "discarded"}], None)
    assert await listed(client) == ["ingest-5"]
    detail = await shown(client, "ingest-4")
    assert (detail["resolution"], detail["reason"], detail["resolvedBy"]) == ("discarded", "a test", "tok_operator")


async def test_nothing_to_retry(client: httpx2.AsyncClient) -> None:
    """With nothing to retry, the result is empty."""
    answer = (await client.post(RETRY, json={"all": True})).json()
    numbers = {"resolved": 0, "stillDead": 0, "queued": 0, "gone": 0}
    assert answer == {**numbers, "items": [], "next": None, "selected": None}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "all"),
        ({"all": True, "source": "erp"}, "all"),
        ({"all": True, "limit": 101}, "limit"),
        ({"all": True, "after": "x"}, "after"),
        ({"all": True, "after": "2026-01-01T12:00:00.000000Z.ingest-1"}, "after"),
        ({"all": True, "after": "2026-01-01T12:00:00.000000Z.ingest-1_x"}, "after"),
        ({"kind": "lost"}, "kind"),
    ],
)
async def test_an_invalid_retry_is_an_error(client: httpx2.AsyncClient, body: dict[str, object], path: str) -> None:
    """The request must select dead letters, so that none is retried by accident."""
    assert problem_in(await client.post(RETRY, json=body))["errors"][0]["path"] == path


# --- decisions -------------------------------------------------------------------------------------


async def test_a_dead_letter_is_corrected(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The payload is an event of the caller, which counts; the dead letter is resolved and keeps its content."""
    await conflicts(shop, SKU)
    answer = await client.post(f"{DEAD_LETTERS}/ingest-1:correct", json={"payload": GOOD})
    assert answer.status_code == 200
    position = answer.json()["position"]
    assert answer.json() == {"id": "ingest-1", "outcome": "appended", "position": position}
    await shop.catch_up()
    assert (await section(shop, "pricing"))["amount"] == "15.00"
    dead_letter = await shown(client, "ingest-1")
    assert (dead_letter["resolution"], dead_letter["resolvedBy"], dead_letter["position"]) == (
        "corrected",
        "tok_operator",
        position,
    )
    assert dead_letter["event"]["payload"]["amount"] == "12.00"
    async with client_of(service_of(shop, None), "reader") as reader:
        [_, entry] = (await reader.get(f"/v1/skus/{SKU}/history")).json()["items"]
    assert (entry["operator"], entry["corrects"], entry["revision"]) == ("tok_operator", "ingest-1", 1)


async def test_a_dead_letter_is_corrected_at_another_version_and_withdrawn(
    shop: Shop, client: httpx2.AsyncClient
) -> None:
    """The version may be another one; a payload of null withdraws."""
    await conflicts(shop, SKU)
    answer = await client.post(f"{DEAD_LETTERS}/ingest-1:correct", json={"payload": None, "version": 5})
    assert answer.status_code == 200
    entries = [entry async for entry in shop.history(SKU)]
    assert [(entry.version, entry.withdrawn) for entry in entries] == [(1, False), (5, True)]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "payload"),
        ({"payload": {"currency": "EUR", "amount": 1.5}}, "payload.amount"),
        ({"payload": {"currency": "USD", "amount": "1.50"}}, "payload.currency"),
        ({"payload": GOOD | {"colour": "red"}}, "payload.colour"),
        ({"payload": GOOD, "version": -1}, "version"),
        ({"payload": GOOD, "operator": "me"}, "operator"),
    ],
)
async def test_a_correction_is_validated(
    shop: Shop, client: httpx2.AsyncClient, body: dict[str, object], path: str
) -> None:
    """An invalid correction is refused with its path; the dead letter stays open. Its author is the token's name."""
    await append(shop, price("10.00", channel="web-de"))
    await shop.append([price("12.00", channel="web-de")])
    answer = await client.post(f"{DEAD_LETTERS}/ingest-1:correct", json=body)
    assert problem_in(answer)["errors"][0]["path"] == path
    assert await listed(client) == ["ingest-1"]


async def test_an_unfoldable_event_does_not_correct_itself(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The dead letter of an event that cannot be folded is resolved by other content."""
    await unvalidated(shop)
    assert await listed(client) == ["projection-1"]
    answer = await client.post(f"{DEAD_LETTERS}/projection-1:correct", json={"payload": GOOD})
    assert answer.json()["outcome"] == "appended"
    await shop.catch_up()
    assert await listed(client) == []


async def test_a_dead_letter_is_discarded(shop: Shop, client: httpx2.AsyncClient) -> None:
    """With the reason and the caller's name; the same event again does not reopen it."""
    await conflicts(shop, SKU)
    answer = await client.post(f"{DEAD_LETTERS}/ingest-1:discard", json={"reason": "a test"})
    dead_letter = answer.json()
    assert (dead_letter["resolution"], dead_letter["resolvedBy"], dead_letter["reason"]) == (
        "discarded",
        "tok_operator",
        "a test",
    )
    await shop.append([price("12.00")])
    assert await listed(client) == []


async def test_a_second_decision_is_refused(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A second decision is 409, and names the first."""
    await conflicts(shop, SKU)
    discard = {"reason": "a test"}
    assert (await client.post(f"{DEAD_LETTERS}/ingest-1:discard", json=discard)).status_code == 200
    for answer in (
        await client.post(f"{DEAD_LETTERS}/ingest-1:discard", json=discard),
        await client.post(f"{DEAD_LETTERS}/ingest-1:correct", json={"payload": GOOD}),
    ):
        problem = problem_in(answer)
        assert problem["status"] == 409
        assert "discarded by tok_operator" in problem["detail"]


@pytest.mark.parametrize("reason", ["", " \t", "\u3000\n", "\0", "x" * (MAX_REASON_LENGTH + 1), None])
async def test_a_reason_is_required(shop: Shop, client: httpx2.AsyncClient, reason: str | None) -> None:
    """Missing, empty, too long, or a text that a store cannot hold: the dead letter stays open."""
    await conflicts(shop, SKU)
    answer = await client.post(f"{DEAD_LETTERS}/ingest-1:discard", json={"reason": reason})
    assert problem_in(answer)["errors"][0]["path"] == "reason"
    assert await listed(client) == ["ingest-1"]
