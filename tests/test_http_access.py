"""Who may do what over HTTP: every route with every token, and what may be done without one."""

import pytest
from starlette.responses import Response

from engine import Shop
from engine.errors import ConfigurationError
from engine.grants import SCOPES, Grant
from engine.http.access import EVERYTHING, READS, Access, admitted, anonymous_grant, check_source, is_loopback
from engine.http.problems import Problem
from engine.http.routes import Call, Route
from engine.http.table import ROUTES
from tests.command_line import on_sqlite
from tests.http_clients import SECRETS, Tokens, client_of, problem_in, service_of
from tests.shops import configured


def address(route: Route) -> str:
    """The route's path, with something in every place."""
    return route.path.replace("{channel}", "web-de").replace("{sku}", "A").replace("{", "").replace("}", "")


@on_sqlite
@pytest.mark.parametrize("secret", [None, "wrong", *SECRETS])
async def test_every_route_asks_for_its_scope(shop: Shop, secret: str | None) -> None:
    """401 for nobody that is known, 403 for a token without the scope; with it, or where none is needed, an answer."""
    async with client_of(service_of(shop, None), secret) as client:
        for route in ROUTES:
            answer = await client.request(route.method, address(route))
            grant = SECRETS.get(secret or "")
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
    """Where reads are open, everybody reads pages; lists, histories and numbers still need a token."""
    async with client_of(service_of(shop, READS, reads_open=True)) as client:
        for route in ROUTES:
            status = (await client.request(route.method, address(route))).status_code
            is_open = route.scope is None or (route.scope == "read" and not route.private)
            assert (status != 401) is is_open, route


@on_sqlite
async def test_a_wrong_token_is_worth_less_than_none(shop: Shop) -> None:
    """Where everybody may do everything, one who shows a token that is none is told so."""
    async with client_of(service_of(shop, EVERYTHING), "wrong") as client:
        assert (await client.get("/v1/pages/web-de")).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", b"Basic reader", b"bearer\treader", b"Bearer \xff", b"Bearer " + b"a" * 600],
)
async def test_what_is_no_credential_lets_nobody_in(authorization: bytes) -> None:
    """Another scheme, no secret, no text, too long: nobody that is known."""
    assert await Access(EVERYTHING, Tokens()).grant(authorization) is None


@pytest.mark.parametrize("authorization", [b"Bearer reader", b"bearer reader", b"BEARER  reader "])
async def test_a_bearer_token_is_known(authorization: bytes) -> None:
    """The scheme's name has no case."""
    assert await Access(None, Tokens()).grant(authorization) == SECRETS["reader"]


async def test_scopes_are_no_ranks() -> None:
    """A token that may operate may not read for that."""
    with pytest.raises(Problem) as caught:
        await admitted(Access(None, Tokens()), b"Bearer operator", "read")
    assert caught.value.status == 403


@pytest.mark.parametrize(("source", "fine"), [("erp", True), ("pim", False), ("*", False), ("", False)])
def test_a_source_is_written_by_its_token(source: str, *, fine: bool) -> None:
    """A grant that is bound to a source is for that one; one that is not, for every source."""
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
def test_what_may_be_done_without_a_token(host: str, reads: str, *, has_tokens: bool, expected: Grant | None) -> None:
    """Everything on this machine as long as there are no tokens; after that, and elsewhere, what is left open."""
    settings = configured("sqlite:///nowhere", http={"reads": reads}).http
    assert anonymous_grant(settings, host, has_tokens=has_tokens) == expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "shop.example"])  # noqa: S104  # they are only named
def test_nothing_is_open_to_the_world_by_accident(host: str) -> None:
    """Without tokens, the server does not listen where others reach it, and says what would be right."""
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="pagefold tokens create"):
        anonymous_grant(configured("sqlite:///nowhere").http, host, has_tokens=False)


@on_sqlite
async def test_a_handler_knows_who_asks(shop: Shop) -> None:
    """The grant is the handler's to look at: that of the token, or that of everybody."""
    asked: list[Grant] = []

    async def handler(call: Call) -> Response:
        asked.append(call.grant)
        return Response()

    routes = [Route("GET", "/x", handler, "x", "x", scope=scope) for scope in SCOPES[:1]]
    service = service_of(shop, None)
    async with client_of(service, "reader", routes) as client:
        await client.get("/x")
    assert asked == [SECRETS["reader"]]
