"""Requests to endpoints are authorized: tokens are fetched once, replaced in time, and never shown."""

import base64
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

import anyio
import httpx2
import msgspec
import pytest
from oauthlib.oauth1 import RequestValidator, ResourceEndpoint

from pagefold import Config
from pagefold.engine.configuration.authorization_config import AuthorizationConfig, check_authorization
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.snapshots import endpoint_authorization
from pagefold.engine.snapshots.endpoint_authorization import authorization
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.small_shop import document

KEY = "sources.pim.snapshot.authorization"
SECRETS = {
    "ID": "client-7",
    "SECRET": "s3cret:client",
    "USER": "me@shop.example",
    "PASSWORD": "pass word",
    "TOKEN": "t0ken-7",
    "TOKEN_SECRET": "t0ken:secret",
}
CLIENT = {"client_id_variable": "ID", "client_secret_variable": "SECRET"}
PERSON = {"user_variable": "USER", "password_variable": "PASSWORD"}
OAUTH2 = {"token_url": "https://auth.example/token", **CLIENT}


def auth(given: Mapping[str, object], environment: Mapping[str, str] = SECRETS) -> httpx2.Auth:
    """The authorization of a table."""
    table = msgspec.convert(given, AuthorizationConfig)
    assert list(check_authorization(KEY, table)) == []
    return authorization(Config.parse(document()), table, KEY, environment)


class Servers:
    """A token server, which gives `token-1`, `token-2` …, and an endpoint that accepts the newest token only.

    `fields` has what each request for a token said, `tokens` those of the requests to the endpoint.
    """

    def __init__(self, *answers: httpx2.Response, life: object = 3600, refresh: bool = False) -> None:
        self._answers = list(answers)
        self._life = life
        self._gives_refresh_tokens = refresh
        self._given = 0
        self.fields: list[dict[str, str]] = []
        self.tokens: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """The response to a request."""
        if request.url.host == "auth.example":
            return self._token(request)
        self.tokens.append(request.headers["authorization"])
        return httpx2.Response(200 if self.tokens[-1] == f"Bearer token-{self._given}" else 401)

    def expire(self) -> None:
        """The newest token counts no more."""
        self._given += 1

    def _token(self, request: httpx2.Request) -> httpx2.Response:
        is_json = request.headers["content-type"] == "application/json"
        self.fields.append(
            msgspec.json.decode(request.content) if is_json else dict(parse_qsl(request.content.decode()))
        )
        credentials = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        assert credentials == "client-7:s3cret:client"
        if self._answers:
            return self._answers.pop(0)
        self._given += 1
        body = {"access_token": f"token-{self._given}", "token_type": "bearer", "expires_in": self._life}
        if self._gives_refresh_tokens:
            body["refresh_token"] = f"refresh-{self._given}"
        return httpx2.Response(200, json={name: value for name, value in body.items() if value is not None})

    def client(self, how: httpx2.Auth) -> httpx2.AsyncClient:
        """A client of both."""
        return httpx2.AsyncClient(auth=how, transport=httpx2.MockTransport(self))


async def test_basic() -> None:
    """User and password, whatever their characters."""
    request = httpx2.Request("GET", "https://pim.example/products")
    authorized = next(auth({"kind": "basic", **PERSON}).sync_auth_flow(request))
    assert base64.b64decode(authorized.headers["authorization"].removeprefix("Basic ")) == b"me@shop.example:pass word"


async def test_one_token_serves_many_requests() -> None:
    """Also those that begin at the same time."""
    servers = Servers()
    async with servers.client(auth({"kind": "client_credentials", "scope": "view", **OAUTH2})) as client:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.get, "https://pim.example/products")
        await client.get("https://pim.example/products")
    assert servers.fields == [{"grant_type": "client_credentials", "scope": "view"}]
    assert servers.tokens == ["Bearer token-1"] * 6


