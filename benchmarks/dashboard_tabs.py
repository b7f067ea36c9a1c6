"""A visitor of the dashboard, and tabs that fetch its live parts again, as htmx does in a browser."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from html import unescape
from typing import NamedTuple, Self

import httpx2

LIVE = re.compile(r'<[a-z]+[^>]*\sid="([^"]*)"[^>]*\sdata-live="([0-9]+)s"[^>]*\shx-get="([^"]*)"')
CSRF = re.compile(r'name="csrf" value="([^"]*)"')
TIMEOUT_SECONDS = 30.0


class LivePart(NamedTuple):
    """An element that a page fetches again at an interval: its id, the seconds, and the address."""

    element: str
    seconds: float
    address: str


class Visitor:
    """Somebody who has signed in, and looks at pages. While their tab `is_hidden`, it fetches nothing."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.is_hidden = False

    @classmethod
    @asynccontextmanager
    async def signed_in(cls, address: str, secret: str) -> AsyncIterator[Self]:
        """A visitor of a server, by the form that asks for a token."""
        async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:
            form = await client.get("/ui/sign-in")
            fields = {"csrf": unescape(CSRF.findall(form.text)[0]), "token": secret}
            answer = await client.post("/ui/sign-in", data=fields, headers={"origin": address})
            assert answer.status_code == 303, answer.text  # it leads to the first screen
            yield cls(client)

    async def get(self, address: str) -> str:
        """A page; nothing if it only leads to another."""
        answer = await self._client.get(address)
        assert answer.status_code in {200, 303}, answer.text
        return answer.text

    async def look(self, address: str) -> None:
        """Opens a page in a tab, and keeps it live until this is cancelled."""
        parts = live_parts(await self.get(address))
        assert parts, address
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._keep_live(part))

    async def _keep_live(self, part: LivePart) -> None:
        """Fetches a part again and again; what has not changed is not sent again."""
        headers = {"hx-request": "true"}
        while True:
            await asyncio.sleep(part.seconds)
            if self.is_hidden:
                continue
            answer = await self._client.get(part.address, headers=headers)
            assert answer.status_code in {200, 304}, (part, answer.text)
            headers["if-none-match"] = answer.headers["etag"]


def live_parts(page: str) -> Sequence[LivePart]:
    """The live parts of a page."""
    return [LivePart(found[0], float(found[1]), unescape(found[2])) for found in LIVE.findall(page)]


@asynccontextmanager
async def open_tabs(address: str, secret: str, pages: Sequence[str]) -> AsyncIterator[Sequence[Visitor]]:
    """Looks at pages in as many tabs during the block, each with connections of its own. A tab that fails raises."""
    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(Visitor.signed_in(address, secret)) for _ in pages]
        async with asyncio.TaskGroup() as group:
            tabs = [group.create_task(each.look(page)) for each, page in zip(visitors, pages, strict=True)]
            yield visitors
            for tab in tabs:
                tab.cancel()
