"""Who may see the dashboard, and protection of its forms."""

import re
from datetime import timedelta

import httpx2
import pytest

from pagefold import Shop
from pagefold.engine.access.session_service import SessionService
from pagefold.engine.access.token_service import TokenService
from pagefold.engine.dashboard.addresses import safe_next
from pagefold.engine.dashboard.visitors import COOKIE, csrf_token
from pagefold.engine.http.authorization import READS
from pagefold.engine.stores.grants import Scope
from tests.support.dashboard_pages import FORM, SAME_ORIGIN, Browser, browser_of, hidden_fields


async def token(shop: Shop, *scopes: Scope, label: str = "ada") -> str:
    """The secret of a new token."""
    secret, _ = await shop.tokens.create(scopes, "erp" if "ingest" in scopes else None, label=label)
    return secret


async def signed_in(browser: Browser, secret: str) -> httpx2.Response:
    """Signs in, and returns the overview."""
    answer = await browser.sign_in(secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
    return await browser.get("/ui")


async def test_a_token_signs_in_and_out(shop: Shop) -> None:
    """The page says who it is and what they may do; signing out ends the session in the store, too."""
    async with browser_of(shop, None) as browser:
        first = await browser.get("/ui/pages/web-de/A%2F1?format=html")
        assert shop.store.name not in (await browser.get("/ui/sign-in")).text
        assert first.status_code == 303
        assert first.headers["location"] == "/ui/sign-in?next=%2Fui%2Fpages%2Fweb-de%2FA%252F1%3Fformat%3Dhtml"
        page = await signed_in(browser, await token(shop, "operate"))
        assert "ada · operate" in page.text
        cookie = browser.cookies[COOKIE]
        answer = await browser.decide("/ui/sign-out", "/ui/sign-out", {})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
        assert COOKIE not in browser.cookies
        again = await browser.get("/ui", headers={"cookie": f"{COOKIE}={cookie}"})
        assert again.status_code == 303


async def test_signing_in_continues_where_it_began(shop: Shop) -> None:
    """The form carries the address; one of another site leads to the overview."""
    secret = await token(shop, "read")
    async with browser_of(shop, None) as browser:
        wanted = "/ui/search?q=a%26b"
        answer = await browser.decide(f"/ui/sign-in?next={wanted}", "/ui/sign-in", {"token": f" {secret}\n"})
        assert answer.headers["location"] == "/ui/search?q=a&b"
    for address in (
        "//evil.example",
        "https://evil.example",
        "/ui//x\\",
        "/uix",
        "/ui/\r\nx: y",
        "",
        "/ui/" + "x" * 2_000,
    ):
        assert safe_next(address) == "/ui"


async def test_the_cookie_is_out_of_reach(shop: Shop) -> None:
    """Scripts, other sites and, behind TLS, plain connections never see it; a new session has a new one."""
    secret = await token(shop, "read")
    async with browser_of(shop, None) as browser:
        before = (await browser.get("/ui/sign-in")).headers["set-cookie"]
        planted = browser.cookies[COOKIE]
        answer = await browser.sign_in(secret)
        cookie = answer.headers["set-cookie"]
        for each in (before, cookie):
            assert {"HttpOnly", "SameSite=Strict", "Path=/ui"} <= set(each.split("; "))
        assert browser.cookies[COOKIE] != planted
        assert "Secure" not in cookie
        hidden = hidden_fields((await browser.get("/ui/sign-out")).text, "/ui/sign-out")
        encrypted = {"origin": "https://localhost", "sec-fetch-site": "same-origin"}
        gone = await browser.post("/ui/sign-out", data=hidden, headers=encrypted)
        assert "Secure" in gone.headers["set-cookie"].split("; ")


async def test_a_session_lasts_as_long_as_its_token(shop: Shop) -> None:
    """A revoked token ends its sessions within the seconds of the cache; scopes count at each request."""
    clock = ["2026-01-01T00:00:00.000000Z"]
    ticks = [0.0]
    tokens = TokenService(shop.store, shop.config, now=lambda: clock[0], ticks=lambda: ticks[0])
    sessions = SessionService(shop.store, tokens, now=lambda: clock[0])
    secret, made = await tokens.create(["read"], expires_in=timedelta(hours=1))
    begun = await sessions.begin(secret)
    assert begun is not None
    assert await sessions.token_of(begun[0]) == made
    assert await sessions.token_of("x" * 43) is None
    assert await sessions.token_of("x") is None
    clock[0] = "2026-01-01T01:00:00.000000Z"
    assert await sessions.token_of(begun[0]) is None
    assert await sessions.begin(secret) is None
    lasting, made = await tokens.create(["read"])
    begun = await sessions.begin(lasting)
    assert begun is not None
    clock[0] = "2026-01-01T08:59:59.999999Z"
    assert await sessions.token_of(begun[0]) == made
    clock[0] = "2026-01-01T09:00:00.000000Z"
    assert await sessions.token_of(begun[0]) is None
    begun = await sessions.begin(lasting)
    assert begun is not None
    await tokens.revoke(made.name)
    assert await sessions.token_of(begun[0]) is None


@pytest.mark.parametrize("scope", ["ingest", "unknown", "revoked", "short"])
async def test_other_tokens_do_not_sign_in(shop: Shop, scope: str) -> None:
    """The page says why: unknown, revoked, or without the scope."""
    if scope == "ingest":
        secret, problem = await token(shop, "ingest"), "neither the scope read nor operate"
    elif scope == "revoked":
        secret, problem = await token(shop, "operate"), "This token was revoked at"
        await shop.tokens.revoke((await shop.tokens.tokens())[0].name)
    else:
        secret, problem = ("pagefold_" + "x" * 43 if scope == "unknown" else "too-short"), "This token is unknown"
    async with browser_of(shop, None) as browser:
        answer = await browser.sign_in(secret)
        assert answer.status_code == 403
        assert problem in answer.text
        assert secret not in answer.text
        assert (await browser.get("/ui")).status_code == 303


async def test_open_reads_are_not_enough(shop: Shop) -> None:
    """Where pages are readable without a token, the dashboard is not; on a machine without tokens it is."""
    async with browser_of(shop, READS) as browser:
        assert (await browser.get("/ui")).status_code == 303
    async with browser_of(shop) as browser:
        page = await browser.get("/ui")
        assert page.status_code == 200
        assert "anonymous · operate" in page.text
        assert "Sign out" not in page.text


FORGERIES = {
    "no token": ({}, SAME_ORIGIN),
    "another token": ({"csrf": csrf_token("x" * 43)}, SAME_ORIGIN),
    "another site": (None, {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}),
    "another port": (None, {"origin": "http://localhost:81"}),
    "an opaque origin": (None, {"origin": "null"}),
    "a sibling": (None, {"sec-fetch-site": "same-site"}),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_forms_are_refused(shop: Shop, name: str) -> None:
    """A form that this page did not make for this browser decides nothing."""
    fields, headers = FORGERIES[name]
    async with browser_of(shop, None) as browser:
        await signed_in(browser, await token(shop, "operate"))
        hidden = hidden_fields((await browser.get("/ui/sign-out")).text, "/ui/sign-out")
        data = hidden if fields is None else fields
        answer = await browser.post("/ui/sign-out", data=data, headers={**FORM, **headers})
        assert answer.status_code == 403
        assert "was not made for this browser" in answer.text
        assert (await browser.get("/ui")).status_code == 200


async def test_a_form_without_a_cookie_is_refused(shop: Shop) -> None:
    """A browser that has no secret cannot have got a form."""
    async with browser_of(shop, None) as browser:
        answer = await browser.post("/ui/sign-in", data={"token": "x", "csrf": "x"}, headers=SAME_ORIGIN)
        assert answer.status_code == 403


async def test_a_visitor_from_another_site_keeps_the_session(shop: Shop) -> None:
    """A strict cookie is not sent along a link from another site: the first page asks again, from here."""
    async with browser_of(shop, None) as browser:
        answer = await browser.get("/ui/search?q=A", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert re.search(r'http-equiv="refresh" content="0; url=/ui/search\?q=A"', answer.text)
        assert (await browser.get("/ui/search?q=A", headers={"sec-fetch-site": "same-origin"})).status_code == 303