async def test_a_token_from_a_real_server() -> None:
    """Over a connection, whose bodies can be read once: another token too, after a 401; one that never ends is cut."""

    def answer(asked: Asked) -> Reply:
        if asked.path == "/token":
            body = {"access_token": f"token-{len(server.asked)}", "expires_in": 3600, "more": " " * size}
            return Reply(msgspec.json.encode(body))
        return Reply(b"[]", status=401 if asked.headers["authorization"] == "Bearer token-1" else 200)

    size = 0
    async with serving(answer) as server:
        given = {"kind": "client_credentials", **CLIENT, "token_url": f"{server.url}/token"}
        async with httpx2.AsyncClient(auth=auth(given), trust_env=False) as client:
            for _ in range(2):
                async with client.stream("GET", f"{server.url}/products") as response:
                    assert (response.status_code, await response.aread()) == (200, b"[]")
        size = endpoint_authorization.MAX_TOKEN_BYTES * 100
        async with httpx2.AsyncClient(auth=auth(given), trust_env=False) as client:
            with pytest.raises(SourceFailed, match="is not that of a token server"):
                await client.get(f"{server.url}/products")


async def test_a_token_that_is_refused_is_replaced_once() -> None:
    """A request that is answered 401 is sent again with a new token; then its 401 is the caller's."""
    servers = Servers()
    async with servers.client(auth({"kind": "client_credentials", **OAUTH2})) as client:
        await client.get("https://pim.example/products")
        servers.expire()
        response = await client.get("https://pim.example/products")
        assert (response.status_code, len(servers.fields)) == (200, 2)
        servers.__class__ = type("Refusing", (Servers,), {"__call__": _refusing})
        response = await client.get("https://pim.example/products")
    assert response.status_code == 401
    assert len(servers.fields) == 3


def _refusing(self: Servers, request: httpx2.Request) -> httpx2.Response:
    return self._token(request) if request.url.host == "auth.example" else httpx2.Response(401)


