"""Processes that look at pages beside this one: folding is Python's work, of which a process does one thing at a time.

Each is given a span of streams at a time, and tells how far everything in it is as it must be. None of them takes a
lock, or writes. What one that is lost had left is looked at here, and another takes its place.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from pagefold.engine.configuration.config import Config
from pagefold.engine.replay.section_verifier import OnVerified, StreamRange, VerifiedRange, Verify
from pagefold.engine.runtime.logs import Logger

RANGES_PER_PROCESS = 4
"""So many parts of all pages for each process: they are never of quite the same size."""

MIN_EVENTS = 300_000
"""So many events of a log take longer than it takes to start processes."""

MAX_REPLY_BYTES = 65_536
"""Of a line in which a process answers."""

CLOSE_SECONDS = 10.0

GATHER_SECONDS = 0.1
"""Who wants to look at the same part comes at about the same time."""

log = Logger(__name__)


class VerifyRequest(msgspec.Struct, array_like=True, frozen=True):
    """What a process is to look at: the pages of some domains."""

    domains: list[str]
    streams: StreamRange


class VerifyReply(msgspec.Struct, array_like=True, frozen=True):
    """What it has seen of one of the domains."""

    domain: str
    verified: VerifiedRange


_replies: msgspec.json.Decoder[VerifyReply | None] = msgspec.json.Decoder(VerifyReply | None)


class _ProcessLost(Exception):
    """A process has ended, or says what cannot be understood."""


class _VerifierProcess:
    """One process. It is told the configuration with the first that it is asked."""

    def __init__(self, process: Process, asks: ByteSendStream, answers: ByteReceiveStream, config: Config) -> None:
        self._process = process
        self._stdin = asks
        self._stdout = BufferedByteReceiveStream(answers)
        self._unsent: list[Config] = [config]

    @classmethod
    async def start(cls, config: Config) -> Self:
        """A new one, of the same Python. Nothing is imported from where the program happens to work (`-P`)."""
        command = [sys.executable, "-P", "-m", "pagefold.engine.replay.verifier_process"]
        with anyio.CancelScope(shield=True):  # else it is killed, and still there for a moment
            process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        return cls(process, process.stdin, process.stdout, config)

    async def verify(self, streams: StreamRange, callbacks: Mapping[str, OnVerified]) -> None:
        """As `SectionVerifier.verify`, for each of these domains. Raises `_ProcessLost`."""
        while self._unsent:
            await self._send(self._unsent.pop())
        await self._send(VerifyRequest(list(callbacks), streams))
        while (reply := await self._receive()) is not None:
            callbacks[reply.domain](reply.verified)

    async def end(self) -> None:
        """Tells it that there is nothing more to do, and waits until it has gone."""
        await self._stdin.aclose()
        await self._process.aclose()

    async def kill(self) -> None:
        """Ends it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.aclose()

    async def _send(self, what: object) -> None:
        try:
            await self._stdin.send(msgspec.json.encode(what) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise _ProcessLost(type(error).__name__) from error

    async def _receive(self) -> VerifyReply | None:
        try:
            return _replies.decode(await self._stdout.receive_until(b"\n", MAX_REPLY_BYTES))
        except (
            anyio.IncompleteRead,
            anyio.DelimiterNotFound,
            anyio.EndOfStream,
            anyio.BrokenResourceError,
            msgspec.MsgspecError,
        ) as error:
            raise _ProcessLost(type(error).__name__) from error


class _SharedRequest:
    """The domains of which the same span is looked at, and who hears of them; `complete` when these are all."""

    def __init__(self) -> None:
        self.callbacks: dict[str, OnVerified] = {}
        self.complete = anyio.Event()
        self.done = anyio.Event()
        self.succeeded = False


class VerifierPool:
    """So many processes, each started when it is first needed, and again when it was lost.

    They look at several domains together: then one walk through the log is enough for all. `ranges` are what everybody
    begins with.
    """

    def __init__(self, config: Config, size: int, domains: Collection[str], ranges: Sequence[StreamRange]) -> None:
        self.size = size
        self.ranges = ranges
        self._config = config
        self._domains = frozenset(domains)
        self._turns = anyio.Semaphore(size)
        self._idle: list[_VerifierProcess] = []
        self._shared: dict[StreamRange, _SharedRequest] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: Config, size: int, domains: Collection[str], ranges: Sequence[StreamRange]
    ) -> AsyncIterator[Self]:
        """Processes that go when the block ends."""
        pool = cls(config, size, domains, ranges)
        try:
            yield pool
        finally:
            for process in pool._idle:
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await process.end()

    async def verify(self, domain: str, streams: StreamRange, on_verified: OnVerified, *, fallback: Verify) -> None:
        """As `SectionVerifier.verify`, in a process of the pool. If that is lost, `fallback` verifies the rest."""
        rest = streams

        def record(verified: VerifiedRange) -> None:
            nonlocal rest
            rest = verified.rest
            on_verified(verified)

        if not await self._verify_together(domain, streams, record) and not rest.ended:
            await fallback(rest, on_verified)

    async def _verify_together(self, domain: str, streams: StreamRange, on_verified: OnVerified) -> bool:
        """With all others who want to look at the same. False where the process was lost."""
        request = self._shared.get(streams)
        if request is not None and domain not in request.callbacks:
            self._join(request, domain, on_verified)
            await request.done.wait()
            return request.succeeded
        request = self._shared[streams] = _SharedRequest()
        self._join(request, domain, on_verified)
        try:
            async with self._turns:
                if streams in self.ranges:
                    with anyio.move_on_after(GATHER_SECONDS):
                        await request.complete.wait()
                self._close(request, streams)
                request.succeeded = await self._verify_in_process(streams, request.callbacks)
        finally:
            self._close(request, streams)
            request.done.set()
        return request.succeeded

    def _join(self, request: _SharedRequest, domain: str, on_verified: OnVerified) -> None:
        request.callbacks[domain] = on_verified
        if request.callbacks.keys() >= self._domains:
            request.complete.set()

    def _close(self, request: _SharedRequest, streams: StreamRange) -> None:
        """Whoever comes now is too late for it."""
        if self._shared.get(streams) is request:
            del self._shared[streams]

    async def _verify_in_process(self, streams: StreamRange, callbacks: Mapping[str, OnVerified]) -> bool:
        """False where the process was lost."""
        async with AsyncExitStack() as stack:
            try:
                process = self._idle.pop() if self._idle else await _VerifierProcess.start(self._config)
                stack.push_async_callback(process.kill)
                await process.verify(streams, callbacks)
            except (_ProcessLost, OSError) as error:
                log.warning("a process that looks at pages was lost", domains=sorted(callbacks), error=str(error))
                return False
            stack.pop_all()
            self._idle.append(process)
            return True


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
