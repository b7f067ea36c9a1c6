"""Sends complete responses in one write: an ASGI extension for page reads.

uvicorn takes a response in parts, checks every header, and tracks what is still to come. A page is complete from the
start and all its headers are the server's own, so it needs none of that. Without the extension in the scope, as under
another server, the same response is sent in parts.
"""

from collections.abc import Iterable
from typing import Any, cast

from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from pagefold.engine.http.headers import Header

COMPLETE = "pagefold.http.response.whole"
COMPLETE_EXTENSION: dict[str, dict[object, object]] = {COMPLETE: {}}
"""The entry in a scope's `extensions` if complete responses are supported."""


async def send_complete(scope: Scope, send: Send, status: int, headers: list[Header], body: bytes) -> None:
    """Sends a response. `headers` include its length, and nothing that came from a client."""
    if COMPLETE in (scope.get("extensions") or ()):
        await send({"type": COMPLETE, "status": status, "headers": headers, "body": body})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def text_of(headers: Iterable[Header]) -> bytes:
    """Headers in wire format."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


class Cycle(RequestResponseCycle):
    """A request and its response, which may be sent complete."""

    async def send(self, message: Any) -> None:  # noqa: ANN401  # a message of ASGI, or the one of the extension
        """Sends a part of the response, or all of it."""
        if message["type"] != COMPLETE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.transport.write(self._text(message))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _text(self, message: Message) -> bytes:
        headers = cast("list[Header]", message["headers"])
        parts = [STATUS_LINE[message["status"]]]
        parts += [text_of(self.default_headers), text_of(headers)]
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        if self.scope["method"] != "HEAD":
            parts.append(message["body"])
        return b"".join(parts)
