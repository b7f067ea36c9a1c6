"""Releases, for operators: list, show, compare, create, publish, schedule and roll back them."""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Annotated, Protocol

import msgspec
from starlette.responses import Response

from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.errors import InvalidRelease
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Decision, Reason, decision_route, read_decision, read_route
from pagefold.engine.http.problems import invalid, no_channel, no_page
from pagefold.engine.http.routes.pages import PageDocument
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.releases.release_comparer import MAX_COMPARED, ReleaseDifferences
from pagefold.engine.releases.release_log import Release
from pagefold.engine.releases.release_service import ReleaseStatus
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections.releases import MAX_NAME_LENGTH

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]


class Decide(Protocol):
    """Decides something about a release."""

    def __call__(self, name: str, *, by: str, reason: str) -> Awaitable[Applied]:
        """By a person, for a reason."""


class ReleaseList(msgspec.Struct, frozen=True):
    """All releases, in the order of their creation."""

    items: Sequence[ReleaseStatus]


class CreateReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The name of the release, `NAME` in `release/NAME`, and what it is for."""

    name: Name
    reason: Reason


class ReleaseSchedule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """When a release is published and rolled back, as RFC 3339 with an offset; null for either is never."""

    reason: Reason
    publish_at: datetime | None = None
    roll_back_at: datetime | None = None


class AppliedRelease(msgspec.Struct, frozen=True, rename="camel"):
    """The configuration in which a release counts from now on, or no longer: its number and position in the log."""

    number: int
    position: int
    by: str
    reason: str
    recorded_at: str

    @classmethod
    def of(cls, applied: Applied) -> "AppliedRelease":
        """What was applied."""
        number, position, record = applied
        return cls(number, position, record.by, record.reason, record.recorded_at)


class ReleaseDiffQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which products are compared: the next ones after a cursor, at most `limit`."""

    after: Cursor | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_COMPARED)] = MAX_COMPARED


async def listing(call: Call) -> Response:
    """Lists releases."""
    return reply(ReleaseList(await with_timeout(call.service.shop.releases.all())))


async def one(call: Call) -> Response:
    """Shows a release."""
    return reply(await with_timeout(call.service.shop.releases.get(call.path["name"])))


async def page(call: Call) -> Response:
    """Shows a page as it is with a release."""
    return reply(await with_timeout(_page(call)))


async def _page(call: Call) -> bytes:
    shop, channel = call.service.shop, call.path["channel"]
    config = await shop.releases.config_with(call.path["name"])
    if channel not in config.channels:
        raise no_channel()
    found = await shop.past.get_json(call.path["sku"], channel, await shop.store.log.end(), under=config)
    if found is None:
        raise no_page()
    return found


async def diff(call: Call) -> Response:
    """Compares the pages of the next products that a release says something of."""
    query = call.query(ReleaseDiffQuery)
    found = call.service.shop.releases.differences(call.path["name"], query.after or "", query.limit)
    return reply(await with_timeout(found))


async def creating(call: Call) -> Response:
    """Creates a release, under the name of the caller's token."""
    wanted = await read_decision(call, CreateReleaseRequest)
    return reply(await call.service.shop.releases.create(wanted.name, by=call.grant.name, reason=wanted.reason))


async def publishing(call: Call) -> Response:
    """Publishes a release, under the name of the caller's token."""
    return await _decide(call, call.service.shop.releases.publish)


async def rolling_back(call: Call) -> Response:
    """Rolls a release back, under the name of the caller's token."""
    return await _decide(call, call.service.shop.releases.roll_back)


async def _decide(call: Call, decide: Decide) -> Response:
    decision = await read_decision(call, Decision)
    applied = await decide(call.path["name"], by=call.grant.name, reason=decision.reason)
    return reply(AppliedRelease.of(applied))


async def scheduling(call: Call) -> Response:
    """Makes the schedule of a release, under the name of the caller's token."""
    wanted = await read_decision(call, ReleaseSchedule)
    times = wanted.publish_at, wanted.roll_back_at
    schedule = call.service.shop.releases.schedule
    try:
        return reply(await schedule(call.path["name"], *times, by=call.grant.name, reason=wanted.reason))
    except InvalidRelease as error:
        if error.path in _TIMES and type(error) is InvalidRelease:
            raise invalid(_TIMES[error.path], error.reason) from None
        raise


_TIMES = {"publish": "publishAt", "until": "rollBackAt"}

NO_RELEASE = {404: "Unknown release"}
PUBLISHED = {409: "It is published already"}

ROUTES = (
    read_route(
        "/v1/releases",
        listing,
        "listReleases",
        "List releases: drafts, scheduled and published ones",
        ResponseSpec(200, "All of them", ReleaseList),
    ),
    decision_route(
        "/v1/releases",
        creating,
        "createRelease",
        "Create a release, whose events are accepted from now on",
        ResponseSpec(200, "The release, a draft", Release),
        body=CreateReleaseRequest,
        problems={409: "There is one of that name already"},
    ),
    read_route(
        "/v1/releases/{name}/diff",
        diff,
        "getReleaseDiff",
        "Show what a release changes in pages, a chunk of its products at a time",
        ResponseSpec(200, "The pages that are different with it, and the cursor of the next", ReleaseDifferences),
        query=ReleaseDiffQuery,
        problems=NO_RELEASE,
    ),
    read_route(
        "/v1/releases/{name}/pages/{channel}/{sku}",
        page,
        "getReleasePage",
        "Show a page as it is with a release",
        ResponseSpec(200, "The page", PageDocument),
        problems={404: "Unknown release or channel, or no such page"},
    ),
    decision_route(
        "/v1/releases/{name}:publish",
        publishing,
        "publishRelease",
        "Let a release count from now on, above every source",
        ResponseSpec(200, "It counts; pages follow as soon as workers have folded them", AppliedRelease),
        body=Decision,
        problems=NO_RELEASE | PUBLISHED,
    ),
    decision_route(
        "/v1/releases/{name}:schedule",
        scheduling,
        "scheduleRelease",
        "Publish a release at a time, and roll it back at another",
        ResponseSpec(200, "The release; an earlier schedule is replaced", Release),
        body=ReleaseSchedule,
        problems=NO_RELEASE | PUBLISHED,
    ),
    decision_route(
        "/v1/releases/{name}:rollback",
        rolling_back,
        "rollBackRelease",
        "Let a published release count no longer, and end its schedule",
        ResponseSpec(200, "It counts no longer; pages follow as soon as workers have folded them", AppliedRelease),
        body=Decision,
        problems=NO_RELEASE | {409: "It is not published"},
    ),
    read_route(
        "/v1/releases/{name}",
        one,
        "getRelease",
        "Show a release: whether it counts, and its schedule",
        ResponseSpec(200, "The release", ReleaseStatus),
        problems=NO_RELEASE,
    ),
)
