"""Targets: how each is doing and what it holds; pause, resume, deliver again, verify."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from pagefold.domains.values import format_timestamp
from pagefold.engine.audit.audit_views import audit_summary
from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.histories import Histories
from pagefold.engine.dashboard.overview_tiles import thinned
from pagefold.engine.dashboard.screen import Badge, Decision, Screen, decided_at, shown_at
from pagefold.engine.dashboard.target_views import (
    RUNBOOKS,
    STATES,
    Paces,
    place_of,
    seconds_to_deliver,
    tag_words,
    verdict_on,
    verdict_on_all,
)
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.http.problems import invalid
from pagefold.engine.http.routes.targets import DEFAULT_SAMPLE, MAX_SKUS
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import ReadBackSize
from pagefold.engine.runtime import clock
from pagefold.engine.shop import Shop
from pagefold.engine.stores.audit_records import AuditFilter
from pagefold.projections import normalise_sku

ROWS_SHOWN = 10
"""Pages that wait longest, pages that were given up, and decisions, on the page of a target."""

QUEUE = "delivery-queue"


class TargetQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is being confirmed."""

    confirm: Annotated[str, msgspec.Meta(max_length=20)] = ""


class DeliverForm(Decision, frozen=True, kw_only=True):
    """Which pages are delivered again: all, those since a moment, or those of some SKUs, which blanks separate.

    With a `channel`, the page of the SKU there is shown next.
    """

    what: Literal["all", "since", "skus"]
    since: Annotated[str, msgspec.Meta(max_length=40)] = ""
    skus: Annotated[str, msgspec.Meta(max_length=100_000)] = ""
    channel: Annotated[str, msgspec.Meta(max_length=64)] = ""


class VerifyForm(Decision, frozen=True, kw_only=True):
    """How many pages are read back from the target."""

    sample: ReadBackSize = DEFAULT_SAMPLE


async def show_all(visit: Visit) -> Response:
    """All targets, and the sentence about them."""
    found = await visit.shop.targets.list()
    lines = {each.name: await _line(visit, each.name) for each in found} if visit.wants("all") else {}
    return await visit.page(
        "targets",
        found=found,
        verdict=verdict_on_all(found),
        states=STATES,
        runbooks=RUNBOOKS,
        paces=visit.kept(Paces, Paces).add(found),
        configs=visit.shop.targets.configs,
        lines=lines,
    )


async def _line(visit: Visit, name: str) -> list[float | None]:
    """What waited in the last 24 hours."""
    history = await visit.kept(Histories, Histories).get(visit.shop, QUEUE, name)
    return thinned(history, clock.minute_of(clock.moment()))


async def show(visit: Visit) -> Response:
    """One target: what it holds, what waits longest, what it has refused, and what was decided."""
    shop, name = visit.shop, visit.path["target"]
    found = await shop.targets.list()
    status = next((each for each in found if each.name == name), None) or await shop.targets.get(name)
    config = shop.targets.configs.get(name)
    return await visit.page(
        "target",
        target=status,
        config=config,
        place=place_of(config),
        verdict=verdict_on(status, config),
        state=STATES[status.state],
        pace=visit.kept(Paces, Paces).add(found)[name],
        whole_seconds=seconds_to_deliver(status.pages, config),
        confirms=visit.query(TargetQuery).confirm,
        tag_words=tag_words,
        may_resume=status.state in ("paused", "disabled", "down", "failing"),
        sample=DEFAULT_SAMPLE,
        **await _rows(visit, status),
    )


async def _rows(visit: Visit, status: TargetStatus) -> dict[str, Any]:
    """The pages and the decisions that are listed."""
    targets, found = visit.shop.targets, dict[str, Any](waiting=[], dead=[], entries=[])
    if visit.wants("waiting") and status.waiting:
        found["waiting"] = await targets.oldest(status.name, "waiting", ROWS_SHOWN)
    if visit.wants("dead") and status.dead:
        found["dead"] = await targets.oldest(status.name, "dead", ROWS_SHOWN)
    if visit.part is None:
        page = await visit.shop.audit.page(AuditFilter(None, "targets", status.name), limit=ROWS_SHOWN)
        found["entries"] = [audit_summary(each) for each in page.entries]
    return found


async def pause(visit: Visit) -> Response:
    """Sends nothing more until it is resumed."""
    name = visit.path["target"]
    await visit.shop.targets.pause(name, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(href("targets", name), Toast("Paused: nothing is sent, and what changes waits."))


async def resume(visit: Visit) -> Response:
    """Delivers again; the next delivery is the probe."""
    name = visit.path["target"]
    await visit.shop.targets.resume(name, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(href("targets", name), Toast("Resumed: the next delivery is tried at once."))


async def deliver(visit: Visit) -> Response:
    """Delivers again, whatever the receipts say."""
    form, name, targets = visit.form(DeliverForm), visit.path["target"], visit.shop.targets
    by, reason = visit.visitor.label, form.reason
    if form.what == "skus":
        skus = [normalise_sku(each) for each in _skus(form)]
        pages = (await targets.deliver_skus(name, skus, by=by, reason=reason)).pages or 0
        back = href("pages", form.channel, skus[0]) if form.channel else href("targets", name)
        return visit.redirect(back, Toast(f"{plural(pages, 'page')} will be delivered again to {name}."))
    if form.expected is None:
        raise invalid("expected", "give the number of the target's pages")
    since = _moment(form.since) if form.what == "since" else None
    await targets.deliver_all(name, by=by, reason=reason, since=since, expected=form.expected)
    return visit.redirect(href("targets", name), Toast("A worker makes the pages due, and delivers them again."))


def _skus(form: DeliverForm) -> list[str]:
    """The SKUs of a form: a line each; one of the screen of a product as it is. Raises `Problem`, 422."""
    found = [line.strip() for line in form.skus.splitlines() if line.strip()]
    if not found or len(found) > MAX_SKUS:
        raise invalid("skus", f"give up to {MAX_SKUS:,} SKUs, one in each line")
    return found


def _moment(text: str) -> str:
    """A time in UTC as a form gives it. Raises `Problem`, 422."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("since", "is no time such as 2026-12-01T08:00") from None
    return format_timestamp(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


async def verify(visit: Visit) -> Response:
    """Asks for a comparison with the pages, and of a sample with what the target holds."""
    form, name, by = visit.form(VerifyForm), visit.path["target"], visit.visitor.label
    request = await RequestService(visit.shop).verify_target(name, form.sample, by=by, reason=form.reason)
    return visit.redirect(href("requests", request.number), Toast("Asked for a comparison: a worker does it."))


async def badge(shop: Shop) -> Badge | None:
    """How many targets are not delivered to; else how many are paused."""
    found = await shop.targets.list()
    if broken := sum(each.is_out_of_order for each in found):
        return Badge(f"{broken} down", "bad")
    paused = sum(each.state == "paused" for each in found)
    return Badge(f"{paused} paused", "held") if paused else None


SCREEN = Screen(
    "targets",
    "Targets",
    "n-targets",
    "Flow",
    [
        shown_at("/ui/targets", show_all),
        decided_at("/ui/targets/{target}:pause", pause),
        decided_at("/ui/targets/{target}:resume", resume),
        decided_at("/ui/targets/{target}:deliver", deliver, DeliverForm),
        decided_at("/ui/targets/{target}:verify", verify, VerifyForm),
        shown_at("/ui/targets/{target}", show, TargetQuery),
    ],
    badge,
)
