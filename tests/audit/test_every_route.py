"""Every route that changes something leaves an entry: tables have the routes of the server and of the dashboard."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from pagefold import Config, Shop
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.stores.audit_records import AuditFilter
from tests.support.command_line import on_sqlite
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import catalog, configured, price

SOURCE = "what sources send: the log has it"
READS = "reads"
Body: TypeAlias = Mapping[str, object]

HTTP: Mapping[str, str] = {
    "/v1/pages:batchGet": READS,
    **dict.fromkeys(("/v1/events", "/v1/webhooks/{source}", "/v1/cdc/{source}"), SOURCE),
    "/v1/dead-letters:retry": "dead-letters retry",
    "/v1/dead-letters:discard": "dead-letters discard",
    "/v1/dead-letters/{id}:retry": "dead-letters retry",
    "/v1/dead-letters/{id}:correct": "dead-letters correct",
    "/v1/dead-letters/{id}:discard": "dead-letters discard",
    "/v1/epochs": "epochs raise",
    "/v1/epochs:dismiss": "epochs dismiss",
    "/v1/sagas/{saga}/pages/{channel}/{sku}:resume": "sagas resume",
    "/v1/sagas/{saga}/pages/{channel}/{sku}:compensate": "sagas compensate",
    "/v1/sagas/{saga}/pages/{channel}/{sku}:settle": "sagas settle",
    "/v1/releases": "releases create",
    "/v1/releases/{name}:publish": "releases publish",
    "/v1/releases/{name}:schedule": "releases schedule",
    "/v1/releases/{name}:rollback": "releases rollback",
    "/v1/requests:rebuild": "requests rebuild",
    "/v1/requests:verify": "requests verify",
    "/v1/requests:sync": "requests sync",
    "/v1/requests/{number}:start": "requests rebuild",
    "/v1/requests/{number}:cancel": "requests cancel",
    "/v1/targets/{name}:pause": "targets pause",
    "/v1/targets/{name}:resume": "targets resume",
    "/v1/targets/{name}:deliver": "targets deliver",
    "/v1/targets/{name}:verify": "targets verify",
}
"""Each route that is no GET: the action of its entry, or why it has none."""

ON_SCREENS: Mapping[str, str] = {
    "/ui/dead-letters:retry": "dead-letters retry",
    "/ui/dead-letters:discard": "dead-letters discard",
    "/ui/dead-letters/{id}:correct": "dead-letters correct",
    "/ui/dead-letters/{id}:retry": "dead-letters retry",
    "/ui/dead-letters/{id}:discard": "dead-letters discard",
    "/ui/runs/{run}:approve": "rebuilds approve",
    "/ui/runs/{run}:refuse": "rebuilds refuse",
    "/ui/requests:rebuild": "requests rebuild",
    "/ui/requests:verify": "requests verify",
    "/ui/requests:sync": "requests sync",
    "/ui/requests/{number}:start": "requests rebuild",
    "/ui/requests/{number}:cancel": "requests cancel",
    "/ui/plans:make": "plan --keep",
    "/ui/plans/{plan}:apply": "apply",
    "/ui/plans/{plan}:refuse": "plans refuse",
    "/ui/contracts:acknowledge": "contracts fields --acknowledge",
    "/ui/releases:create": "releases create",
    "/ui/releases/{release}:publish": "releases publish",
    "/ui/releases/{release}:roll-back": "releases rollback",
    "/ui/releases/{release}:schedule": "releases schedule",
    "/ui/targets/{target}:pause": "targets pause",
    "/ui/targets/{target}:resume": "targets resume",
    "/ui/targets/{target}:deliver": "targets deliver",
    "/ui/targets/{target}:verify": "targets verify",
    "/ui/sign-in": "sign-in",
    "/ui/sign-out": "sign-out",
}
"""Each form of the dashboard, and the action of its entry."""

WHY: Body = {"reason": "a test"}
PLAYED: tuple[tuple[str, str, Body], ...] = (
    ("/v1/dead-letters/{id}:retry", "/v1/dead-letters/ingest-1:retry", {}),
    ("/v1/dead-letters/{id}:discard", "/v1/dead-letters/ingest-1:discard", WHY),
    ("/v1/dead-letters/{id}:correct", "/v1/dead-letters/ingest-2:correct", {**WHY, "payload": None}),
    ("/v1/dead-letters:retry", "/v1/dead-letters:retry", {"all": True}),
    ("/v1/dead-letters:discard", "/v1/dead-letters:discard", {**WHY, "all": True, "expect": 99}),
    ("/v1/epochs", "/v1/epochs", {**WHY, "scope": "erp"}),
    ("/v1/epochs:dismiss", "/v1/epochs:dismiss", {**WHY, "source": "erp"}),
    ("/v1/releases", "/v1/releases", {**WHY, "name": "summer"}),
    ("/v1/releases/{name}:schedule", "/v1/releases/summer:schedule", {**WHY, "publishAt": "2036-01-01T00:00:00Z"}),
    ("/v1/releases/{name}:publish", "/v1/releases/summer:publish", WHY),
    ("/v1/releases/{name}:rollback", "/v1/releases/summer:rollback", WHY),
    ("/v1/sagas/{saga}/pages/{channel}/{sku}:resume", "/v1/sagas/a/pages/de/MUG:resume", WHY),
    ("/v1/sagas/{saga}/pages/{channel}/{sku}:compensate", "/v1/sagas/a/pages/de/MUG:compensate", WHY),
    ("/v1/sagas/{saga}/pages/{channel}/{sku}:settle", "/v1/sagas/a/pages/de/MUG:settle", {**WHY, "taken": True}),
    ("/v1/requests:verify", "/v1/requests:verify", {**WHY, "sample": 5}),
    ("/v1/requests/{number}:cancel", "/v1/requests/1:cancel", WHY),
    ("/v1/targets/{name}:pause", "/v1/targets/export:pause", WHY),
    ("/v1/targets/{name}:resume", "/v1/targets/export:resume", WHY),
    ("/v1/targets/{name}:deliver", "/v1/targets/export:deliver", {**WHY, "all": True, "expect": 7}),
    ("/v1/targets/{name}:verify", "/v1/targets/export:verify", WHY),
)
"""What is sent, one after the other. Requests that need a snapshot or a held sync: tests/requests/."""


def test_every_route_is_in_the_tables() -> None:
    """One that is not fails here."""
    assert {route.path for route in ROUTES if route.method != "GET"} == HTTP.keys()
    forms = {route.path for screen in SCREENS for route in screen.routes if route.method != "GET"}
    assert forms == ON_SCREENS.keys()


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, with a target."""
    return configured(store_url, targets={"export": {"files": {"folder": str(tmp_path)}}})


@on_sqlite
async def test_routes_leave_entries(shop: Shop) -> None:
    """With the token, and what it may be called again by; a decision that is refused has one, too."""
    await shop.append([catalog("shirt"), *(price(f"{amount}.00") for amount in range(1, 6))])
    assert {template for template, _, _ in PLAYED} >= {
        path for path, action in HTTP.items() if action not in {SOURCE, READS} and not action.startswith("requests")
    }
    async with client_of(service_of(shop)) as client:
        for template, path, body in PLAYED:
            before = await newest(shop)
            answer = await client.post(path, json=body)
            found = await newest(shop)
            assert found != before, f"{path} has no entry: {answer.status_code} {answer.text}"
            [entry] = (await shop.audit.page(limit=1)).entries
            assert (entry.action, entry.via) == (HTTP[template], "http"), path
            assert entry.command == f"POST {path}"


async def newest(shop: Shop) -> int:
    """The number of the newest entry."""
    entries = (await shop.audit.page(AuditFilter(), limit=1)).entries
    return entries[0].number if entries else 0
