"""The tasks of a shop's schedule, as lists show them: when each runs next, and how its newest run went."""

from datetime import datetime
from typing import NamedTuple

from pagefold.engine.runtime.clock import moment
from pagefold.engine.schedule.scheduler import timetables
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import ScheduledRun


class TaskStatus(NamedTuple):
    """A task: what it runs, when it runs next, and its newest run."""

    task: str
    run: str
    cron: str
    next: datetime | None
    last: ScheduledRun | None


async def task_statuses(shop: Shop) -> list[TaskStatus]:
    """Every task of the configuration, and the nightly comparison, if there is one."""
    times = timetables(shop.config)
    return [
        TaskStatus(name, task.run, task.cron, times[name].next_after(moment()), await newest_run(shop, name))
        for name, task in shop.config.schedule.all_tasks.items()
    ]


async def newest_run(shop: Shop, task: str) -> ScheduledRun | None:
    """The newest run of a task, if it ever ran."""
    return next(iter(await shop.store.schedule.newest(1, task)), None)
