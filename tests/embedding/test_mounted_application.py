"""`pagefold.asgi`: the server's routes inside another application, or alone under any ASGI server."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from urllib.parse import quote

import anyio
import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message

import pagefold
from pagefold import Config, ConfigurationError, MountedApplication
from tests.support.dashboard_pages import hidden_fields
from tests.support.small_shop import as_line, catalog, price


def with_reads(config: Config, reads: str) -> Config:
    """The configuration with this setting of `reads`."""
    return msgspec.structs.replace(config, http=msgspec.structs.replace(config.http, reads=reads))


def client(app: ASGIApp) -> httpx2.AsyncClient:
    """A client of an application, without a network."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://shop.example")


@asynccontextmanager
async def hosted(mounted: MountedApplication, path: str = "/shop") -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a Starlette application that mounts it, beside a route of its own."""

    async def own(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{mounted.shop.queued} queued")

    routes = [Route("/own", own), Mount(path, mounted)]
    host = Starlette(routes=routes, lifespan=mounted.lifespan)
    async with host.router.lifespan_context(host), client(host) as asked:
        yield asked


@pytest.mark.parametrize("path", ["/shop", "/a/b", ""])
async def test_pages_are_read_below_the_mount(config: Config, path: str) -> None:
    """The host's routes stay its own; a path keeps its encoded slashes; the host can use the shop."""
    mounted = pagefold.asgi(with_reads(config, "open"), work=True)
    async with hosted(mounted, path) as asked:
        await mounted.shop.append([catalog("Shirt", sku="A/1"), price("9.90", sku="A/1")])
        await mounted.shop.catch_up()
        answer = await asked.get(f"{path}/v1/pages/web-de/A%2F1")
        assert (answer.status_code, answer.json()["pricing"]["amount"]) == (200, "9.90")
        again = await asked.get(f"{path}/v1/pages/web-de/A%2F1", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert (await asked.get(f"{path}/openapi.json")).status_code == 200
        assert (await asked.get(f"{path}/nowhere")).status_code == 404
        assert (await asked.get("/own")).text == "0 queued"
        assert (await mounted.shop.health()).workers == "running"


async def test_callers_need_a_token(config: Config) -> None:
    """Without tokens, nothing is allowed; a token grants its scopes; `trusted` allows everything."""
    line = as_line(price("9.90", sku="A"))
    headers = {"content-type": "application/json"}
    mounted = pagefold.asgi(with_reads(config, "token"))
    async with hosted(mounted) as asked:
        assert (await asked.get("/shop/v1/pages/web-de/A")).status_code == 401
        assert (await asked.post("/shop/v1/events", content=line, headers=headers)).status_code == 401
        secret, _ = await mounted.shop.tokens.create(["ingest"], "erp")
        bearer = {**headers, "authorization": f"Bearer {secret}"}
        assert (await asked.post("/shop/v1/events", content=line, headers=bearer)).status_code == 202
    async with hosted(pagefold.asgi(config, trusted=True)) as asked:
        assert (await asked.post("/shop/v1/events", content=line, headers=headers)).status_code == 202
        assert (await asked.get("/shop/v1/dead-letters")).status_code == 200


async def test_it_serves_alone(config: Config) -> None:
    """As the outermost application it opens and closes the shop with the server's lifespan."""
    mounted = pagefold.asgi(with_reads(config, "open"))
    messages: list[Message] = []
    wanted: asyncio.Queue[Message] = asyncio.Queue()

    async def send(message: Message) -> None:
        messages.append(message)

    async with anyio.create_task_group() as group:
        group.start_soon(mounted, {"type": "lifespan"}, wanted.get, send)
        wanted.put_nowait({"type": "lifespan.startup"})
        with anyio.fail_after(20):
            while not messages:  # noqa: ASYNC110  # as a server would
                await anyio.sleep(0.01)
        async with client(mounted) as asked:
            assert (await asked.get("/v1/pages/web-de/NONE")).status_code == 404
        wanted.put_nowait({"type": "lifespan.shutdown"})
    assert [each["type"] for each in messages] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(RuntimeError, match="is not open"):
        _ = mounted.shop


async def test_a_shop_that_cannot_be_opened_fails_the_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The server logs the reason, and does not start."""
    mounted, messages = pagefold.asgi(tmp_path_factory.mktemp("empty") / "pagefold.toml"), list[Message]()

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        messages.append(message)

    with pytest.raises(ConfigurationError):
        await mounted({"type": "lifespan"}, receive, send)
    assert [each["type"] for each in messages] == ["lifespan.startup.failed"]
    assert "pagefold.toml" in messages[0]["message"]


async def test_a_host_without_the_lifespan_gets_an_error(config: Config) -> None:
    """The first request's error says what to pass to the host."""
    host = Starlette(routes=[Mount("/shop", pagefold.asgi(config))])
    async with client(host) as asked:
        with pytest.raises(RuntimeError, match=r"lifespan=application\.lifespan"):
            await asked.get("/shop/v1/pages/web-de/A")


# --- the dashboard --------------------------------------------------------------------------------


def paths_in(page: str) -> set[str]:
    """The paths that a page leads to: links, forms, files and live parts."""
    found = re.findall(r'(?:href|src|action|hx-get)="(/[^"?#]*)', page)
    return {unescape(each) for each in found}


@pytest.mark.parametrize("path", ["/shop", "/a b/c", ""])
async def test_the_dashboard_is_below_the_mount(config: Config, path: str) -> None:
    """Every link, form, file, live part, cookie and redirect of it; a form is sent, and its toast is shown."""
    mounted = pagefold.asgi(config)
    root = f"{quote(path)}/ui"
    async with hosted(mounted, path) as asked:
        secret, _ = await mounted.shop.tokens.create(["operate"], label="ada")
        await mounted.shop.append([price("9.90"), price("8.80")])
        await mounted.shop.catch_up()
        answer = await asked.get(f"{root}/dead-letters?kind=ingest")
        assert (
            answer.headers["location"] == f"{root}/sign-in?next={quote(root, safe='')}%2Fdead-letters%3Fkind%3Dingest"
        )
        form = (await asked.get(answer.headers["location"])).text
        fields = hidden_fields(form, f"{root}/sign-in") | {"token": secret}
        answer = await asked.post(f"{root}/sign-in", data=fields)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{root}/dead-letters?kind=ingest")
        assert f"Path={root};" in answer.headers["set-cookie"]
        page = (await asked.get(answer.headers["location"])).text
        fields = hidden_fields(page, f"{root}/dead-letters/ingest-1:retry")
        answer = await asked.post(f"{root}/dead-letters/ingest-1:retry", data=fields)
        page = (await asked.get(answer.headers["location"])).text
        assert "ingest-1 is still dead" in page
        for screen in ("", "/search?channel=web-de", "/dead-letters", "/runs", "/contracts", "/audit", "/runbooks"):
            answer = await asked.get(root + screen)
            assert answer.status_code == 200
            assert "'self'" in answer.headers["content-security-policy"]
            page += answer.text
        assert len(paths_in(page)) > 20
        for each in paths_in(page):
            assert each == root or each.startswith(f"{root}/")
        assert {(await asked.get(each)).status_code for each in paths_in(page) if "/static/" in each} == {200}


async def test_a_host_may_do_without_the_dashboard(config: Config) -> None:
    """Then there is nothing below `/ui`. A trusted host's callers see it without a token."""
    async with hosted(pagefold.asgi(config, dashboard=False)) as asked:
        assert (await asked.get("/shop/ui")).headers["content-type"] == "application/problem+json"
    async with hosted(pagefold.asgi(config, trusted=True)) as asked:
        assert "host · operate" in (await asked.get("/shop/ui")).text
