"""Baseline servers for ingest over HTTP: a raw ASGI application on uvicorn.

python -m benchmarks.baseline_ingest_server URL append   # decodes a body and appends it in a transaction of its own
python -m benchmarks.baseline_ingest_server URL parse    # decodes a body and discards it

Both decode every line with orjson, check nothing, and answer with one outcome per event, as Pagefold does. `append`
uses the store's statement, writes lines unchanged, and does not check for duplicates.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import orjson
import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks.baseline import Baseline
from benchmarks.baseline_postgres import PostgresBaseline
from benchmarks.baseline_read_server import run
from benchmarks.baseline_sqlite import SQLiteBaseline
from pagefold.engine.http.headers import JSON
from pagefold.engine.runtime.event_loop import tune_gc
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.sqlite import folder_of

OUTCOME = b'{"outcome":"appended","position":1000000}'

Keep: TypeAlias = Callable[[Sequence[bytes], Sequence[Any]], Awaitable[None]]
"""Handles the lines of a request, and their decoded events."""


async def _baseline(url: str) -> Baseline:
    return SQLiteBaseline(folder_of(url)) if url.startswith("sqlite:") else await PostgresBaseline.open(url)


async def append(url: str) -> Keep:
    """Appends each request in a durable transaction. Requests take turns: there is one writer."""
    baseline, turn = await _baseline(url), asyncio.Lock()

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
            await baseline.append(rows)

    return keep


async def parse(_url: str) -> Keep:
    """Discards each request."""

    async def keep(_lines: Sequence[bytes], _said: Sequence[Any]) -> None:
        pass

    return keep


async def serve(url: str, kind: str) -> None:
    """Serves until it is killed."""
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
