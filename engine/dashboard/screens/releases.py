"""Releases: statements that count all at once, and the decision when."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.screen import Badge, Decision, ReasonText, Screen, State, decided_at, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.http.problems import invalid
from pagefold.engine.releases.release_service import ReleaseState, ReleaseStatus
from pagefold.engine.shop import Shop
from pagefold.projections.releases import MAX_NAME_LENGTH

PRODUCTS_LISTED = 25
"""Products of a release that are compared for one page."""

STATES: dict[ReleaseState, tuple[State, str]] = {
    "draft": ("wait", "Draft"),
    "scheduled": ("move", "Scheduled"),
    "published": ("ok", "Published"),
}


class ReleaseQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After which product the differences continue, and what is being confirmed."""

    after: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    confirm: Annotated[str, msgspec.Meta(max_length=20)] = ""


class CreateForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The name of a new release, and what it is for."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    reason: ReasonText


class ScheduleForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a release is published and rolled back, as a browser gives local times, here in UTC; empty is never."""

    reason: ReasonText
    publish_at: str = ""
    until: str = ""


async def show_all(visit: Visit) -> Response:
    """All releases, the newest first."""
    found = list(reversed(await visit.shop.releases.all()))
    published = sum(each.state == "published" for each in found)
    return await visit.page("releases", releases=found, states=STATES, published=published)


async def show(visit: Visit) -> Response:
    """One release, and the pages that it changes."""
    query, service = visit.query(ReleaseQuery), visit.shop.releases
    status = await service.get(visit.path["release"])
    differences = await service.differences(status.release.name, query.after, PRODUCTS_LISTED)
    return await visit.page(
        "release",
        found=status,
        release=status.release,
        state=STATES[status.state],
        title=title_of(status),
        differences=differences,
        confirms=query.confirm,
    )


def title_of(status: ReleaseStatus) -> str:
    """One sentence about a release."""
    match status.state:
        case "published":
            return f"It counts, above every source; of the published ones it is number {status.rank}"
        case "scheduled":
            return "It counts nowhere yet: a worker publishes it at its time"
        case "draft":
            return "It counts nowhere yet"


async def create(visit: Visit) -> Response:
    """Creates a release."""
    form = visit.form(CreateForm)
    await visit.shop.releases.create(form.name, by=visit.visitor.label, reason=form.reason)
    text = f"Created. Append its statements as events of the source release/{form.name}."
    return visit.redirect(href("releases", form.name), Toast(text))


async def publish(visit: Visit) -> Response:
    """Lets a release count from now on."""
    name = visit.path["release"]
    await visit.shop.releases.publish(name, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(
        href("releases", name), Toast("Published: it counts as soon as workers have folded its pages.")
    )


async def roll_back(visit: Visit) -> Response:
    """Lets a release count no longer."""
    name = visit.path["release"]
    await visit.shop.releases.roll_back(name, by=visit.visitor.label, reason=visit.form(Decision).reason)
    return visit.redirect(href("releases", name), Toast("Rolled back: pages are as if it had never been published."))


async def schedule(visit: Visit) -> Response:
    """Makes the schedule of a release."""
    form, name = visit.form(ScheduleForm), visit.path["release"]
    times = _moment("publish_at", form.publish_at), _moment("until", form.until)
    await visit.shop.releases.schedule(name, *times, by=visit.visitor.label, reason=form.reason)
    return visit.redirect(href("releases", name), Toast("Scheduled." if any(times) else "It has no schedule any more."))


def _moment(field: str, text: str) -> datetime | None:
    """A time in UTC as a form gives it, such as `2026-12-01T08:00`. Raises `Problem`, 422."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(field, "is no time such as 2026-12-01T08:00") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


async def badge(shop: Shop) -> Badge | None:
    """How many releases count."""
    number = len(shop.applied.config.releases)
    return Badge(f"{number:,}") if number else None


SCREEN = Screen(
    "releases",
    "Releases",
    "n-release",
    "Flow",
    [
        shown_at("/ui/releases", show_all),
        decided_at("/ui/releases:create", create, CreateForm),
        decided_at("/ui/releases/{release}:publish", publish),
        decided_at("/ui/releases/{release}:roll-back", roll_back),
        decided_at("/ui/releases/{release}:schedule", schedule, ScheduleForm),
        shown_at("/ui/releases/{release}", show, ReleaseQuery),
    ],
    badge,
)
