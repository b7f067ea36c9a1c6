"""Authorization over HTTP: every route with every token, and what is allowed without one."""

import anyio
import pytest
from starlette.responses import Response

import pagefold
from pagefold import Config, Shop
from pagefold.engine.command.serve import make_context, restrict_once_tokens_exist
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.http.authorization import (
    EVERYTHING,
    READS,
    BearerAuthenticator,
    anonymous_grant,
    authorize,
    check_source,
    is_loopback,
)
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.routing import Call, Route
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.grants import SCOPES, Grant
from pagefold.engine.stores.store import Store
from tests.support.command_line import on_sqlite
from tests.support.http_clients import SECRETS, Tokens, client_of, problem_in, service_of
from tests.support.small_shop import SKU, catalog, configured, say
from tests.support.token_fixtures import Watched


def address(route: Route, source: str = "erp") -> str:
    """The route's path with all parameters filled in."""
    return (
        route.path.replace("{channel}", "web-de")
        .replace("{source}", source)
        .replace("{sku}", "A")
        .replace("{id}", "ingest-1")
        .replace("{", "")
        .replace("}", "")
    )


@on_sqlite
@pytest.mark.parametrize("secret", [None, "wrong", *SECRETS])
async def test_every_route_asks_for_its_scope(shop: Shop, secret: str | None) -> None:
    """401 for an unknown caller, 403 for a token without the scope; otherwise an answer."""
    async with client_of(service_of(shop, None), secret) as client:
        for route in ROUTES:
            grant = SECRETS.get(secret or "")
            own = grant.source if grant is not None else None
            answer = await client.request(route.method, address(route, own or "erp"))
            if route.scope is None or (grant is not None and route.scope in grant.scopes):
                assert answer.status_code not in (401, 403), route
            elif grant is None:
                assert problem_in(answer)["status"] == 401, route
                assert answer.headers["www-authenticate"].startswith('Bearer realm="pagefold"')
                assert ("invalid_token" in answer.headers["www-authenticate"]) is (secret is not None)
            else:
                assert problem_in(answer)["status"] == 403, route
                assert f'scope="{route.scope}"' in answer.headers["www-authenticate"]


@on_sqlite
async def test_open_reads_are_pages_alone(shop: Shop) -> None:
    """If reads are open, pages are; lists, histories and metrics still need a token."""
    async with client_of(service_of(shop, READS, reads_open=True)) as client:
        for route in ROUTES:
            status = (await client.request(route.method, address(route))).status_code
            is_open = route.scope is None or (route.scope == "read" and not route.private)
            assert (status != 401) is is_open, route


@on_sqlite
async def test_an_invalid_token_is_not_anonymous(shop: Shop) -> None:
    """Also where everything is allowed without a token, an invalid one is refused."""
    async with client_of(service_of(shop, EVERYTHING), "wrong") as client:
        assert (await client.get("/v1/pages/web-de")).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", b"Basic reader", b"bearer\treader", b"Bearer \xff", b"Bearer " + b"a" * 600],
)
async def test_an_invalid_credential_is_refused(authorization: bytes) -> None:
    """Another scheme, no secret, not ASCII, or too long: 401."""
    assert await BearerAuthenticator(EVERYTHING, Tokens()).grant(authorization) is None


@pytest.mark.parametrize("authorization", [b"Bearer reader", b"bearer reader", b"BEARER  reader "])
async def test_the_scheme_has_no_case(authorization: bytes) -> None:
    """The scheme's name is case-insensitive."""
    assert await BearerAuthenticator(None, Tokens()).grant(authorization) == SECRETS["reader"]


async def test_scopes_are_no_ranks() -> None:
    """A token with the scope `operate` may not read."""
    with pytest.raises(Problem) as caught:
        await authorize(BearerAuthenticator(None, Tokens()), b"Bearer operator", "read")
    assert caught.value.status == 403


@pytest.mark.parametrize(("source", "fine"), [("erp", True), ("pim", False), ("*", False), ("", False)])
def test_a_source_is_written_by_its_token(source: str, *, fine: bool) -> None:
    """A grant bound to a source is for that source; an unbound one is for every source."""
    check_source(EVERYTHING, source)
    if fine:
        check_source(SECRETS["erp"], source)
        return
    with pytest.raises(Problem) as caught:
        check_source(SECRETS["erp"], source)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("host", "reads", "has_tokens", "expected"),
    [
        ("127.0.0.1", "token", False, EVERYTHING),
        ("::1", "token", False, EVERYTHING),
        ("localhost", "open", False, EVERYTHING),
        ("127.0.0.1", "token", True, None),
        ("127.0.0.1", "open", True, READS),
        ("0.0.0.0", "token", True, None),  # noqa: S104  # it is only named
        ("10.0.0.1", "open", True, READS),
        ("10.0.0.1", "open", False, READS),
    ],
)
def test_access_without_a_token(host: str, reads: str, *, has_tokens: bool, expected: Grant | None) -> None:
    """Everything on this machine while there are no tokens; later, and elsewhere, what is left open."""
    settings = configured("sqlite:///nowhere", http={"reads": reads}).http
    assert anonymous_grant(settings, host, has_tokens=has_tokens) == expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "shop.example"])  # noqa: S104  # they are only named
