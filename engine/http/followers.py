"""Responses to followers of the change feed: one that waits for changes, and a stream of events.

A follower that waits does not count as a connection, but as a follower, of which there may be many. It costs memory
only: what is read for all followers is read once, and encoded once for all that want the same.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pagefold.engine.errors import FeedReset, StoreError
from pagefold.engine.feed.change_feed import Follower
from pagefold.engine.feed.page_change import FeedStep, PageChange
from pagefold.engine.http.authorization import authorize
from pagefold.engine.http.headers import SECURITY, Header
from pagefold.engine.http.problems import Problem, problem_of, response, unavailable
from pagefold.engine.http.request_body import single_value
from pagefold.engine.runtime.logs import Logger

if TYPE_CHECKING:
    from pagefold.engine.http.routing import Call
    from pagefold.engine.http.server_context import ServerContext

CONNECTION = "pagefold.connection"
"""The entry in a scope with the connection, where this server's own protocol has it."""

EVENT_STREAM = "text/event-stream"

KEEP_ALIVE_SECONDS = 30.0
"""After how long without changes a stream says that it is there, with the newest cursor; the token is checked, too."""

RETRY_SECONDS = 1.0
RETRY_AFTER_SECONDS = 5

PART_BYTES = 64 * 1024
"""Bytes that are written at a time: no more is held for a client that does not read."""

STREAM_HEADERS: list[Header] = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store, no-transform"),  # a proxy that compresses would hold events back
    (b"x-accel-buffering", b"no"),  # and so would nginx
    *SECURITY,
]

BEGIN = b"retry: 2000\n\n"

log = Logger(__name__)


class FollowingConnection(Protocol):
    """A connection that can be counted as that of a follower."""

    def follow(self) -> bool:
        """From now on, it is a follower's. False if there are too many."""

    def unfollow(self) -> None:
        """From now on, it is a connection like any other."""


class _FollowerResponse(Response):
    """A response that waits, while the connection is a follower's; and ends if the client goes, or the server ends."""

    def __init__(self, call: "Call", follower: Follower) -> None:
        super().__init__()
        self._service: ServerContext = call.service
        self._authorization = single_value(call.headers, b"authorization")
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        connection = cast("FollowingConnection | None", scope.get(CONNECTION))
        if connection is not None and not connection.follow():
            await self._give(response(too_many_followers()), scope, receive, send)
            return
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                await self._run(scope, receive, send)
                group.cancel_scope.cancel()
        finally:
            if connection is not None:
                connection.unfollow()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def _give(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends another response in place of this one."""
        self.status_code, self.body = answer.status_code, answer.body
        await answer(scope, receive, send)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def too_many_followers() -> Problem:
    """There are as many followers as may be."""
    return unavailable("too many followers", RETRY_AFTER_SECONDS)


class LongPoll(_FollowerResponse):
    """Answers when there are changes that are wanted, or after some time. Nothing was found yet."""

    def __init__(
        self,
        call: "Call",
        follower: Follower,
        seconds: float,
        answer: Callable[[Any, Any], Awaitable[Response]],
        read: Callable[[Follower], Awaitable[Any]],
    ) -> None:
        super().__init__(call, follower)
        self._deadline = time.monotonic() + seconds
        self._make = answer
        self._read = read

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._wait(is_head=scope["method"] == "HEAD")
        except Exception as error:  # noqa: BLE001  # every error is answered
            answer = response(problem_of(error))
        await self._give(answer, scope, receive, send)

    async def _wait(self, *, is_head: bool) -> Response:
        while True:
            left = 0.0 if is_head or self._service.is_ending else self._deadline - time.monotonic()
            await self._follower.wait(max(left, 0.0))
            before = self._follower.cursor
            found = await self._read(self._follower)
            if found.changes or left <= 0 or self._service.is_ending:
                return await self._make(before, found)


class EventStream(_FollowerResponse):
    """A stream of server-sent events: `change`, each window's last with the cursor as its id; `replayed`; `reset`."""

    def __init__(self, call: "Call", follower: Follower, first: FeedStep, *, replays: bool) -> None:
        super().__init__(call, follower)
        self._first: FeedStep | None = first
        self._replays = replays
        self._sent_at = time.monotonic()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as every response
        is_head = scope["method"] == "HEAD"
        await send({"type": "http.response.start", "status": self.status_code, "headers": STREAM_HEADERS})
        if not is_head:
            await self._send(send, BEGIN)
            await self._stream(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, send: Send) -> None:
        while not self._service.is_ending:
            try:
                if not await self._next(send):
                    return
            except FeedReset as reset:
                await self._send(send, _event(b"reset", msgspec.json.encode({"reason": reset.reason})))
                return
            except StoreError as error:
                log.warning("a stream of changes waits", error=str(error))
                await self._send(send, b": the store cannot be read at the moment\n\n")
                await anyio.sleep(RETRY_SECONDS)

    async def _next(self, send: Send) -> bool:
        """Sends the next changes, and waits for more. Whether the caller may still read."""
        step, self._first = self._first or await self._follower.step(), None
        await self._send(send, self._text(step))
        if self._replays and not step.replaying:
            await self._send(send, _event(b"replayed", b"{}", str(step.cursor)))
        self._replays = step.replaying
        if step.up_to_date and not step.changes:
            await self._follower.wait(max(self._sent_at + KEEP_ALIVE_SECONDS - time.monotonic(), 0.0))
        if time.monotonic() - self._sent_at < KEEP_ALIVE_SECONDS:
            return True
        await self._send(send, b": up to here\nid: %b\n\n" % str(self._follower.cursor).encode())
        return await self._may_read()

    def _text(self, step: FeedStep) -> bytes:
        """The events of a step: made once for all followers that want the same of a window."""
        window = self._follower.window
        if window is None or step.cursor != window.end:
            return _events(step)
        return window.made((EVENT_STREAM, self._follower.selection), lambda: _events(step))

    async def _send(self, send: Send, text: bytes) -> None:
        for start in range(0, len(text), PART_BYTES):
            part = text[start : start + PART_BYTES] if len(text) > PART_BYTES else text
            await send({"type": "http.response.body", "body": part, "more_body": True})
            self._sent_at = time.monotonic()

    async def _may_read(self) -> bool:
        """Whether the token still has its scope: it may have been revoked, or have expired."""
        try:
            await authorize(self._service.access, self._authorization, "read")
        except Problem:
            return False
        return True


def _events(step: FeedStep) -> bytes:
    return b"".join(_each_event(step.changes, str(step.cursor)))


def _each_event(changes: Sequence[PageChange], cursor: str) -> list[bytes]:
    events = [_event(b"change", msgspec.json.encode(change)) for change in changes[:-1]]
    return events + [_event(b"change", msgspec.json.encode(change), cursor) for change in changes[-1:]]


def _event(name: bytes, data: bytes, cursor: str | None = None) -> bytes:
    mark = b"" if cursor is None else b"id: %b\n" % cursor.encode()
    return b"event: %b\n%bdata: %b\n\n" % (name, mark, data)
