"""A server that answers whatever it is asked with the same bytes, which are not those of its protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

OTHERS = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b":none\r\n", b"$3\r\nab", b"INFO {\r\n", b'INFO {"a"', b"\xff\x00\r\n", b"",
)  # fmt: skip
"""Answers: of another protocol, wrong numbers, half of one, none."""


@asynccontextmanager
async def server_that_says(answer: bytes) -> AsyncIterator[int]:
    """Its port."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(answer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.sleep(0)  # connections that were accepted before are served
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
