"""`pagefold schedule`: what is done by itself, when, and how the last runs went."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.domains.values import format_timestamp
from pagefold.engine.command.console import print_error, print_message, show_table, write_json
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason, UsageError
from pagefold.engine.command.run_report import timestamp_text
from pagefold.engine.command.signals import stoppable
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError, PagefoldError
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.stores.schedule_records import RunState, ScheduledRun

if TYPE_CHECKING:
    from pagefold.engine.schedule.task_status import TaskStatus

STATE_STYLES: dict[RunState, str] = {
    "requested": "cyan",
    "running": "cyan",
    "done": "green",
    "attention": "yellow",
    "failed": "red",
    "stopped": "yellow",
}

schedule = App(
    name="schedule",
    help="""\
Show and run the tasks of `[schedule]`: rebuilds and comparisons at certain times.

One of the processes of `pagefold work` and `pagefold serve --work` runs them. A run is *running*; *done*; done, but
something needs *attention*; *failed*; or *stopped* before its end, as its window was over. A missed run is caught up
once. What an operator asks for is *requested* until a worker takes it up.
""",
    help_epilogue="",
)


@schedule.default
@schedule.command(name="list")
def list_tasks(
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the tasks: when each runs next, and how its last run went.

    Times are in UTC. Exit code 1 if the last run of a task failed or needs attention.

    Parameters
    ----------
    as_json
        Print one JSON object per task and line: task, run, cron, next, last.
    """
    return run(lambda: _list(options, as_json=as_json))


async def _list(options: Options, *, as_json: bool) -> int:
    with needs_extra("[schedule]", "rebuild"):
        from pagefold.engine.schedule.task_status import task_statuses  # noqa: PLC0415  # as most commands need no schedule

    async with pagefold.open(options.load(), create=False) as shop:
        tasks = await task_statuses(shop)
    if as_json:
        for each in tasks:
            write_json({**each._asdict(), "next": _text(each.next), "last": each.last and each.last._asdict()})
    elif tasks:
        show_table(("task", "cron", "next", "last", "state", "detail"), map(_row, tasks), wrapped={"detail"})
    else:
        print_message("no tasks: [schedule.tasks.NAME] in the configuration adds one")
    bad = any(each.last is not None and each.last.state in {"failed", "attention"} for each in tasks)
    return Exit.REFUSED if bad else Exit.DONE


def _text(at: datetime | None) -> str | None:
    return None if at is None else format_timestamp(at)


def _row(status: "TaskStatus") -> list[str | Text]:
    last, following = status.last, timestamp_text(_text(status.next) or "never")
    if last is None:
        return [status.task, status.cron, following, "", "", ""]
    state = Text(last.state, style=STATE_STYLES[last.state])
    return [status.task, status.cron, following, timestamp_text(last.started_at), state, last.detail]


@schedule.command(name="runs")
def list_runs(
    task: Annotated[str | None, Parameter(metavar="TASK")] = None,
    /,
    *,
    limit: int = 20,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the newest runs of a task, or of all; the newest 100 of each task are kept.

    Parameters
    ----------
    task
        Only runs of this task.
    limit
        List at most this many.
    as_json
        Print one JSON object a line: number, task, due, started_at, ended_at, state, detail, requested.
    """
    return run(lambda: _runs(task, limit, options, as_json=as_json))


async def _runs(task: str | None, limit: int, options: Options, *, as_json: bool) -> int:
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    async with pagefold.open(options.load(), create=False) as shop:
        runs = await shop.store.schedule.newest(limit, task)
    if as_json:
        for each in runs:
            write_json(each._asdict())
    elif runs:
        show_table(("task", "due", "started", "ended", "state", "detail"), map(_run_row, runs), wrapped={"detail"})
    else:
        print_message("no runs yet")
    return Exit.DONE


def _run_row(each: ScheduledRun) -> list[str | Text]:
    times = [timestamp_text(at or "") for at in (each.due, each.started_at, each.ended_at)]
    return [each.task, *times, Text(each.state, style=STATE_STYLES[each.state]), each.detail]


@schedule.command
def cancel(
    number: int,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Take back what a worker was asked for, while none has begun it. Exit code 1 if one has, or it is unknown.

    Parameters
    ----------
    number
        That of the request: the dashboard, HTTP and `pagefold schedule runs --json` have it.
    """
    return run(lambda: _cancel(number, operator or login_name(), reason, options))


async def _cancel(number: int, by: str, reason: str, options: Options) -> int:
    with needs_extra("[schedule]", "rebuild"):
        from pagefold.engine.requests.request_service import RequestService  # noqa: PLC0415  # likewise

    async with pagefold.open(options.load(), create=False) as shop:
        cancelled = await RequestService(shop).cancel(number, by=by, reason=reason)
    print_message(f"{cancelled.run.task}: the request {number} is cancelled")
    return Exit.DONE


@schedule.command(name="run")
def run_task(
    task: str,
    /,
    *,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Run a task now, whatever its times. Exit code 1 if something needs attention.

    Parameters
    ----------
    task
        Such as `nightly`; `pagefold schedule` lists them.
    """
    return run(lambda: _run_now(task, options))


async def _run_now(task: str, options: Options) -> int:
    config = options.load()
    _check_name(task, config)
    async with pagefold.open(config, create=False, killable=True) as shop, stoppable() as stop:
        with needs_extra("[schedule]", "rebuild"):
            from pagefold.engine.schedule.scheduler import Scheduler  # noqa: PLC0415  # likewise
        with stop.scope:
            try:
                outcome = await Scheduler(shop).run_now(task)
            except ConfigurationError:
                raise
            except PagefoldError as error:
                print_error(str(error))
                return Exit.FAILED
            print_message(f"{task}: {outcome.state}; {outcome.detail}")
            return Exit.DONE if outcome.state == "done" else Exit.REFUSED
    return stop.exit_code


def _check_name(task: str, config: Config) -> None:
    if task not in config.schedule.all_tasks:
        hint = suggestion(task, config.schedule.all_tasks, "tasks")
        raise UsageError("TASK", f"unknown task {task!r}; {hint}")
