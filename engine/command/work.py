"""`pagefold work`: runs the consumers, until it is stopped or until they have caught up."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.console import messages, pace, print_message, show_table, write_json
from pagefold.engine.command.options import DOMAIN_NAMES, AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.command.progress import LINE_SECONDS, fold_bars
from pagefold.engine.command.signals import stoppable
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.extras import is_installed, needs_extra
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import Checkpoint

if TYPE_CHECKING:
    from pagefold.engine.sync.fetch_worker import FetchWorker

POLL_SECONDS = 0.2

log = Logger(__name__)


def work(
    *,
    once: Annotated[bool, Parameter(show_default=False)] = False,
    metrics_port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65_535))] = None,
    metrics_host: str = "127.0.0.1",
    domain: Annotated[list[str] | None, Parameter(choices=DOMAIN_NAMES)] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Run the consumers, which fold events into pages.

    Several workers may run: one folds a domain, the others stand by and take over when it dies. Ctrl-C and SIGTERM
    finish the current batch. With --once, it exits when everything that was in the log at its start is folded, or with
    130 or 143 after a signal.

    Parameters
    ----------
    once
        Fold what is in the log, and exit.
    metrics_port
        Serve /metrics and /healthz at this port, without tokens; 0 for any free one.
    metrics_host
        The address at which to serve them.
    domain
        Only this domain; may be given several times.
    as_json
        With --once: print what was folded as one JSON document.
    """
    chosen = domain or DOMAIN_NAMES
    if not once:
        options.start_logging("info")
        return run(lambda: _work(chosen, options, metrics_host, metrics_port))
    if metrics_port is not None:
        raise UsageError("--metrics-port", "cannot be combined with --once")
    options.start_logging("warning" if messages().is_terminal else "info")
    return run(lambda: _work_once(chosen, options, as_json=as_json))


async def _work(domains: Collection[str], options: Options, host: str, port: int | None) -> int:
    async with (
        pagefold.open(options.load(), create=False, killable=True) as shop,
        stoppable() as stop,
        _metrics(shop, host, port) as address,
    ):
        log.info("working", store=shop.store.name, domains=list(domains), **({"metrics": address} if address else {}))
        with stop.scope:
            await work_and_run_schedule(shop, domains)
    log.info("stopped", signal=stop.signal and stop.signal.name)
    return Exit.DONE


def _metrics(shop: Shop, host: str, port: int | None) -> AbstractAsyncContextManager[str | None]:
    """Serves the metrics of the worker during the block; yields the address."""
    if port is None:
        return nullcontext()
    with needs_extra("--metrics-port", "server"):
        from pagefold.engine.http.metrics_server import serving_metrics  # noqa: PLC0415  # most workers serve none
    return serving_metrics(shop, host, port)


async def work_and_run_schedule(shop: Shop, domains: Collection[str] | None = None, *, enduring: bool = False) -> None:
    """Runs the consumers, the tasks of the schedule, rebuilds that were approved, what operators ask for, and fetches.

    Until it is cancelled.
    """
    running: list[Callable[[], Coroutine[object, object, None]]] = [partial(shop.work, domains, enduring=enduring)]
    sources = shop.config.sources.values()
    needs_scheduler = shop.config.schedule.tasks or any(source.delta or source.snapshot for source in sources)
    if needs_scheduler or is_installed("rebuild"):
        with needs_extra("[schedule]", "rebuild"):
            from pagefold.engine.schedule.scheduler import Scheduler  # noqa: PLC0415  # as many shops need no schedule
        running.append(Scheduler(shop).run)
    if any(source.fetches for source in sources):
        running.append(fetch_worker(shop).run)
    await run_together(*running)


def fetch_worker(shop: Shop) -> "FetchWorker":
    """What fetches the records that notifications name. Raises `ExtraMissing` without `pagefold[rebuild]`."""
    with needs_extra("a fetch", "rebuild"):
        from pagefold.engine.sync.fetch_worker import FetchWorker  # noqa: PLC0415  # as many shops fetch nothing

    return FetchWorker(shop)


