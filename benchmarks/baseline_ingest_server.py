"""Bare servers, beside which ingest over HTTP is measured: a raw ASGI application on uvicorn, and nothing else.

python -m benchmarks.baseline_ingest_server URL append   # a body is decoded and appended, in a transaction of its own
python -m benchmarks.baseline_ingest_server URL parse    # a body is decoded, and nothing is done with it

Both decode every line with orjson, look at nothing in it, and answer with one outcome an event, as Pagefold does. The
one that appends uses the store's own statement, writes a line as it came, and does not look whether it was there.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import orjson
import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks.baseline import Floor
from benchmarks.baseline_postgres import PostgresFloor
from benchmarks.baseline_read_server import run
from benchmarks.baseline_sqlite import SQLiteFloor
from pagefold.engine.http.headers import JSON
from pagefold.engine.runtime.event_loop import tune_gc
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.sqlite import folder_of

OUTCOME = b'{"outcome":"appended","position":1000000}'

Keep: TypeAlias = Callable[[Sequence[bytes], Sequence[Any]], Awaitable[None]]
"""Does with lines, and with what they say, what is done with them."""


async def _floor(url: str) -> Floor:
    return SQLiteFloor(folder_of(url)) if url.startswith("sqlite:") else await PostgresFloor.open(url)


async def append(url: str) -> Keep:
    """One durable transaction a request; they take turns, because there is one writer."""
    floor, turn = await _floor(url), asyncio.Lock()

    async def keep(lines: Sequence[bytes], said: Sequence[Any]) -> None:
        rows = [
            EncodedEvent(
                f"{each['sku']}/{each['channel']}/{each['type']}/{each['source']}",
                each["sourceVersion"],
                each["type"],
                line,
                b"",
            )
            for line, each in zip(lines, said, strict=True)
        ]
        async with turn:
            await floor.append(rows)

    return keep


async def parse(_url: str) -> Keep:
    """Nothing."""

    async def keep(_lines: Sequence[bytes], _said: Sequence[Any]) -> None:
        pass

    return keep


async def serve(url: str, kind: str) -> None:
    """Answers, until it is killed."""
    keep = await {"append": append, "parse": parse}[kind](url)

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        lines = bytes(body).split(b"\n")
        await keep(lines, [orjson.loads(line) for line in lines])
        answer = b'{"results":[%b]}' % b",".join([OUTCOME] * len(lines))
        headers = [JSON, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    await run(application)


if __name__ == "__main__":
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(*sys.argv[1:]))
