"""Plans: what another configuration would change, and the decision whether it counts."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.plan_summary import (
    GIVEN_EFFECTS,
    TAKEN_EFFECTS,
    all_effects,
    effects_of,
    field_rows,
    setting_changes,
    state_of,
    verdict_of,
)
from pagefold.engine.dashboard.screen import Badge, Decision, NoForm, Screen, decided_at, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.http.problems import Problem
from pagefold.engine.plans.kept_plans import KeptPlan
from pagefold.engine.plans.plan import CHANGED
from pagefold.engine.shop import Shop
from pagefold.engine.stores.plan_records import KEPT_PLANS

APPLIED_LISTED = 10
"""Configurations that are listed, the newest."""

EFFECTS = {**TAKEN_EFFECTS, **GIVEN_EFFECTS, CHANGED: "changed"}


class PlanQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose pages are listed, and whether a refusal is being confirmed."""

    channel: Annotated[str, msgspec.Meta(max_length=64)] = ""
    effect: Annotated[str, msgspec.Meta(max_length=20)] = ""
    confirm: Annotated[str, msgspec.Meta(max_length=20)] = ""


async def show_all(visit: Visit) -> Response:
    """The plans that are kept, and the configurations that have counted."""
    applied = visit.shop.applied
    records = await visit.shop.plans.newest(KEPT_PLANS)
    waiting = await _waiting(visit.shop)
    return await visit.page(
        "plans",
        rows=[(each, *state_of(each, applied.number)) for each in records],
        waiting=waiting,
        is_held=applied.is_held,
        number=applied.number,
        applied=[each.summary for each in await applied.log.list(APPLIED_LISTED)],
    )


async def show(visit: Visit) -> Response:
    """One plan."""
    query, shop = visit.query(PlanQuery), visit.shop
    kept = await shop.plans.get(visit.path["plan"])
    plan = kept.saved.plan
    fields, more_fields = field_rows(plan)
    before = await shop.applied.log.read(kept.record.number)
    return await visit.page(
        "plan",
        kept=kept,
        plan=plan,
        verdict=verdict_of(kept, shop.applied.number),
        is_open=kept.record.state == "open" and kept.record.number == shop.applied.number,
        effects=all_effects(plan),
        channels=[(name, each, effects_of(each)) for name, each in sorted(plan.channels.items())],
        taken_effects=TAKEN_EFFECTS,
        given_effects=GIVEN_EFFECTS,
        listed=_listed(kept, query),
        fields=fields,
        more_fields=more_fields,
        settings=setting_changes(None if before is None else before.record.settings, kept.saved.settings),
        confirms=query.confirm,
    )


def _listed(kept: KeptPlan, query: PlanQuery) -> tuple[str, str, int, list[str]] | None:
    """The pages behind a number: the channel, what happens to them, how many they are, and the first of them."""
    channel = kept.saved.plan.channels.get(query.channel)
    if channel is None or query.effect not in EFFECTS:
        return None
    skus = [*channel.skus.get(query.effect, [])]
    if query.effect == CHANGED:
        skus = sorted({sku for listed in channel.skus.values() for sku in listed})
    return query.channel, EFFECTS[query.effect], effects_of(channel).get(query.effect, 0), skus


async def make(visit: Visit) -> Response:
    """Plans the file of this server."""
    shop = visit.shop
    saved = await shop.plan(processes=None)
    record = await shop.plans.keep(saved, visit.visitor.label)
    return visit.redirect(href("plans", record.plan), Toast(f"The plan {record.plan} is made and kept."))


async def apply(visit: Visit) -> Response:
    """Applies a plan, if it takes something from as many pages as was typed."""
    decision, shop = visit.form(Decision), visit.shop
    if decision.expected is None:
        raise Problem(422, "give the number of pages from which something is taken away")
    kept = await shop.plans.get(visit.path["plan"])
    applied = await shop.apply(kept.saved, by=visit.visitor.label, reason=decision.reason, expected=decision.expected)
    changed = plural(kept.record.changed, "page")
    text = f"Configuration {applied.number} counts from now on. Workers fold {changed}."
    return visit.redirect(href("plans", kept.record.plan), Toast(text, [("Overview", href())]))


async def refuse(visit: Visit) -> Response:
    """Refuses a plan: what counts stays."""
    plan = visit.path["plan"]
    await visit.shop.plans.refuse(plan, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(href("plans", plan), Toast("Refused. What counts stays."))


async def _waiting(shop: Shop) -> str | None:
    """The id of the newest plan of this server's file that waits for a decision."""
    if not shop.applied.is_held:
        return None
    record = await shop.plans.of_settings(shop.applied.wanted().written.digest, shop.applied.number)
    return record.plan if record is not None and record.state == "open" else None


async def badge(shop: Shop) -> Badge | None:
    """Whether the file is held."""
    return Badge("1 held", "held") if shop.applied.is_held else None


SCREEN = Screen(
    "plans",
    "Plan",
    "n-plan",
    "Needs a person",
    [
        shown_at("/ui/plans", show_all),
        decided_at("/ui/plans:make", make, NoForm),
        decided_at("/ui/plans/{plan}:apply", apply),
        decided_at("/ui/plans/{plan}:refuse", refuse),
        shown_at("/ui/plans/{plan}", show, PlanQuery),
    ],
    badge,
)
