"""The dashboard under test, in this process, and what its pages have."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import unescape

import httpx2

from pagefold import Shop
from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.http.application import application
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.stores.grants import Grant

FORM = {"content-type": "application/x-www-form-urlencoded"}
SAME_ORIGIN = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}


class Browser(httpx2.AsyncClient):
    """A browser without JavaScript: keeps cookies, and sends a form with what the page has put into it."""

    async def decide(
        self, page: str, action: str, fields: Mapping[str, str], headers: Mapping[str, str] = SAME_ORIGIN
    ) -> httpx2.Response:
        """Loads a page, and sends one of its forms with these fields."""
        hidden = hidden_fields((await self.get(page)).text, action)
        return await self.post(action, data={**hidden, **fields}, headers=headers)

    async def sign_in(self, secret: str) -> httpx2.Response:
        """Signs in with a token."""
        return await self.decide("/ui/sign-in", "/ui/sign-in", {"token": secret})


@asynccontextmanager
async def browser_of(shop: Shop, anonymous: Grant | None = EVERYTHING) -> AsyncIterator[Browser]:
    """A browser at the dashboard of a shop. By default there are no tokens, and every visitor may do everything."""
    service = ServerContext(shop, BearerAuthenticator(anonymous, shop.tokens))
    app = application(service, dashboard=Dashboard(service))
    async with Browser(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as browser:
        yield browser


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form of a page with this action."""
    forms = {
        unescape(found[1]): found[2]
        for found in re.finditer(r'<form[^>]*action="([^"]*)"(.*?)</form>', page, re.DOTALL)
    }
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', forms[action])
    return {unescape(name): unescape(value) for name, value in fields}
