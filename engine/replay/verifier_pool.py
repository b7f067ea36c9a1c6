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

PARTS = 4
"""So many parts of all pages for each process: they are never of quite the same size."""

PAYS_FROM = 300_000
"""So many events of a log take longer than it takes to start processes."""

MOST_BYTES = 65_536
"""Of a line in which a process answers."""

SECONDS_TO_END = 10.0

SECONDS_TO_GATHER = 0.1
"""Who wants to look at the same part comes at about the same time."""

log = Logger(__name__)


class VerifyRequest(msgspec.Struct, array_like=True, frozen=True):
    """What a process is to look at: the pages of some domains."""

    domains: list[str]
    span: StreamRange


class VerifyReply(msgspec.Struct, array_like=True, frozen=True):
    """What it has seen of one of the domains."""

    domain: str
    seen: VerifiedRange


_told: msgspec.json.Decoder[VerifyReply | None] = msgspec.json.Decoder(VerifyReply | None)


class _Lost(Exception):
    """A process has ended, or says what cannot be understood."""


class _Process:
    """One process. It is told the configuration with the first that it is asked."""

    def __init__(self, process: Process, asks: ByteSendStream, answers: ByteReceiveStream, config: Config) -> None:
        self._process = process
        self._asks = asks
        self._answers = BufferedByteReceiveStream(answers)
        self._untold: list[Config] = [config]

    @classmethod
    async def start(cls, config: Config) -> Self:
        """A new one, of the same Python. Nothing is imported from where the program happens to work (`-P`)."""
        command = [sys.executable, "-P", "-m", "pagefold.engine.replay.verifier_process"]
        with anyio.CancelScope(shield=True):  # else it is killed, and still there for a moment
            process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        return cls(process, process.stdin, process.stdout, config)

    async def look(self, span: StreamRange, tells: Mapping[str, OnVerified]) -> None:
        """As `SectionVerifier.look`, for each of these domains. Raises `_Lost`."""
        while self._untold:
            await self._say(self._untold.pop())
        await self._say(VerifyRequest(list(tells), span))
        while (told := await self._hear()) is not None:
            tells[told.domain](told.seen)

    async def end(self) -> None:
        """Tells it that there is nothing more to do, and waits until it has gone."""
        await self._asks.aclose()
        await self._process.aclose()

    async def kill(self) -> None:
        """Ends it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.aclose()

    async def _say(self, what: object) -> None:
        try:
            await self._asks.send(msgspec.json.encode(what) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise _Lost(type(error).__name__) from error

    async def _hear(self) -> VerifyReply | None:
        try:
            return _told.decode(await self._answers.receive_until(b"\n", MOST_BYTES))
        except (
            anyio.IncompleteRead,
            anyio.DelimiterNotFound,
            anyio.EndOfStream,
            anyio.BrokenResourceError,
            msgspec.MsgspecError,
        ) as error:
            raise _Lost(type(error).__name__) from error


class _Party:
    """The domains of which the same span is looked at, and who hears of them; `complete` when these are all."""

    def __init__(self) -> None:
        self.tells: dict[str, OnVerified] = {}
        self.complete = anyio.Event()
        self.done = anyio.Event()
        self.has_looked = False


class VerifierPool:
    """So many processes, each started when it is first needed, and again when it was lost.

    They look at several domains together: then one walk through the log is enough for all. `parts` are what everybody
    begins with.
    """

    def __init__(self, config: Config, size: int, domains: Collection[str], parts: Sequence[StreamRange]) -> None:
        self.size = size
        self.parts = parts
        self._config = config
        self._domains = frozenset(domains)
        self._turns = anyio.Semaphore(size)
        self._waiting: list[_Process] = []
        self._parties: dict[StreamRange, _Party] = {}

    @classmethod
    @asynccontextmanager
    async def of(
        cls, config: Config, size: int, domains: Collection[str], parts: Sequence[StreamRange]
    ) -> AsyncIterator[Self]:
        """Processes that go when the block ends."""
        pool = cls(config, size, domains, parts)
        try:
            yield pool
        finally:
            for process in pool._waiting:
                with anyio.move_on_after(SECONDS_TO_END, shield=True):
                    await process.end()

    async def look(self, domain: str, span: StreamRange, tell: OnVerified, *, instead: Verify) -> None:
        """As `SectionVerifier.look`, in one of the processes, when one is free. Where it is lost, `instead` goes on."""
        rest = span

        def hear(seen: VerifiedRange) -> None:
            nonlocal rest
            rest = seen.rest
            tell(seen)

        if not await self._look_together(domain, span, hear) and not rest.ended:
            await instead(rest, tell)

    async def _look_together(self, domain: str, span: StreamRange, tell: OnVerified) -> bool:
        """With all others who want to look at the same. False where the process was lost."""
        party = self._parties.get(span)
        if party is not None and domain not in party.tells:
            self._join(party, domain, tell)
            await party.done.wait()
            return party.has_looked
        party = self._parties[span] = _Party()
        self._join(party, domain, tell)
        try:
            async with self._turns:
                if span in self.parts:
                    with anyio.move_on_after(SECONDS_TO_GATHER):
                        await party.complete.wait()
                self._close(party, span)
                party.has_looked = await self._has_looked(span, party.tells)
        finally:
            self._close(party, span)
            party.done.set()
        return party.has_looked

    def _join(self, party: _Party, domain: str, tell: OnVerified) -> None:
        party.tells[domain] = tell
        if party.tells.keys() >= self._domains:
            party.complete.set()

    def _close(self, party: _Party, span: StreamRange) -> None:
        """Whoever comes now is too late for it."""
        if self._parties.get(span) is party:
            del self._parties[span]

    async def _has_looked(self, span: StreamRange, tells: Mapping[str, OnVerified]) -> bool:
        """False where the process was lost."""
        async with AsyncExitStack() as stack:
            try:
                process = self._waiting.pop() if self._waiting else await _Process.start(self._config)
                stack.push_async_callback(process.kill)
                await process.look(span, tells)
            except (_Lost, OSError) as error:
                log.warning("a process that looks at pages was lost", domains=sorted(tells), error=str(error))
                return False
            stack.pop_all()
            self._waiting.append(process)
            return True


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
