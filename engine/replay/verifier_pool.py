"""Processes that verify pages beside this one: folding is CPU work, which Python does in one thread at a time.

Each gets a range of streams at a time, and reports how far it matches. None of them locks or writes. If one is lost,
the rest of its range is verified here, and another process replaces it.
"""

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import anyio
import msgspec

from pagefold.domains import AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.sent_config import SentConfig
from pagefold.engine.replay.line_process import LineProcess, ProcessLost
from pagefold.engine.replay.section_verifier import OnVerified, StreamRange, VerifiedRange, Verify, split_ranges
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.store import Store

MODULE = "pagefold.engine.replay.verifier_process"

RANGES_PER_PROCESS = 4
"""Ranges for each process; their sizes differ."""

MIN_EVENTS = 300_000
"""The size of a log from which on starting processes pays off."""

MAX_REPLY_BYTES = 65_536
"""The maximum length of a reply line."""

CLOSE_SECONDS = 10.0

GATHER_SECONDS = 0.1
"""How long to wait for other domains to ask for the same range; they do so at about the same time."""

log = Logger(__name__)


class VerifyRequest(msgspec.Struct, array_like=True, frozen=True):
    """A request to a process: verify the pages of some domains."""

    domains: list[str]
    streams: StreamRange


class VerifyReply(msgspec.Struct, array_like=True, frozen=True):
    """The reply of a process for one of the domains."""

    domain: str
    verified: VerifiedRange


_replies: msgspec.json.Decoder[VerifyReply | None] = msgspec.json.Decoder(VerifyReply | None)


class _VerifierProcess:
    """One process. It gets the configuration with its first request."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process
        self.end, self.kill = process.end, process.kill

    @classmethod
    async def start(cls, config: Config) -> Self:
        """Starts a process."""
        return cls(await LineProcess.start(MODULE, SentConfig.of(config), MAX_REPLY_BYTES))

    async def verify(self, streams: StreamRange, callbacks: Mapping[str, OnVerified]) -> None:
        """As `SectionVerifier.verify`, for each of these domains. Raises `ProcessLost`."""
        await self._process.request(VerifyRequest(list(callbacks), streams))
        while (reply := await self._receive()) is not None:
            callbacks[reply.domain](reply.verified)

    async def _receive(self) -> VerifyReply | None:
        try:
            return _replies.decode(await self._process.reply())
        except msgspec.MsgspecError as error:
            raise ProcessLost(type(error).__name__) from error


class _SharedRequest:
    """The domains that verify the same range, and their callbacks; `complete` once all domains have joined."""

    def __init__(self) -> None:
        self.callbacks: dict[str, OnVerified] = {}
        self.complete = anyio.Event()
        self.done = anyio.Event()
        self.succeeded = False


class VerifierPool:
    """Up to `size` processes, each started when first needed, and restarted when lost.

    They verify several domains together, so that one scan of the log serves all. `ranges` are where all domains start.
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
        """A pool whose processes end with the block."""
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
        """Verifies together with the others who ask for the same range. False if the process was lost."""
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
        """Closes a request: those who come later are too late."""
        if self._shared.get(streams) is request:
            del self._shared[streams]

    async def _verify_in_process(self, streams: StreamRange, callbacks: Mapping[str, OnVerified]) -> bool:
        """False if the process was lost."""
        async with AsyncExitStack() as stack:
            try:
                process = self._idle.pop() if self._idle else await _VerifierProcess.start(self._config)
                stack.push_async_callback(process.kill)
                await process.verify(streams, callbacks)
            except (ProcessLost, OSError) as error:
                log.warning("a process that verifies pages was lost", domains=sorted(callbacks), error=str(error))
                return False
            stack.pop_all()
            self._idle.append(process)
            return True


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def process_count(store: Store, requested: int | None) -> int:
    """How many processes read a log: as many as were requested, else one per processor if the log is large enough."""
    if requested is not None:
        return requested
    return processors() if await store.log.end() >= MIN_EVENTS else 1


@asynccontextmanager
async def verifier_pool(
    store: Store, config: Config, domains: Collection[AnyDomain], processes: int
) -> AsyncIterator[VerifierPool | None]:
    """Processes that verify all pages of these domains; None for one, which is this."""
    if processes == 1:
        yield None
        return
    parts = await split_ranges(store, domains, RANGES_PER_PROCESS * processes)
    names = [domain.name for domain in domains]
    async with VerifierPool.open(config, processes, names, parts) as pool:
        yield pool
