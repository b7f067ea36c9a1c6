"""The HTTP server and its dashboard as an application inside another one: `pagefold.asgi`.

Loads Starlette and the routes when its lifespan begins, so that `import pagefold` needs neither.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from pagefold.engine.configuration.config import Config
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.shop import Shop, open_shop

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def asgi(
    config: Config | str | os.PathLike[str] | None = None,
    *,
    work: bool = False,
    trusted: bool = False,
    dashboard: bool = True,
) -> "MountedApplication":
    """The HTTP server of a shop as an ASGI application, to mount in Starlette or FastAPI, or to serve as it is.

    `config` is as for `pagefold.open`. With `work`, it runs the consumers too. Callers need tokens, except where `reads
    = "open"` in the configuration's `[http]` lets everybody read; `trusted` allows every caller everything, for hosts
    that check their callers themselves. Its `dashboard`, at `/ui` below the mount, asks for a token likewise.

    Starlette runs no lifespan of what is mounted in it: give the host this one's, `lifespan=application.lifespan`.
    """
    return MountedApplication(config, work=work, trusted=trusted, dashboard=dashboard)


class MountedApplication:
    """An ASGI application over a shop that is open while `lifespan` lasts. Made by `pagefold.asgi`."""

    def __init__(
        self, config: Config | str | os.PathLike[str] | None, *, work: bool, trusted: bool, dashboard: bool
    ) -> None:
        self._config = config
        self._work = work
        self._trusted = trusted
        self._dashboard = dashboard
        self._shop: Shop | None = None
        self._application: ASGIApp | None = None

    @property
    def shop(self) -> Shop:
        """The open shop, for the host's own use. Raises `RuntimeError` outside the lifespan."""
        if self._shop is None:
            raise _not_open()
        return self._shop

    @asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Opens the shop, and closes it at the end. Pass it as the host's `lifespan`, or enter it in the host's own.

        Raises what `pagefold.open` raises, and `ExtraMissing` without `pagefold[server]`.
        """
        with needs_extra("pagefold.asgi", "server"):
            from pagefold.engine.embedding.shop_application import application_of  # noqa: PLC0415  # loaded when it is needed
        async with (
            open_shop(self._config, work=self._work) as shop,
            application_of(shop, trusted=self._trusted, dashboard=self._dashboard) as app,
        ):
            self._shop, self._application = shop, app
            try:
                yield
            finally:
                self._shop = self._application = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One request, with its path below the mount; or the lifespan, where this is the outermost application."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif self._application is None:
            raise _not_open()
        else:
            await self._application(_below_mount(scope), receive, send)

    async def _run_lifespan(self, receive: "Receive", send: "Send") -> None:
        await receive()
        answer = "lifespan.startup.failed"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                answer = "lifespan.shutdown.failed"
                await receive()
        except Exception as error:
            await send({"type": answer, "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _below_mount(scope: "Scope") -> "Scope":
    """The scope with a path that begins where the host has mounted the application, and the mount in `root_path`."""
    root = scope.get("root_path", "")
    raw = scope.get("raw_path") or quote(scope.get("path", "/")).encode()
    if not root or scope["type"] != "http":
        return {**scope, "raw_path": raw}
    below = b"/" + raw.split(b"/", root.count("/") + 1)[-1] if raw.count(b"/") > root.count("/") else b"/"
    return {**scope, "raw_path": below, "path": scope["path"].removeprefix(root)}


def _not_open() -> RuntimeError:
    return RuntimeError(
        "the shop of this application is not open: pass its lifespan to the host, as in "
        "`Starlette(routes=[Mount('/shop', application)], lifespan=application.lifespan)`"
    )
