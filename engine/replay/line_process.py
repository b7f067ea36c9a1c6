"""A helper process that reads JSON lines and answers with JSON lines: folding is CPU work, in Python one thread's."""

import subprocess
import sys
from contextlib import suppress
from typing import Self

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream


class ProcessLost(Exception):
    """A process has ended, or sends replies that cannot be decoded."""


class LineProcess:
    """One process that runs a module. `setup` is sent before the first request.

    A reply is a line of at most `max_bytes`.
    """

    def __init__(
        self, process: Process, stdin: ByteSendStream, answers: ByteReceiveStream, setup: object, max_bytes: int
    ) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = BufferedByteReceiveStream(answers)
        self._unsent: list[object] = [setup]
        self._max_bytes = max_bytes

    @classmethod
    async def start(cls, module: str, setup: object, max_bytes: int) -> Self:
        """Starts a process with the same Python. Nothing is imported from the working directory (`-P`)."""
        command = [sys.executable, "-P", "-m", module]
        with anyio.CancelScope(shield=True):  # otherwise a cancelled start would leave the process running for a moment
            process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        return cls(process, process.stdin, process.stdout, setup, max_bytes)

    async def request(self, what: object) -> None:
        """Sends a request. Raises `ProcessLost`."""
        while self._unsent:
            await self._send(self._unsent.pop())
        await self._send(what)

    async def reply(self) -> bytes:
        """The next reply. Raises `ProcessLost`."""
        try:
            return await self._stdout.receive_until(b"\n", self._max_bytes)
        except (anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise ProcessLost(type(error).__name__) from error

    async def end(self) -> None:
        """Closes its input, and waits until it has ended."""
        await self._stdin.aclose()
        await self._process.aclose()

    async def kill(self) -> None:
        """Ends it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.aclose()

    async def _send(self, what: object) -> None:
        try:
            await self._stdin.send(msgspec.json.encode(what) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise ProcessLost(type(error).__name__) from error