class _Progress(NamedTuple):
    """The state at the start: checkpoints, and the events not folded yet, by domain."""

    before: Mapping[str, Checkpoint]
    behind: Mapping[str, int]


async def _work_once(domains: Collection[str], options: Options, *, as_json: bool) -> int:
    started = time.monotonic()
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        before = await _checkpoints(shop, domains)
        behind = {name: (await shop.store.log.lag(name, before[name].position)).events for name in domains}
        async with _watched(shop, _Progress(before, behind)):
            with stop.scope:
                await shop.catch_up(domains)
                fetches = any(source.fetches for source in shop.config.sources.values())
                fetched = await fetch_worker(shop).run_due() if fetches else None
                if await shop.waiting.take_all() or fetched is not None:
                    await shop.catch_up(domains)
                await shop.retention.enforce()
        after = await _checkpoints(shop, domains)
    folded = {name: _difference(before[name], after[name]) for name in domains}
    _report(folded, time.monotonic() - started, complete=not stop, as_json=as_json)
    return stop.exit_code if stop else Exit.DONE


async def _checkpoints(shop: Shop, domains: Collection[str]) -> dict[str, Checkpoint]:
    found = {each.domain: each for each in await shop.store.coordination.checkpoints()}
    return {name: found.get(name, Checkpoint(name)) for name in domains}


def _difference(before: Checkpoint, after: Checkpoint) -> Checkpoint:
    """The events counted between two checkpoints of a domain, at the position of the later one."""
    return after._replace(
        applied=after.applied - before.applied, stale=after.stale - before.stale, dead=after.dead - before.dead
    )


def _events(checkpoint: Checkpoint) -> int:
    return checkpoint.applied + checkpoint.stale + checkpoint.dead


@asynccontextmanager
async def _watched(shop: Shop, progress: _Progress) -> AsyncIterator[None]:
    """Shows progress during the block."""
    show = _show_bars if messages().is_terminal else _log_lag
    async with anyio.create_task_group() as group:
        group.start_soon(show, shop, progress)
        yield
        group.cancel_scope.cancel()


async def _show_bars(shop: Shop, progress: _Progress) -> None:
    with fold_bars() as bars:
        tasks = {name: bars.add_task(name, total=total) for name, total in progress.behind.items()}
        try:
            while True:
                await anyio.sleep(POLL_SECONDS)
                for name, done in (await _done(shop, progress)).items():
                    bars.update(tasks[name], completed=done)
        finally:
            with anyio.CancelScope(shield=True):
                for name, done in (await _done(shop, progress)).items():
                    bars.update(tasks[name], completed=done, total=max(done, progress.behind[name]))


async def _log_lag(shop: Shop, progress: _Progress) -> None:
    while True:
        await anyio.sleep(LINE_SECONDS)
        done = await _done(shop, progress)
        log.info("catching up", behind={name: max(0, progress.behind[name] - done[name]) for name in done})


async def _done(shop: Shop, progress: _Progress) -> dict[str, int]:
    now = await _checkpoints(shop, progress.before)
    return {name: _events(_difference(progress.before[name], now[name])) for name in now}


def _report(folded: Mapping[str, Checkpoint], seconds: float, *, complete: bool, as_json: bool) -> None:
    if as_json:
        domains = [
            {"domain": name, "checkpoint": each.position, "events": _events(each)}
            | {"applied": each.applied, "stale": each.stale, "dead": each.dead}
            for name, each in folded.items()
        ]
        write_json({"domains": domains, "seconds": seconds, "complete": complete})
        return
    total = sum(map(_events, folded.values()))
    if messages().is_terminal:
        print_message("folded " + pace(total, "event", seconds, complete=complete))
    else:
        log.info("caught up" if complete else "not caught up", events=total, seconds=round(seconds, 3))
    numbers = ("checkpoint", "applied", "stale", "dead")
    rows = ((name, *(f"{number:,}" for number in each[1:5])) for name, each in folded.items())
    show_table(("domain", *numbers), rows, numbers=numbers)
    if any(each.dead for each in folded.values()):
        print_message("`pagefold dead-letters list` shows what could not be folded")
