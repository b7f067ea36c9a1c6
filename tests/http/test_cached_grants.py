"""Fast page reads with a token: the same answers, and none after a revocation takes effect."""

from datetime import timedelta

import pytest

from pagefold import Shop
from pagefold.engine.access.token_service import TOKEN_CACHE_SECONDS, TokenService
from pagefold.engine.http.authorization import BearerAuthenticator
from pagefold.engine.http.fast_path import FastPageReads
from pagefold.engine.http.server_context import ServerContext
from tests.http.test_connection_limits import Place, status
from tests.http.test_fast_path import CLOSE, DATE, PAGE
from tests.support.command_line import on_sqlite
from tests.support.http_clients import served
from tests.support.small_shop import SKU, catalog, say
from tests.support.token_fixtures import GUESS, Scene

LINE = PAGE.split()[1]
SECOND = timedelta(seconds=1)


def bearer(secret: str) -> tuple[bytes, bytes]:
    """The header with a secret."""
    return b"authorization", f"Bearer {secret}".encode()


def showing(secret: str, more: bytes = CLOSE) -> bytes:
    """A request for a page with that secret."""
    return PAGE + b"Authorization: Bearer %b\r\n" % secret.encode() + more


async def said(service: ServerContext, *requests: bytes) -> list[bytes]:
    """The server's answer to each, without the date."""
    async with served(service) as (host, port):
        place = Place(host, port)
        answers = [DATE.sub(b"", await place.says(each)) for each in requests]
        await place.close()
        return answers


async def test_answers_to_tokens_are_the_same_either_way(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, on either path: a valid token, one of another scope, a guess, two at once, and no credential."""
    await say(shop, catalog("a"))
    reader, _ = await shop.tokens.create(["read"])
    operator, _ = await shop.tokens.create(["operate"])
    requests = [
        showing(reader),
        showing(reader),
        showing(reader).replace(b"GET", b"HEAD"),
        showing(reader, b"if-none-match: *\r\n" + CLOSE),
        showing(reader).replace(b"Bearer", b"bEARER "),
        showing(reader).replace(b"-M ", b"-XXL "),
        showing(operator),
        showing(operator),
        showing(GUESS),
        showing(reader, b"authorization: Bearer %b\r\n" % operator.encode() + CLOSE),
        showing(reader).replace(b"Bearer", b"Basic"),
        PAGE + CLOSE,
    ]
    service = ServerContext(shop, BearerAuthenticator(None, shop.tokens))
    quick = await said(service, *requests)
    monkeypatch.setattr(FastPageReads, "answer", lambda *_: None)
    other = ServerContext(shop, BearerAuthenticator(None, shop.tokens))
    assert quick == await said(other, *requests)
    assert [status(each) for each in quick] == [200, 200, 200, 304, 200, 404, 403, 403, 401, 400, 401, 401]
    assert all(b"cache-control: private" in each for each in quick[:4])
    assert service.traffic.requests == other.traffic.requests


@on_sqlite
async def test_a_cached_token_is_answered_on_the_fast_path(shop: Shop) -> None:
    """A cached token is answered on the fast path; none, another scope or a guess is not."""
    await say(shop, catalog("a"))
    reader, _ = await shop.tokens.create(["read"])
    operator, _ = await shop.tokens.create(["operate"])
    fast = FastPageReads(ServerContext(shop, BearerAuthenticator(None, shop.tokens)))
    assert fast.answer(b"GET", LINE, [bearer(reader)]) is None
    assert await shop.tokens.verify(reader) is not None
    assert await shop.tokens.verify(operator) is not None
    page = await shop.pages.get_json(SKU, "web-de")
    for _ in range(2):
        answer = fast.answer(b"GET", LINE, [bearer(reader)])
        assert answer is not None
        assert answer[1] == page
    for headers in ([], [bearer(operator)], [bearer(GUESS)], [bearer(reader), bearer(operator)]):
        assert fast.answer(b"GET", LINE, headers) is None


def standing(tokens: TokenService, secret: str) -> bool:
    """Whether the token gets a fast read."""
    grant = tokens.cached_grant(secret)
    return grant is not None and "read" in grant.scopes


async def test_a_revoked_token_is_refused_within_the_bound(shop: Shop) -> None:
    """Another process revokes it: after `TOKEN_CACHE_SECONDS` at the latest, it is refused on either path."""
    await say(shop, catalog("a"))
    scene = Scene(shop.store, shop.config)
    secret, token = await scene.service.create(["read"])
    service = ServerContext(shop, BearerAuthenticator(None, scene.service))
    async with served(service) as (host, port):
        place = Place(host, port)
        assert status(await place.says(showing(secret))) == 200
        assert standing(scene.service, secret)
        await scene.another().revoke(token.name)
        statuses: list[int] = []
        while scene.seconds < TOKEN_CACHE_SECONDS:
            statuses.append(status(await place.says(showing(secret))))
            scene.seconds += TOKEN_CACHE_SECONDS / 50
        assert set(statuses) == {200, 401}
        assert statuses == sorted(statuses)
        scene.seconds = TOKEN_CACHE_SECONDS
        assert status(await place.says(showing(secret))) == 401
        await place.close()
    assert not standing(scene.service, secret)


async def test_a_cached_grant_expires_while_the_store_is_away(shop: Shop) -> None:
    """While the store is away, a cached grant lasts for its time and no longer; only the clock is read."""
    scene = Scene(shop.store, shop.config)
    secret, _ = await scene.service.create(["read"])
    assert await scene.service.verify(secret) is not None
    scene.watched.away = True
    asked = scene.watched.asked
    scene.seconds = TOKEN_CACHE_SECONDS / 2 - 0.01
    assert standing(scene.service, secret)
    scene.seconds = TOKEN_CACHE_SECONDS
    assert not standing(scene.service, secret)
    assert scene.watched.asked == asked


async def test_an_expiry_takes_effect_immediately(shop: Shop) -> None:
    """However recently it was looked up; a token that this service revokes is removed from the cache."""
    scene = Scene(shop.store, shop.config)
    secret, token = await scene.service.create(["read"], expires_in=SECOND)
    other, kept = await scene.service.create(["read"])
    for each in (secret, other):
        assert await scene.service.verify(each) is not None
        assert standing(scene.service, each)
    scene.seconds = 1.0
    assert token.expires_at is not None
    assert not standing(scene.service, secret)
    assert standing(scene.service, other)
    await scene.service.revoke(kept.name)
    assert not standing(scene.service, other)
