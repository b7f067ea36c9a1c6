"""Answers that are too large to be in memory for everybody who asks at a time."""

from collections.abc import Awaitable, Callable

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem, overloaded

PLACES = 2
"""So many are made or sent at a time."""

MAX_WAITING = 32

PART_BYTES = 256 * 1024


class LargeAnswers:
    """Gives out places. A client that takes an answer too slowly is cut off, and so gives its place back."""

    def __init__(self) -> None:
        self._places = anyio.Semaphore(PLACES)

    async def answer(self, make: Callable[[], Awaitable[bytes]]) -> Response:
        """The JSON document that `make` makes, when there is a place; it keeps it until it is sent.

        Raises `Problem`, 429, when too many wait, and what `make` raises.
        """
        if self._places.statistics().tasks_waiting >= MAX_WAITING:
            raise _many_waiting()
        await self._places.acquire()
        try:
            answer = reply(await make())
        except BaseException:
            self._places.release()
            raise
        return _LargeAnswer(answer, self._places.release)


def _many_waiting() -> Problem:
    return overloaded(f"{MAX_WAITING} large answers wait to be made, and no more may")


class _LargeAnswer(Response):
    """Is sent in parts, each when the client has taken most of the former. `done` is called in the end."""

    def __init__(self, answer: Response, done: Callable[[], None]) -> None:
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = answer.raw_headers
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as every answer
        """Sends it."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(self.body), PART_BYTES):
                part = bytes(self.body[start : start + PART_BYTES])
                more = start + PART_BYTES < len(self.body)
                await send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            self._done()
