"""A source that answers in pages: the records of `bench_contracts`, as JSON.

python -m benchmarks.page_server RECORDS
"""

import asyncio
import sys
from urllib.parse import parse_qs

import msgspec
import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks.baseline_read_server import run
from benchmarks.bench_contracts import records
from pagefold.engine.http.headers import JSON

PAGE_RECORDS = 500


def pages(number: int) -> list[bytes]:
    """So many records in pages. Each but the last names the next one."""
    found = records(number)
    starts = range(0, len(found), PAGE_RECORDS)
    return [
        msgspec.json.encode(
            {"items": found[start : start + PAGE_RECORDS], "next": page if start != starts[-1] else None}
        )
        for page, start in enumerate(starts, start=1)
    ]


async def serve(number: int) -> None:
    """Serves until it is killed."""
    bodies = pages(number)

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        body = bodies[int(parse_qs(scope["query_string"]).get(b"page", [b"0"])[0])]
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    await run(application)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
