"""Every route with every scope and source: a table has the expected statuses, and a new route needs a line in it."""

import itertools
import json
from typing import NamedTuple, TypeAlias

import httpx2

import pagefold
from pagefold.engine.http.authorization import BearerAuthenticator
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.stores.grants import SCOPES, Grant, Scope
from tests.support.command_line import event, on_sqlite
from tests.support.http_clients import client_of
from tests.support.small_shop import Document, configured

Operation: TypeAlias = tuple[str, str]

SOURCES = ("erp", "pim", None)
MATRIX: dict[Operation, Scope | None] = {
    ("GET", "/v1/pages/{channel}/{sku}"): "read",
    ("GET", "/v1/pages/{channel}"): "read",
    ("POST", "/v1/pages:batchGet"): "read",
    ("GET", "/v1/pages/{channel}/{sku}/why"): "read",
    ("GET", "/v1/skus/{sku}/history"): "read",
    ("GET", "/v1/skus/{sku}/diff"): "read",
    ("GET", "/v1/changes"): "read",
    ("POST", "/v1/events"): "ingest",
    ("POST", "/v1/webhooks/{source}"): None,
    ("POST", "/v1/cdc/{source}"): "ingest",
    ("GET", "/v1/dead-letters"): "operate",
    ("GET", "/v1/audit"): "operate",
    ("GET", "/v1/dead-letters:causes"): "operate",
    ("POST", "/v1/dead-letters:retry"): "operate",
    ("POST", "/v1/dead-letters:discard"): "operate",
    ("POST", "/v1/dead-letters/{id}:retry"): "operate",
    ("POST", "/v1/dead-letters/{id}:correct"): "operate",
    ("POST", "/v1/dead-letters/{id}:discard"): "operate",
    ("GET", "/v1/dead-letters/{id}"): "operate",
    ("GET", "/v1/epochs"): "operate",
    ("POST", "/v1/epochs"): "operate",
    ("POST", "/v1/epochs:dismiss"): "operate",
    ("GET", "/v1/releases"): "operate",
    ("POST", "/v1/releases"): "operate",
    ("GET", "/v1/releases/{name}"): "operate",
    ("GET", "/v1/releases/{name}/diff"): "operate",
    ("GET", "/v1/releases/{name}/pages/{channel}/{sku}"): "operate",
    ("POST", "/v1/releases/{name}:publish"): "operate",
    ("POST", "/v1/releases/{name}:schedule"): "operate",
    ("POST", "/v1/releases/{name}:rollback"): "operate",
    ("GET", "/v1/sagas"): "operate",
    ("GET", "/v1/sagas/{saga}/pages"): "operate",
    ("GET", "/v1/sagas/{saga}/pages/{channel}/{sku}"): "operate",
    ("POST", "/v1/sagas/{saga}/pages/{channel}/{sku}:resume"): "operate",
    ("POST", "/v1/sagas/{saga}/pages/{channel}/{sku}:compensate"): "operate",
    ("POST", "/v1/sagas/{saga}/pages/{channel}/{sku}:settle"): "operate",
    ("POST", "/v1/requests:rebuild"): "operate",
    ("POST", "/v1/requests:verify"): "operate",
    ("POST", "/v1/requests:sync"): "operate",
    ("POST", "/v1/requests/{number}:start"): "operate",
    ("POST", "/v1/requests/{number}:cancel"): "operate",
    ("GET", "/v1/requests/{number}"): "operate",
    ("GET", "/v1/targets"): "operate",
    ("GET", "/v1/targets/{name}"): "operate",
    ("POST", "/v1/targets/{name}:pause"): "operate",
    ("POST", "/v1/targets/{name}:resume"): "operate",
    ("POST", "/v1/targets/{name}:deliver"): "operate",
    ("POST", "/v1/targets/{name}:verify"): "operate",
    ("GET", "/v1/skus/{sku}/receipts"): "operate",
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/readyz/reads"): None,
    ("GET", "/readyz/ingest"): None,
    ("GET", "/v1/channels/{channel}/completeness"): "read",
    ("GET", "/v1/status"): "operate",
    ("GET", "/metrics"): "operate",
    ("GET", "/openapi.json"): None,
}
"""The scope that each operation needs, written down a second time."""

OF_A_SOURCE: dict[Operation, object] = {("POST", "/v1/events"): event(), ("POST", "/v1/cdc/{source}"): {}}
"""Operations that write for a source, here for erp: no other source's token may."""

PARAMETERS = {"channel": "web", "sku": "A", "source": "erp", "id": "ingest-1", "number": "1", "name": "x"}
"""What is filled into paths."""

SIGNED = ("POST", "/v1/webhooks/{source}")
"""Operations that a signature authorizes, and no token."""


class Known(NamedTuple):
    """A token service where every secret has the same grant."""

    granted: Grant | None

    async def verify(self, _secret: str) -> Grant | None:
        """The grant, whatever the secret."""
        return self.granted

    def cached_grant(self, _secret: str) -> Grant | None:
        """The same, from the cache."""
        return self.granted


def expected(operation: Operation, grant: Grant | None) -> int | None:
    """401 or 403, or None if the caller is authorized."""
    scope = MATRIX[operation]
    if operation == SIGNED:
        return 401
    if scope is None:
        return None
    if grant is None:
        return 401
    is_anothers = operation in OF_A_SOURCE and grant.source not in (None, "erp")
    return 403 if scope not in grant.scopes or is_anothers else None


def sources() -> Document:
    """The shop's sources, of which erp sends in every format."""
    says = {"sku": "sku", "sourceVersion": "v", "pricing": {"amount": "price", "currency": {"constant": "EUR"}}}
    hook = {"secret_variables": ["S"], "scheme": "hmac-sha256", "header": "X-S"}
    return {
        "erp": {"domains": ["pricing"], "contract": says, "webhook": hook, "cdc": {}},
        "pim": {"domains": ["catalog"]},
    }


def test_every_route_is_in_the_table() -> None:
    """A route that is not in the table fails here."""
    assert {(route.method, route.path): route.scope for route in ROUTES} == MATRIX


GRANTS = [
    None,
    *(
        Grant("tok", frozenset(scopes), source)
        for size in range(len(SCOPES) + 1)
        for scopes in itertools.combinations(SCOPES, size)
        for source in SOURCES
    ),
]


async def asked(client: httpx2.AsyncClient, operation: Operation) -> int:
    """The status of a request with every parameter filled in."""
    method, path = operation
    for name, value in {
        "channel": "web",
        "sku": "A",
        "source": "erp",
        "id": "ingest-1",
        "number": "1",
        "name": "x",
    }.items():
        path = path.replace("{" + name + "}", value)
    body = json.dumps(OF_A_SOURCE.get(operation, {})) if method == "POST" else None
    return (await client.request(method, path, content=body, headers={"content-type": "application/json"})).status_code


@on_sqlite
async def test_every_route_scope_and_source(store_url: str) -> None:
    """With every set of scopes, bound to either source or to none, and without a token."""
    channels = {"web": {"locale": "de-DE", "currency": "EUR"}}
    async with pagefold.open(configured(store_url, sources=sources(), channels=channels)) as shop:
        for grant in GRANTS:
            service = ServerContext(shop, BearerAuthenticator(None, Known(grant)), environment={"S": "s"})
            async with client_of(service, None if grant is None else "known") as client:
                for operation in MATRIX:
                    status = await asked(client, operation)
                    wanted = expected(operation, grant)
                    assert status < 500, (operation, grant, status)
                    assert (status if status in (401, 403) else None) == wanted, (operation, grant, status)
