"""`pagefold serve`: pages over HTTP, and with --work the consumers as well."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

import engine
from engine.command.options import Exit, Injected, Options
from engine.command.output import say
from engine.command.running import Stop, stoppable
from engine.config import Config
from engine.errors import StoreUnavailable
from engine.http.access import EVERYTHING, Access, anonymous_grant
from engine.http.descriptors import room_for
from engine.http.server import address_of, listen, serving
from engine.http.service import Service
from engine.logs import Logger
from engine.running import answer_soon, run
from engine.shop import Shop
from engine.tasks import beside

ENDING = (signal.SIGINT, signal.SIGTERM)
SECONDS_BETWEEN_LOOKS = 1.0
"""How often one process of several looks whether the one that started it is still there."""

SECONDS_TO_CLOSE = 2.0
"""How long a server stays open, at most, when the first token is made."""

log = Logger(__name__)


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8080,
    work: Annotated[bool, Parameter(show_default=False)] = False,
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Runs the server until it is told to end.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port; 0 takes a free one.
    work
        Run the consumers too, as `pagefold work` does.
    workers
        How many processes share the port. With --work, the first of them runs the consumers.
    """
    options.start_logging("info")
    answer_soon()
    config = within_room(options.load())
    listener = listen(host, port)

    def one(number: int, parent: int | None) -> int:
        """One process of several, or the only one."""
        return run(lambda: _serve(config, listener, host, number, parent, work=work and number == 1))

    return one(1, None) if workers == 1 else _supervise(workers, one)


def within_room(config: Config) -> Config:
    """The configuration, with no more connections than there may be open files."""
    connections = room_for(config.http.connections)
    return msgspec.structs.replace(config, http=msgspec.structs.replace(config.http, connections=connections))


async def _serve(  # a process is told that much
    config: Config, listener: socket.socket, host: str, number: int, parent: int | None, *, work: bool
) -> int:
    async with engine.open(config, create=False) as shop, stoppable() as stop:
        service = await service_of(shop, host, number)
        async with _consumers(shop, work=work), beside(lambda: closing(service, host)), serving(service, listener):
            if number == 1:
                say(f"listening on {address_of(listener)}")
            log.info("serving", address=address_of(listener), store=shop.store.name, worker=number, work=work)
            await _stopped(stop, parent)
    log.info("stopped", signal=stop.signal and stop.signal.name, worker=number)
    return Exit.DONE


async def service_of(shop: Shop, host: str, number: int = 1) -> Service:
    """The server's inside, with what may be done there without a token. Raises `ConfigurationError`."""
    anonymous = anonymous_grant(shop.config.http, host, has_tokens=await shop.tokens.any_made())
    log.info("anonymous callers", may=sorted(anonymous.scopes) if anonymous else [])
    return Service(shop, Access(anonymous, shop.tokens), reads_open=anonymous is not None, worker=number)


async def closing(service: Service, host: str) -> None:
    """Takes from a server where everybody may do everything what is not to be done without a token, once there is one.

    It looks every `SECONDS_TO_CLOSE`, and never opens again what was closed: tokens that expire do not let others in.
    """
    if service.access.anonymous is not EVERYTHING:
        return
    while not await _has_tokens(service.shop):  # noqa: ASYNC110  # it is made in another process, which tells nobody
        await anyio.sleep(SECONDS_TO_CLOSE)
    anonymous = anonymous_grant(service.config.http, host, has_tokens=True)
    service.restrict(anonymous)
    log.info("there are tokens now", anonymous_callers_may=sorted(anonymous.scopes) if anonymous else [])


async def _has_tokens(shop: Shop) -> bool:
    try:
        return await shop.tokens.any_made()
    except StoreUnavailable:  # while it is away, nothing can be done here
        return False


def _consumers(shop: Shop, *, work: bool) -> AbstractAsyncContextManager[None]:
    """The consumers, who finish their batch at the end of the block, after the last request was answered."""
    return beside(shop.work) if work else nullcontext()


async def _stopped(stop: Stop, parent: int | None) -> None:
    """Returns when a signal has come, or the process that started this one is gone."""
    with stop.scope:
        while parent in (None, os.getppid()):  # noqa: ASYNC110  # nobody tells a process that its parent has died
            await anyio.sleep(SECONDS_BETWEEN_LOOKS)


# --- several processes ----------------------------------------------------------------------------


def _supervise(workers: int, one: Callable[[int, int], int]) -> int:
    """Runs the processes, puts another in the place of one that was killed, and ends all of them when told to.

    One that ends by itself has a reason that the next one would have too: then all of them end, with its exit code. In
    a process of its own it runs `one`, with its number and its parent's id, and gives what that gives.
    """
    parent, running, code = os.getpid(), dict[int, int](), int(Exit.DONE)
    told = _Told(running)
    missing = list(range(1, workers + 1))
    while missing or running:
        if missing:
            number = missing.pop(0)
            if (process := _fork()) == 0:
                return one(number, parent)
            running[process] = number
            continue
        process, status = os.wait()
        number, exit_code = running.pop(process), os.waitstatus_to_exitcode(status)
        if told.signal is None and exit_code < 0:
            log.warning("a process was killed, another takes its place", worker=number, signal=-exit_code)
            missing.append(number)
        elif exit_code not in (0, -(told.signal or 0)):  # one that had not begun yet may end by the signal itself
            code = code or abs(exit_code)
            told.pass_on(signal.SIGTERM, None)
    return code


class _Told:
    """Passes SIGINT and SIGTERM on to every process."""

    def __init__(self, running: dict[int, int]) -> None:
        self.signal: int | None = None
        self._running = running
        for number in ENDING:
            signal.signal(number, self.pass_on)

    def pass_on(self, number: int, _frame: object) -> None:
        """As it came, to all that still run."""
        self.signal = number
        for process in list(self._running):
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _fork() -> int:
    """One more process, by its id; 0 in the new one. There is no thread or event loop yet that it could tear apart."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)  # what a terminal sends reaches the parent alone, which passes it on, once
        for each in ENDING:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return process
