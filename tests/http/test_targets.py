"""Targets over HTTP: seen, paused, resumed, delivered to again and verified, under the name of the caller's token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.http.routes.targets import MAX_SKUS
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.schedule import requested_runs
from pagefold.engine.schedule.scheduler import Scheduler
from tests.delivery.test_delivery_work import delivering_to, holds_the_pages, working
from tests.support.hostile_target import HostileTarget, hostile_target
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.processes import eventually
from tests.support.small_shop import CHANNELS, catalog, price, say

TARGETS = "/v1/targets"
SHOP = f"{TARGETS}/shop"
REASON = {"reason": "a test"}
PAGES = 2 * len(CHANNELS)


@asynccontextmanager
async def operator_of(config: Config) -> AsyncIterator[tuple[Shop, HostileTarget, httpx2.AsyncClient]]:
    """A shop that delivers to a target, which holds two products; and an operator's client."""
    async with hostile_target() as target, working(delivering_to(config, target)) as shop:
        await say(shop, catalog("a", sku="A"), catalog("b", sku="B"), price("1.00", sku="A"))
        await holds_the_pages(shop, target)
        async with client_of(service_of(shop, None), "operator") as client:
            yield shop, target, client


async def shown(client: httpx2.AsyncClient) -> Any:  # noqa: ANN401  # JSON
    """The target, from the list and by itself."""
    [listed] = (await client.get(TARGETS)).json()["items"]
    found = (await client.get(SHOP)).json()
    assert [found[key] for key in ("name", "kind", "pages")] == [listed[key] for key in ("name", "kind", "pages")]
    return found


async def test_a_target_is_paused_and_resumed(config: Config) -> None:
    """It says so, by whom and why; what waits is counted, and delivered once it is resumed."""
    async with operator_of(config) as (shop, target, client):
        paused = (await client.post(f"{SHOP}:pause", json={"reason": "their maintenance"})).json()
        assert (paused["state"], paused["by"], paused["reason"]) == ("paused", "tok_operator", "their maintenance")
        await say(shop, catalog("c", sku="A", version=2))
        await eventually(partial(waits, client, len(CHANNELS)), "what has changed waits")
        found = await shown(client)
        assert (found["state"], found["pages"], found["resetting"]) == ("paused", PAGES, False)
        assert {each["channel"]: each["behind"] for each in found["channels"]} == dict.fromkeys(sorted(CHANNELS), 1)
        receipts = (await client.get("/v1/skus/A/receipts")).json()["items"]
        assert [(each["channel"], each["state"], each["holding"]) for each in receipts] == [
            (channel, "waiting", "behind") for channel in sorted(CHANNELS)
        ]
        assert (await client.post(f"{SHOP}:resume", json=REASON)).json()["reason"] == ""
        await holds_the_pages(shop, target)
        again = await client.post(f"{SHOP}:resume", json=REASON)
        assert (again.status_code, "neither paused, disabled nor down" in str(problem_in(again))) == (409, True)


async def waits(client: httpx2.AsyncClient, pages: int) -> bool:
    """Whether so many pages wait."""
    return bool((await shown(client))["waiting"] == pages)


async def test_pages_are_delivered_again(config: Config) -> None:
    """All of them, those since a moment, or those of some SKUs; what is counted otherwise by now changes nothing."""
    async with operator_of(config) as (shop, target, client):
        lost = await client.post(f"{SHOP}:deliver", json=REASON | {"all": True, "expect": PAGES + 1})
        assert (lost.status_code, f"it is {PAGES} by now" in str(problem_in(lost))) == (409, True)
        assert (await shown(client))["resetting"] is False
        for body, pages in (
            ({"all": True, "expect": PAGES}, PAGES),
            ({"since": "2026-01-01T00:00:00+02:00", "expect": PAGES}, None),
            ({"skus": ["A", "B", "NONE"]}, PAGES),
        ):
            target.empty()
            answer = await client.post(f"{SHOP}:deliver", json=REASON | body)
            assert (answer.status_code, answer.json()) == (200, {"pages": pages})
            await holds_the_pages(shop, target)


async def test_a_verification_is_asked_for(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker does it, once at a time, and says what it found."""
    monkeypatch.setattr(requested_runs, "POLL_SECONDS", 0.01)
    async with operator_of(config) as (shop, _, client):
        asked = await client.post(f"{SHOP}:verify", json=REASON | {"sample": 5})
        assert (asked.status_code, asked.json()["task"]) == (202, "verify the target shop")
        assert (await client.post(f"{SHOP}:verify", json=REASON)).status_code == 409
        number = asked.json()["number"]

        async def has_ended() -> bool:
            return not (await RequestService(shop).get(number)).is_open

        async with run_beside(Scheduler(shop).run):
            await eventually(has_ended, "the request has ended")
        done = (await client.get(f"/v1/requests/{number}")).json()
        assert (done["state"], done["detail"]) == ("done", f"{PAGES} pages, 0 not noted")
        result = done["result"]
        assert (result["pages"], result["current"], result["read"], result["samples"]) == (PAGES, PAGES, None, [])
        entries = (await shop.audit.page(limit=2)).entries
        assert [(each.action, each.via, each.actor) for each in entries] == [
            ("targets verify", "http", "tok_operator")
        ] * 2


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (f"{TARGETS}/shap", None, 404, "no target 'shap'; there are shop"),
        (f"{TARGETS}/shap:pause", REASON, 404, "no target 'shap'"),
        (f"{TARGETS}/shap:resume", REASON, 404, "no target 'shap'"),
        (f"{TARGETS}/shap:deliver", REASON | {"skus": ["A"]}, 404, "no target 'shap'"),
        (f"{TARGETS}/shap:verify", REASON, 404, "no target 'shap'"),
        (f"{SHOP}:pause", {}, 422, "reason"),
        (f"{SHOP}:pause", {"reason": " "}, 422, "must not be blank"),
        (f"{SHOP}:deliver", REASON, 422, "only one of them"),
        (f"{SHOP}:deliver", REASON | {"all": True, "skus": ["A"]}, 422, "only one of them"),
        (f"{SHOP}:deliver", REASON | {"all": True}, 422, "expect: give the number"),
        (f"{SHOP}:deliver", REASON | {"since": "2026-01-01T00:00:00", "expect": 0}, 422, "since: needs its offset"),
        (f"{SHOP}:deliver", REASON | {"skus": ["A"] * (MAX_SKUS + 1)}, 422, "skus"),
        (f"{SHOP}:verify", REASON | {"sample": 10_001}, 422, "sample"),
    ],
)
async def test_what_cannot_be_done(
    config: Config, path: str, body: dict[str, object] | None, status: int, says: str
) -> None:
    """Each has its problem, and nothing changes."""
    async with hostile_target() as target:
        settings = delivering_to(config, target)
        async with pagefold.open(settings) as shop, client_of(service_of(shop, None), "operator") as client:
            answer = await client.request("GET" if body is None else "POST", path, json=body)
            assert (answer.status_code, says in str(problem_in(answer))) == (status, True), answer.text
            assert (await shown(client))["state"] == "starting"
