"""What operators ask workers for: rebuilds, verifications, and decisions about held syncs. Shown among the runs."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.request_summary import dry_run_of, title_of, verdict_of
from pagefold.engine.dashboard.run_summary import SCHEDULED_STATES, count_rows
from pagefold.engine.dashboard.screen import Decision, ScreenRoute, decided_at, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routes.requests import number_in
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import (
    SampleSize,
    SourceName,
    SyncDecision,
    TargetVerifyWork,
    VerifyWork,
    command_of_work,
)
from pagefold.projections.streams import parse_stream_id

ASKED = "A worker takes it up within seconds."


class RebuildForm(Decision, frozen=True, kw_only=True):
    """Of which source a dry run is asked for."""

    source: SourceName


class VerifyForm(Decision, frozen=True, kw_only=True):
    """How many products are compared."""

    sample: SampleSize


class SyncForm(Decision, frozen=True, kw_only=True):
    """What becomes of what the sync of a source holds."""

    source: SourceName
    decision: SyncDecision
    expected: Annotated[int, msgspec.Meta(ge=0)]


async def show(visit: Visit) -> Response:
    """One request: how it is, and what was found."""
    request = await RequestService(visit.shop).get(number_in(visit.path["number"]))
    rebuilt, dry = request.rebuilt(), dry_run_of(request)
    work = request.asked.work
    return await visit.page(
        "request",
        follows=visit.part is not None or request.is_open,
        request=request,
        source=None if isinstance(work, VerifyWork | TargetVerifyWork) else work.source,
        target=work.target if isinstance(work, TargetVerifyWork) else None,
        asked=request.asked,
        title=title_of(work),
        words=command_of_work(work),
        state=SCHEDULED_STATES[request.run.state],
        verdict=verdict_of(request),
        report=None if rebuilt is None else rebuilt.report,
        counts=[] if rebuilt is None else count_rows(rebuilt.report),
        dry=dry,
        orphans=[] if dry is None else [parse_stream_id(each) for each in dry.orphans],
        comparison=request.comparison(),
        target_comparison=request.target_comparison(),
    )


async def dry_run(visit: Visit) -> Response:
    """Asks for a dry run of a rebuild."""
    form, by = visit.form(RebuildForm), visit.visitor.label
    request = await RequestService(visit.shop).dry_run(form.source, by=by, reason=form.reason)
    return visit.redirect(href("requests", request.number), Toast(f"Asked for a dry run. {ASKED}"))


async def start(visit: Visit) -> Response:
    """Asks for the rebuild whose dry run was seen, if it would change as many streams as was typed."""
    decision, number, by = visit.form(Decision), number_in(visit.path["number"]), visit.visitor.label
    if decision.expected is None:
        raise Problem(422, "give the number of streams that change")
    service = RequestService(visit.shop)
    request = await service.start(number, by=by, reason=decision.reason, expected=decision.expected)
    return visit.redirect(href("requests", request.number), Toast(f"Asked for the rebuild. {ASKED}"))


async def cancel(visit: Visit) -> Response:
    """Takes a request back that no worker has taken up."""
    decision, number, by = visit.form(Decision), number_in(visit.path["number"]), visit.visitor.label
    await RequestService(visit.shop).cancel(number, by=by, reason=decision.reason)
    return visit.redirect(href("requests", number), Toast("Cancelled: no worker takes it up any more."))


async def verify(visit: Visit) -> Response:
    """Asks for a comparison of some products with the log."""
    form, by = visit.form(VerifyForm), visit.visitor.label
    request = await RequestService(visit.shop).verify(form.sample, by=by, reason=form.reason)
    return visit.redirect(href("requests", request.number), Toast(f"Asked for a comparison. {ASKED}"))


async def decide_sync(visit: Visit) -> Response:
    """Asks for what a sync holds to be appended or left out, if it is from as many streams as was typed."""
    form, by = visit.form(SyncForm), visit.visitor.label
    decide = RequestService(visit.shop).decide_sync
    request = await decide(form.source, form.decision, by=by, reason=form.reason, expected=form.expected)
    streams = plural(form.expected, "stream")
    done = f"removes something from {streams}" if form.decision == "append" else f"leaves {streams} as they are"
    return visit.redirect(href("requests", request.number), Toast(f"Decided: a worker {done} within seconds."))


ROUTES: Sequence[ScreenRoute] = [
    decided_at("/ui/requests:rebuild", dry_run, RebuildForm),
    decided_at("/ui/requests:verify", verify, VerifyForm),
    decided_at("/ui/requests:sync", decide_sync, SyncForm),
    decided_at("/ui/requests/{number}:start", start),
    decided_at("/ui/requests/{number}:cancel", cancel),
    shown_at("/ui/requests/{number}", show),
]
