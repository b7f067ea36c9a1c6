"""How requests to a source's endpoint are authorized: user and password, OAuth 2 tokens, OAuth 1 signatures."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from time import monotonic
from urllib.parse import quote

import anyio
import httpx2
import msgspec

from pagefold.engine.configuration.authorization_config import REQUIRED, AuthorizationConfig
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceFailed

EARLY_SECONDS = 60.0
"""A token is replaced so long before it expires: clocks differ, and requests take time."""

DEFAULT_LIFE_SECONDS = 300.0
"""How long a token counts if its server does not say."""

MAX_TOKEN_BYTES = 64 * 1024

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which another attempt may succeed."""


class _Token(msgspec.Struct):
    """The response of a token server (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float | str | None = None
    refresh_token: str | None = None


class _Error(msgspec.Struct):
    """The response of a token server that refuses (RFC 6749, section 5.2)."""

    error: str


_token = msgspec.json.Decoder(_Token)
_SIGNED_AS_THEY_ARE = "%&=+:;,*@!()/?'$~"


def authorization(config: Config, given: AuthorizationConfig, key: str, environment: Mapping[str, str]) -> httpx2.Auth:
    """Authorizes requests as configured at `key`.

    Raises `ConfigurationError`, which never shows a secret, if the environment lacks one.
    """
    secrets: dict[str, str] = {}
    for name in REQUIRED[given.kind]:
        if name.endswith("_variable"):
            variable: str = getattr(given, name)
            value = environment.get(variable, "").strip()
            if not value:
                raise config.error(f"{key}.{name}", f"the environment variable {variable} is not set or empty")
            secrets[name.removesuffix("_variable")] = value
    if given.kind == "basic":
        return httpx2.BasicAuth(secrets["user"], secrets["password"])
    return OAuth1(secrets) if given.kind == "oauth1" else OAuth2(given, secrets)


class OAuth1(httpx2.Auth):
    """Signs every request (RFC 5849), by HMAC-SHA256."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        from oauthlib.oauth1 import SIGNATURE_HMAC_SHA256, Client  # noqa: PLC0415  # few endpoints need it

        self._client = Client(
            secrets["client_id"],
            client_secret=secrets["client_secret"],
            resource_owner_key=secrets["token"],
            resource_owner_secret=secrets["token_secret"],
            signature_method=SIGNATURE_HMAC_SHA256,
        )

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """The request, signed."""
        query = quote(
            request.url.query.decode(), safe=_SIGNED_AS_THEY_ARE
        )  # such as Magento's searchCriteria[pageSize]
        request.url = request.url.copy_with(query=query.encode() or None)
        _, headers, _ = self._client.sign(str(request.url), request.method)
        request.headers["authorization"] = headers["Authorization"]
        yield request


class OAuth2(httpx2.Auth):
    """Bearer tokens that a token server gives, shared by all requests to one endpoint.

    A token is fetched before the first request, again before it expires, and once more when a request is answered 401.
    The flow raises `SourceFailed` when the token server refuses.
    """

    def __init__(self, given: AuthorizationConfig, secrets: Mapping[str, str]) -> None:
        self._given = given
        self._secrets = secrets
        self._lock = anyio.Lock()
        self._token = ""
        self._refresh: str | None = None
        self._until = 0.0

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """The requests for a token, if one is needed, and the request with it."""
        refused = ""
        for _ in range(2):
            async with self._lock:  # the others wait for the token that the first of them fetches
                while self._token == refused or monotonic() >= self._until:
                    response = yield self._token_request()
                    self._take(response, await _body_of(response))
            refused = self._token
            request.headers["authorization"] = f"Bearer {refused}"
            response = yield request
            if response.status_code != httpx2.codes.UNAUTHORIZED:
                return

    def _token_request(self) -> httpx2.Request:
        """A request for a token: by the last refresh token, which counts once, or as configured."""
        given, secrets = self._given, self._secrets
        fields = {"grant_type": str(given.kind)}
        if self._refresh is not None:
            fields = {"grant_type": "refresh_token", "refresh_token": self._refresh}
        elif given.kind == "password":
            fields |= {"username": secrets["user"], "password": secrets["password"]}
        if given.scope is not None:
            fields["scope"] = given.scope
        url, headers = given.token_url or "", {"accept": "application/json"}
        if given.body == "json":
            request = httpx2.Request("POST", url, headers=headers, json=fields)
        else:
            request = httpx2.Request("POST", url, headers=headers, data=fields)
        client = httpx2.BasicAuth(secrets["client_id"], secrets["client_secret"])
        return next(client.sync_auth_flow(request))

    def _take(self, response: httpx2.Response, body: bytes) -> None:
        """Takes the token of a response. Raises `SourceFailed`, or a transport error where a retry may help."""
        by_refresh, self._refresh = self._refresh is not None, None
        if response.status_code in RETRYABLE:
            problem = f"the token server answers {response.status_code}"
            raise httpx2.ConnectError(problem, request=response.request)
        if not response.is_success:
            if by_refresh:  # it expired, or was used: the next request has the client's own secrets
                return
            raise SourceFailed(self._server, f"it gives no token: {response.status_code}{_error_in(body)}")
        try:
            token = _token.decode(body)
            seconds = DEFAULT_LIFE_SECONDS if token.expires_in is None else float(token.expires_in)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            raise SourceFailed(self._server, "its response is not that of a token server") from None
        self._token, self._refresh = token.access_token, token.refresh_token
        self._until = monotonic() + max(seconds - EARLY_SECONDS, seconds / 2)

    @property
    def _server(self) -> str:
        url = httpx2.URL(self._given.token_url or "")
        return f"{url.scheme}://{url.netloc.decode()}"


class _Limited(httpx2.AsyncByteStream):
    """A body, or its first `MAX_TOKEN_BYTES`. The client reads it again later: so it must be read by `aread`."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            yield piece
            size += len(piece)
            if size > MAX_TOKEN_BYTES:
                break

    async def aclose(self) -> None:
        """Closes the connection, or gives it back."""
        await self._stream.aclose()


async def _body_of(response: httpx2.Response) -> bytes:
    """The body, or the beginning of one that is too long for a token."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Limited(response.stream)
    return await response.aread()


def _error_in(body: bytes) -> str:
    """The error code of RFC 6749, which has no secrets."""
    try:
        code = msgspec.json.decode(body, type=_Error).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f", {code:.60}"
