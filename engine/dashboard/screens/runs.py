"""Runs: rebuilds, syncs and the schedule; a held rebuild is decided here."""

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.held_syncs import held_syncs
from pagefold.engine.dashboard.request_summary import title_of
from pagefold.engine.dashboard.run_summary import (
    RUNBOOKS,
    SCHEDULED_STATES,
    STATES,
    command_of,
    count_rows,
    held_run,
    held_runs,
    run_words,
    runbook_of,
    samples_of,
)
from pagefold.engine.dashboard.screen import Badge, Decision, Screen, decided_at, shown_at
from pagefold.engine.dashboard.screens import requests
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.http.problems import Problem
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import MAX_SAMPLE
from pagefold.engine.schedule.task_status import newest_run, task_statuses
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import sync_task

RUNS_LISTED = 20
MAX_OLDER = 500
"""How far back the list goes; `pagefold rebuilds list` goes further."""

Kind = Literal["", "rebuilds", "scheduled"]


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs are listed, how many, and of which source; and what is about to be asked for."""

    kind: Kind = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_OLDER)] = RUNS_LISTED
    source: Annotated[str, msgspec.Meta(max_length=64)] = ""
    confirm: Literal["", "rebuild", "verify"] = ""


async def show_all(visit: Visit) -> Response:
    """What is held, the newest runs, and what comes next."""
    query, shop = visit.query(RunsQuery), visit.shop
    held, rebuilds = [], []
    async with shop.rebuilds() as service:
        if visit.part is None:
            held = [await held_run(shop, service, each) for each in await held_runs(shop, service)]
        if query.kind != "scheduled":
            rebuilds = await service.newest(query.limit + 1, query.source or None)
    requested = RequestService(shop)
    asked = [*await requested.open()] if visit.wants("asked") else []
    scheduled = [] if query.kind == "rebuilds" else await shop.store.schedule.newest(query.limit + 1)
    work = {name: task.run for name, task in shop.config.schedule.all_tasks.items()}
    return await visit.page(
        "runs",
        query=query,
        held=held,
        rebuilds=rebuilds[: query.limit],
        more_rebuilds=len(rebuilds) > query.limit,
        scheduled=[(each, command_of(each), runbook_of(each, work)) for each in scheduled[: query.limit]],
        run_runbooks=RUNBOOKS,
        more_scheduled=len(scheduled) > query.limit,
        states=STATES,
        scheduled_states=SCHEDULED_STATES,
        asked=asked,
        title_of=title_of,
        rebuilt=requested.rebuilt_sources(),
        max_sample=MAX_SAMPLE,
        held_syncs=await held_syncs(shop, asked) if visit.part is None else [],
        tasks=await _tasks(shop) if visit.part is None else [],
    )


async def _tasks(shop: Shop) -> list[dict[str, object]]:
    """What runs when: the tasks of the schedule, and the sources that are asked at intervals."""
    found: list[dict[str, object]] = [
        {
            "name": each.task,
            "when": each.cron,
            "last": each.last,
            "next": each.next,
            "command": ["schedule", "run", each.task],
        }
        for each in await task_statuses(shop)
    ]
    for name, source in shop.config.sources.items():
        if source.delta is not None:
            every = f"every {source.delta.every_seconds:g} s"
            last = await newest_run(shop, sync_task(name))
            found.append({"name": name, "when": every, "last": last, "next": None, "command": ["sync", name]})
    return found


async def show(visit: Visit) -> Response:
    """One rebuild: what it compared, changed and would remove."""
    shop = visit.shop
    async with shop.rebuilds() as service:
        report = await service.report(visit.path["run"])
        held = await held_run(shop, service, report) if report.state == "held" else None
    return await visit.page(
        "run",
        report=report,
        held=held,
        words=run_words(report),
        state=STATES[report.state],
        counts=count_rows(report),
        samples=samples_of(report),
        run_runbooks=RUNBOOKS,
        refusals=report.refusals,
    )


async def approve(visit: Visit) -> Response:
    """Approves a held run, if it would remove as many streams as was typed. A worker resumes it."""
    decision, run = visit.form(Decision), visit.path["run"]
    if decision.expected is None:
        raise Problem(422, "give the number of streams that are withdrawn or emptied")
    async with visit.shop.rebuilds() as service:
        report = await service.approve(run, by=visit.visitor.label, reason=decision.reason, expected=decision.expected)
    text = f"Approved: a worker withdraws or empties {plural(report.removals, 'stream')} within ten seconds."
    return visit.redirect(href("runs", run), Toast(text))


async def refuse(visit: Visit) -> Response:
    """Refuses a held run: it ends, and removes nothing."""
    run = visit.path["run"]
    async with visit.shop.rebuilds() as service:
        await service.refuse(run, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(href("runs", run), Toast("Refused: nothing is withdrawn. Repair the export, and run again."))


async def badge(shop: Shop) -> Badge | None:
    """How many rebuilds and syncs are held, as the key figure `held-runs` counts them."""
    held = sum(bool(each.held) for each in await shop.source_lag.known())
    held += len(await shop.source_lag.runs.held())
    return Badge(f"{held} held", "held") if held else None


SCREEN = Screen(
    "runs",
    "Runs",
    "n-runs",
    "Needs a person",
    [
        shown_at("/ui/runs", show_all, RunsQuery),
        decided_at("/ui/runs/{run}:approve", approve),
        decided_at("/ui/runs/{run}:refuse", refuse),
        shown_at("/ui/runs/{run}", show),
        *requests.ROUTES,
    ],
    badge,
)
