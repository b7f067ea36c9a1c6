"""Limits responses that are too large to hold in memory for many callers at once."""

from collections.abc import Awaitable, Callable

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem, overloaded

MAX_CONCURRENT = 2
"""Large responses that are made or sent at the same time."""

MAX_WAITING = 32

PART_BYTES = 256 * 1024


class LargeResponses:
    """Hands out the places. A client that reads too slowly is disconnected, which frees its place."""

    def __init__(self) -> None:
        self._places = anyio.Semaphore(MAX_CONCURRENT)

    async def answer(self, make: Callable[[], Awaitable[bytes]]) -> Response:
        """The JSON document that `make` makes, once there is a place; the place is kept until the document is sent.

        Raises `Problem`, 429, if too many requests wait, and what `make` raises.
        """
        if self._places.statistics().tasks_waiting >= MAX_WAITING:
            raise _many_waiting()
        await self._places.acquire()
        try:
            answer = reply(await make())
        except BaseException:
            self._places.release()
            raise
        return _LargeResponse(answer, self._places.release)


def _many_waiting() -> Problem:
    return overloaded(f"{MAX_WAITING} large responses are waiting already")


class _LargeResponse(Response):
    """Sends a response in parts, each after the client has read most of the previous one; then calls `done`."""

    def __init__(self, answer: Response, done: Callable[[], None]) -> None:
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = answer.raw_headers
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as every answer
        """Sends the response."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(self.body), PART_BYTES):
                part = bytes(self.body[start : start + PART_BYTES])
                more = start + PART_BYTES < len(self.body)
                await send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            self._done()
