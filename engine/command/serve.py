"""`pagefold serve`: the HTTP server, and with --work the consumers."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Annotated, NamedTuple

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.console import print_message
from pagefold.engine.command.options import Exit, Injected, Options
from pagefold.engine.command.signals import StopSignal, stoppable
from pagefold.engine.command.supervisor import Start, Task, supervise
from pagefold.engine.command.work import work_and_run_schedule
from pagefold.engine.configuration.config import Config
from pagefold.engine.dashboard.dashboard import Dashboard
from pagefold.engine.errors import StoreError, StoreUnavailable
from pagefold.engine.http.authorization import EVERYTHING, BearerAuthenticator, anonymous_grant
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.open_file_limit import raise_file_limit
from pagefold.engine.http.process_links import WORKER, ProcessLinks
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime.event_loop import run, shorten_switch_interval
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.shop import Shop

WORKER_NICENESS = 5
"""The niceness of the worker process: it gets a third of the CPU time of a reader that wants the same core."""

TOKEN_POLL_SECONDS = 2.0
"""How long the server allows everything, at most, after the first token was made."""

REOPEN_SECONDS = 1.0
"""The pause before the next attempt to open a store that is unavailable."""

log = Logger(__name__)


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8080,
    work: Annotated[bool, Parameter(show_default=False)] = False,
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 2,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Runs the server until a signal stops it.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port; 0 chooses a free one.
    work
        Run the consumers too, as `pagefold work` does.
    workers
        How many processes share the port. The first one ingests changes, and runs the consumers with --work; the others
        serve page reads. With 1, one process does everything.
    """
    options.start_logging("info")
    shorten_switch_interval()
    links = ProcessLinks.open(workers) if workers > 1 else None
    shared = _Shared(limited_to_open_files(options.load()), listen(host, port), host, work, links)
    if links is None:
        return run(lambda: _serve(shared))

    def one(start: Start) -> int:
        if start.number == WORKER:
            os.nice(WORKER_NICENESS)
        return run(lambda: _serve(shared, start))

    return supervise(workers, Task(one, shared.listener.close, links.board, shared.config.http.frozen_seconds))


class _Shared(NamedTuple):
    """What all processes of the server share."""

    config: Config
    listener: socket.socket
    host: str
    work: bool
    links: ProcessLinks | None


def limited_to_open_files(config: Config) -> Config:
    """The configuration, with its connections and followers limited by the number of open files allowed."""
    followers = config.http.followers
    allowed = raise_file_limit(config.http.connections + followers)
    connections = min(config.http.connections, max(allowed - followers, allowed // 2, 1))
    return config.with_http(connections=connections, followers=allowed - connections)


async def _serve(shared: _Shared, start: Start | None = None) -> int:
    """Runs one process of the server, until a signal comes or the process that has started it is gone."""
    config, listener, host, work, links = shared
    number = WORKER if start is None else start.number
    consumes, stands_in = work and number == WORKER, links is not None and number == WORKER
    address = address_of(listener)
    async with _opened(config, start) as shop, stoppable() as stop:
        service = await make_context(shop, host, number)
        async with (
            _background(shop, number, work=consumes),
            run_beside(lambda: restrict_once_tokens_exist(service, host)),
            run_beside(shop.follow),
            serving(service, listener, links, stands_in=stands_in, dashboard=Dashboard(service)),
        ):
            if number == WORKER:
                print_message(f"listening on {address}")
            log.info("serving", address=address, store=shop.store.name, worker=number, work=consumes)
            await _stopped(stop, None if start is None else start.parent_gone)
    log.info("stopped", signal=stop.signal and stop.signal.name, worker=number)
    return Exit.DONE


@asynccontextmanager
async def _opened(config: Config, start: Start | None) -> AsyncIterator[Shop]:
    """The open shop. A replacement process waits until the store can be opened: the others keep serving."""
    async with AsyncExitStack() as stack:
        while True:
            try:
                shop = await stack.enter_async_context(pagefold.open(config, create=False))
                break
            except StoreUnavailable as error:
                if start is None or not start.is_replacement or await _is_gone(start.parent_gone):
                    raise
                log.warning("the store cannot be opened yet", worker=start.number, error=str(error))
        yield shop


async def _is_gone(descriptor: int) -> bool:
    """Waits a while. Whether the process that has started this one is gone by then."""
    with anyio.move_on_after(REOPEN_SECONDS):
        await anyio.wait_readable(descriptor)
        return True
    return False


async def make_context(shop: Shop, host: str, number: int = WORKER) -> ServerContext:
    """The context of the server, with what callers without a token may do. Raises `ConfigurationError`."""
    anonymous = anonymous_grant(shop.config.http, host, has_tokens=await shop.tokens.any_made())
    log.info("anonymous callers", may=sorted(anonymous.scopes) if anonymous else [])
    return ServerContext(
        shop, BearerAuthenticator(anonymous, shop.tokens), reads_open=anonymous is not None, worker=number
    )


async def restrict_once_tokens_exist(service: ServerContext, host: str) -> None:
    """Restricts a server on which everything is allowed without a token, as soon as there is a token.

    Checks every `TOKEN_POLL_SECONDS`. A restriction is never lifted, not even after every token has expired.
    """
    if service.access.anonymous is not EVERYTHING:
        return
    while not await _has_tokens(service.shop):  # noqa: ASYNC110  # tokens are made in other processes
        await anyio.sleep(TOKEN_POLL_SECONDS)
    anonymous = anonymous_grant(service.config.http, host, has_tokens=True)
    service.restrict(anonymous)
    log.info("there are tokens now", anonymous_callers_may=sorted(anonymous.scopes) if anonymous else [])


async def _has_tokens(shop: Shop) -> bool:
    try:
        return await shop.tokens.any_made()
    except StoreError:  # unavailable, restored or damaged: reads go on
        return False


def _background(shop: Shop, number: int, *, work: bool) -> AbstractAsyncContextManager[None]:
    """Runs the consumers during the block; without them, one process watches the key figures.

    At its end, after the last response, consumers finish their batch.

    A consumer that fails does not end the server: pages are served as they are, and readiness reports the failure.
    """
    if work:
        return run_beside(partial(work_and_run_schedule, shop, enduring=True))
    return run_beside(shop.monitor.run) if number == WORKER else nullcontext()


async def _stopped(stop: StopSignal, parent_gone: int | None) -> None:
    """Returns when a signal comes, or the process that has started this one is gone."""
    with stop.scope:
        await (anyio.sleep_forever() if parent_gone is None else anyio.wait_readable(parent_gone))