def test_nothing_is_open_to_the_world_by_accident(host: str) -> None:
    """Without tokens, the server does not listen on public addresses, and the error says what to do."""
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="pagefold tokens create"):
        anonymous_grant(configured("sqlite:///nowhere").http, host, has_tokens=False)


@on_sqlite
async def test_a_handler_gets_the_grant(shop: Shop) -> None:
    """The handler gets the token's grant, or the anonymous one."""
    asked: list[Grant] = []

    async def handler(call: Call) -> Response:
        asked.append(call.grant)
        return Response()

    routes = [Route("GET", "/x", handler, "x", "x", scope=scope) for scope in SCOPES[:1]]
    service = service_of(shop, None)
    async with client_of(service, "reader", routes) as client:
        await client.get("/x")
    assert asked == [SECRETS["reader"]]


# --- tokens of the store --------------------------------------------------------------------------


async def test_tokens_of_the_store_are_accepted(shop: Shop) -> None:
    """A token grants its scopes, and nothing once it is revoked here."""
    secret, token = await shop.tokens.create(["operate"])
    service = ServerContext(shop, BearerAuthenticator(None, shop.tokens))
    async with client_of(service, secret) as client:
        assert (await client.get("/v1/dead-letters")).status_code == 200
        assert (await client.get("/v1/pages/web-de/A")).status_code == 403
        await shop.tokens.revoke(token.name)
        assert (await client.get("/v1/dead-letters")).status_code == 401


async def test_an_unavailable_store_is_no_invalid_token(store: Store, config: Config) -> None:
    """If a token cannot be looked up, the answer is 503, not 401."""
    watched = Watched(store.tokens)
    store.tokens = watched
    shop = Shop(store, config)
    secret, _ = await shop.tokens.create(["operate"])
    watched.away = True
    async with client_of(ServerContext(shop, BearerAuthenticator(None, shop.tokens)), secret) as client:
        answer = await client.get("/v1/dead-letters")
    assert problem_in(answer)["status"] == 503
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("reads", ["open", "token"])
async def test_the_first_token_closes_an_open_server(
    store_url: str, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """While the server runs, callers without a token lose all but the open reads; caches are notified, too."""
    monkeypatch.setattr("pagefold.engine.command.serve.TOKEN_POLL_SECONDS", 0.01)
    async with pagefold.open(configured(store_url, http={"reads": reads})) as shop:
        await say(shop, catalog("a"))
        service = await make_context(shop, "127.0.0.1")
        page = f"/v1/pages/web-de/{SKU}"
        async with client_of(service) as client, run_beside(lambda: restrict_once_tokens_exist(service, "127.0.0.1")):
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get(page)).headers["cache-control"].startswith("public")
            secret, token = await shop.tokens.create(["read"])
            with anyio.fail_after(10):
                while (await client.get("/metrics")).status_code != 401:  # noqa: ASYNC110  # it is seen from outside
                    await anyio.sleep(0.01)
            assert (await client.get(page)).status_code == (200 if reads == "open" else 401)
            held = await client.get(page, headers={"authorization": f"Bearer {secret}"})
            assert held.headers["cache-control"].startswith("public" if reads == "open" else "private")
            await shop.tokens.revoke(token.name)
            await anyio.sleep(0.05)
            assert (await client.get("/metrics")).status_code == 401
        assert (await make_context(shop, "127.0.0.1")).access.anonymous is not EVERYTHING


async def test_a_server_with_tokens_asks_for_one_from_the_start(shop: Shop) -> None:
    """It may listen on other addresses; when the last token is revoked, it does not open again."""
    with pytest.raises(ConfigurationError, match="pagefold tokens create"):
        await make_context(shop, "10.0.0.1")
    _, token = await shop.tokens.create(["read"])
    for _ in range(2):
        for host in ("127.0.0.1", "10.0.0.1"):
            assert (await make_context(shop, host)).access.anonymous is None
        await shop.tokens.revoke(token.name)
