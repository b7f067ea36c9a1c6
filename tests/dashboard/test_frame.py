"""The frame of the dashboard: headers, files, live parts and errors."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

import pagefold.engine.dashboard
from pagefold import Shop
from pagefold.engine.dashboard.rendering import TEMPLATES, environment
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.http.handover import is_for_readers, is_for_worker
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.stores.grants import Grant
from tests.support.dashboard_pages import FORM, SAME_ORIGIN, browser_of
from tests.support.small_shop import SKU, catalog, price, say, stock

STATIC = Path(pagefold.engine.dashboard.__file__).parent / "static"
HTMX = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
"""The SHA-256 of `dist/htmx.min.js` of htmx.org 4.0.1, as the npm registry has it."""

PRODUCT = f"/ui/pages/web-de/{SKU}"


async def test_every_page_has_the_strict_policy(shop: Shop) -> None:
    """Also errors: no script, style or frame of anybody else, no cache, and no referrer to other sites."""
    await say(shop, catalog("A"), price("9.90"), stock(3))
    async with browser_of(shop) as browser:
        for address in (
            "/ui",
            "/ui/search",
            PRODUCT,
            "/ui/nowhere",
            f"{PRODUCT}?part=readiness",
            f"{PRODUCT}?format=json",
        ):
            answer = await browser.get(address)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "same-origin"


async def test_files_are_cached_by_their_content(shop: Shop) -> None:
    """Each page names the style sheet and scripts by their digests; they are immutable, and open to everybody."""
    async with browser_of(shop, None) as browser:
        page = (await browser.get("/ui/sign-in")).text
        async with browser_of(shop) as other:
            page += (await other.get("/ui")).text
        found = set(re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', page))
        assert {each.rpartition("/")[2] for each in found} == {"style.css", "htmx.min.js", "dashboard.js"}
        for address in found:
            answer = await browser.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert sha256(answer.content).hexdigest().startswith(address.split("/")[3])
        assert (await browser.get("/ui/static/x/secrets.txt")).status_code == 404
        assert (await browser.get("/ui/static/x/..%2Fscreen.py")).status_code == 404


def test_the_vendored_script_is_what_was_published() -> None:
    """htmx is the file of its release, with its licence beside it, which allows everything."""
    assert sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert (STATIC / "htmx.LICENSE").read_text("utf-8").startswith("Zero-Clause BSD")
    assert "version='4.0.1'" in (STATIC / "htmx.min.js").read_text("utf-8").replace('"', "'")


async def test_live_parts_are_parts_of_the_page(shop: Shop) -> None:
    """Each is fetched alone, has a tag under which it is not sent again, and replaces the element of the same id."""
    await say(shop, catalog("A"), price("9.90"), stock(3))
    async with browser_of(shop) as browser:
        for address in ("/ui", PRODUCT):
            page = (await browser.get(address)).text
            parts = re.findall(r'<(\w+)[^>]* id="(live-[a-z-]+)"[^>]*hx-get="([^"]+)"', page)
            assert parts
            for element, identifier, source in parts:
                answer = await browser.get(source.replace("&amp;", "&"))
                assert answer.status_code == 200
                assert re.match(rf'\s*<{element} [^>]*id="{identifier}"', answer.text)
                assert "<form" not in answer.text, "a form in a live part would be lost while somebody fills it"
                assert "<details" not in answer.text
        tag = (await browser.get(f"{PRODUCT}?part=readiness")).headers["etag"]
        again = await browser.get(f"{PRODUCT}?part=readiness", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert (await browser.get(f"{PRODUCT}?part=nothing")).status_code == 404


async def test_a_live_part_says_when_the_session_has_ended(shop: Shop) -> None:
    """It does not put the page to sign in into another one."""
    async with browser_of(shop, None) as browser:
        answer = await browser.get("/ui/frame/side?screen=overview", headers={"hx-request": "true"})
        assert answer.status_code == 401
        assert (await browser.get("/ui?part=tiles")).status_code == 401


async def test_errors_are_pages(shop: Shop) -> None:
    """What is unknown, not allowed or malformed is answered with a page that says so."""
    async with browser_of(shop) as browser:
        expected = {
            "/ui/nowhere": 404,
            "/ui/pages/nowhere/A": 404,
            f"/ui/pages/web-de/{'x' * 129}": 404,
            "/ui/search?unknown=1": 422,
            "/ui/search?q=%FF": 400,
            "/ui/pages/web-de/%FF": 400,
        }
        for address, status in expected.items():
            answer = await browser.get(address)
            assert (address, answer.status_code) == (address, status)
            assert "<h1>" in answer.text
        assert (await browser.post("/ui", data={}, headers={**FORM, **SAME_ORIGIN})).status_code == 405
        assert (await browser.post("/ui/sign-out", content=b"{}")).status_code == 415
        assert (await browser.head("/ui")).status_code == 200
        assert (await browser.head("/ui")).content == b""


def test_templates_quote_every_attribute() -> None:
    """A value in an attribute without quotes could add another one; a value marked as safe could be markup."""
    for path in sorted(TEMPLATES.glob("*.html")):
        text = path.read_text("utf-8")
        assert not re.search(r"=\{\{", text), path.name
        assert not re.search(r"\|\s*safe\b|autoescape|<script>|<style|\sstyle=|\son\w+=|javascript:", text), path.name
        environment().get_template(path.name)


def test_screens_have_addresses_of_their_own() -> None:
    """No two screens answer the same method and path, and each name is used once."""
    routes = [(route.method, route.path) for screen in SCREENS for route in screen.routes]
    assert len(routes) == len(set(routes))
    assert len({screen.name for screen in SCREENS}) == len(SCREENS)
    assert all(path == "/ui" or path.startswith("/ui/") for _, path in routes)


@pytest.mark.parametrize("address", ["/uix", "/u", "/ui%2F"])
async def test_other_paths_are_the_servers(shop: Shop, address: str) -> None:
    """They are answered as JSON, as before."""
    async with browser_of(shop) as browser:
        answer = await browser.get(address)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_every_component_is_shown(shop: Shop) -> None:
    """The page of components uses every macro that a screen may, but those that only a live or confirming page has."""
    text = (TEMPLATES / "components_page.html").read_text("utf-8")
    macros = set(re.findall(r"\{% macro (\w+)", (TEMPLATES / "components.html").read_text("utf-8")))
    elsewhere = {"icon", "spark", "change", "live", "confirm", "reason"}
    assert {name for name in macros - elsewhere if f"ui.{name}(" not in text} == set()
    async with browser_of(shop) as browser:
        assert (await browser.get("/ui/components")).status_code == 200


def test_the_worker_answers_the_dashboard() -> None:
    """Of several processes, those that read pages pass its requests on."""
    for method, url in (
        (b"GET", b"/ui"),
        (b"GET", b"/ui?part=tiles"),
        (b"POST", b"/ui/sign-in"),
        (b"HEAD", b"/ui/search"),
    ):
        assert is_for_worker(ROUTES)(method, url)
        assert not is_for_readers(ROUTES)(method, url)
    assert not is_for_worker(ROUTES)(b"GET", b"/uix")


async def test_who_only_reads_has_no_buttons(shop: Shop) -> None:
    """A session that only reads sees what it lacks in place of a button."""
    async with browser_of(shop, Grant("tok_reader", frozenset(["read"]), None)) as browser:
        page = (await browser.get("/ui/components")).text
        assert "Retry 812: needs operate" in page
        assert '<button class="primary">Retry 812' not in page