@pytest.mark.parametrize("life", [100, "100", None])
async def test_a_token_is_replaced_before_it_expires(life: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute before, or after half of a short life; five minutes if the server does not say."""
    now = 1_000.0
    monkeypatch.setattr(endpoint_authorization, "monotonic", lambda: now)
    servers = Servers(life=life)
    lasts = 50 if life is not None else 240
    async with servers.client(auth({"kind": "client_credentials", **OAUTH2})) as client:
        for passed in (0, lasts - 1, lasts + 1):
            now = 1_000.0 + passed
            await client.get("https://pim.example/products")
    assert servers.tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


async def test_a_password_and_refresh_tokens() -> None:
    """A refresh token counts once, and its successor the next time; where it is refused, the password counts again."""
    servers = Servers(refresh=True)
    async with servers.client(auth({"kind": "password", "body": "json", **OAUTH2, **PERSON})) as client:
        await client.get("https://pim.example/products")
        servers.expire()
        await client.get("https://pim.example/products")
        servers.expire()
        servers._answers.append(httpx2.Response(400, json={"error": "invalid_grant"}))  # of this test
        response = await client.get("https://pim.example/products")
    assert response.status_code == 200
    by_password = {"grant_type": "password", "username": "me@shop.example", "password": "pass word"}
    assert servers.fields == [
        by_password,
        {"grant_type": "refresh_token", "refresh_token": "refresh-1"},
        {"grant_type": "refresh_token", "refresh_token": "refresh-3"},
        by_password,
    ]


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (httpx2.Response(401, json={"error": "invalid_client"}), "it gives no token: 401, invalid_client"),
        (httpx2.Response(404, text="<html>"), "it gives no token: 404"),
        (httpx2.Response(200, text="<html>"), "its response is not that of a token server"),
        (httpx2.Response(200, json={"access_token": "x", "expires_in": "soon"}), "is not that of a token server"),
        (httpx2.Response(200, content=b" " * 10_000_000), "is not that of a token server"),
    ],
)
async def test_a_token_server_that_refuses(response: httpx2.Response, problem: str) -> None:
    """The error names the server and what it said, and no secret; the endpoint is not asked."""
    servers = Servers(response)
    async with servers.client(auth({"kind": "client_credentials", **OAUTH2})) as client:
        with pytest.raises(SourceFailed, match=problem) as caught:
            await client.get("https://pim.example/products")
    assert "https://auth.example" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS.values())
    assert servers.tokens == []


async def test_a_token_server_that_is_busy() -> None:
    """Is an error of transport, which is retried."""
    servers = Servers(httpx2.Response(503))
    async with servers.client(auth({"kind": "client_credentials", **OAUTH2})) as client:
        with pytest.raises(httpx2.TransportError, match="503"):
            await client.get("https://pim.example/products")
        assert (await client.get("https://pim.example/products")).status_code == 200


class Validator(RequestValidator):  # type: ignore[misc]  # the library has no types
    """What a server of the standard asks of its shop, which knows one client and one token."""

    def check_client_key(self, client_key: str) -> bool:
        """Any form of a key."""
        return bool(client_key)

    check_access_token = check_client_key

    def check_nonce(self, nonce: str) -> bool:
        """Any form of a nonce."""
        return bool(nonce)

    def validate_client_key(self, client_key: str, request: object) -> bool:  # noqa: ARG002  # the library's signature
        """Whether it is the client."""
        return client_key == SECRETS["ID"]

    def validate_access_token(self, client_key: str, token: str, request: object) -> bool:  # noqa: ARG002  # likewise
        """Whether it is the token."""
        return token == SECRETS["TOKEN"]

    def validate_timestamp_and_nonce(self, *_args: object, **_more: object) -> bool:
        """Each is new."""
        return True

    def validate_realms(self, *_args: object, **_more: object) -> bool:
        """There is no realm."""
        return True

    def get_client_secret(self, *_args: object) -> str:
        """The client's."""
        return SECRETS["SECRET"]

    def get_access_token_secret(self, *_args: object) -> str:
        """The token's."""
        return SECRETS["TOKEN_SECRET"]

    @property
    def allowed_signature_methods(self) -> tuple[str]:
        """The one that is used."""
        return ("HMAC-SHA256",)

    dummy_client = dummy_access_token = "nobody"  # noqa: S105  # no secret


@pytest.mark.parametrize("query", ["", "?page=1&per_page=100", f"?searchCriteria[pageSize]=5&q={quote('ä b')}"])
async def test_signatures(query: str) -> None:
    """What is signed is what a server of the standard verifies, with any query."""
    given = {"token_variable": "TOKEN", "token_secret_variable": "TOKEN_SECRET"}
    request = httpx2.Request("GET", f"https://shop.example/rest/V1/products{query}")
    signed = next(auth({"kind": "oauth1", **CLIENT, **given}).sync_auth_flow(request))
    headers = {"Authorization": signed.headers["authorization"]}
    server = ResourceEndpoint(Validator())
    valid, _ = server.validate_protected_resource_request(str(signed.url), "GET", None, headers)
    assert valid
    valid, _ = server.validate_protected_resource_request(f"{signed.url}&more=1", "GET", None, headers)
    assert not valid


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"kind": "basic", "user_variable": "USER"}, 'password_variable: is required with kind = "basic"'),
        ({"kind": "basic", **PERSON, "scope": "all"}, 'scope: has no meaning with kind = "basic"'),
        ({"kind": "client_credentials", **CLIENT}, "token_url: is required"),
        ({"kind": "client_credentials", **OAUTH2, "token_url": "auth.example"}, "token_url: is not an address"),
        ({"kind": "basic", "user_variable": "me@x", "password_variable": "P"}, "user_variable: is not the name"),
    ],
)
def test_what_the_configuration_may_not_say(given: dict[str, object], problem: str) -> None:
    """Each problem names its key."""
    problems = [str(each) for each in check_authorization(KEY, msgspec.convert(given, AuthorizationConfig))]
    assert any(f"{KEY}.{problem}" in each for each in problems), problems


def test_a_secret_that_is_not_there() -> None:
    """Its variable is named."""
    with pytest.raises(ConfigurationError, match=r"password_variable: the environment variable PASSWORD is not set"):
        auth({"kind": "basic", **PERSON}, {"USER": "me"})
