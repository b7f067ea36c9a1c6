"""Targets, for operators: how they are doing, what they hold; pause, resume, deliver again, verify."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.delivery.receipts import Receipt
from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Decision, Reason, decision_route, read_decision, read_route
from pagefold.engine.http.problems import invalid
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routes.requests import ACCEPTED, ASKED, RequestDocument
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import ReadBackSize
from pagefold.engine.runtime.store_timeout import with_timeout

MAX_SKUS = 1_000
"""SKUs whose pages are delivered again in one request."""

DEFAULT_SAMPLE = 200


class TargetList(msgspec.Struct, frozen=True):
    """All targets: those of the configuration, in its order, then those that it has no more."""

    items: Sequence[TargetStatus]


class ReceiptList(msgspec.Struct, frozen=True):
    """What each target has acknowledged of the pages of a SKU, by target and channel."""

    items: Sequence[Receipt]


class DeliverRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages are delivered again: `all`, those acknowledged `since` a moment, or those of some `skus`; and why.

    With `all` or `since`, `expect` is the number of pages that the target has, its `pages`, which is the most that are
    delivered again: nothing is done if it is another number.
    """

    reason: Reason
    all: bool = False
    since: datetime | None = None
    skus: Annotated[list[Text], msgspec.Meta(max_length=MAX_SKUS)] = []
    expect: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None


class Delivering(msgspec.Struct, frozen=True):
    """What is delivered again: this many pages; null if that becomes known as they are made due."""

    pages: int | None


class TargetVerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many pages are read back from the target, chosen at random, and why."""

    reason: Reason
    sample: ReadBackSize = DEFAULT_SAMPLE


async def listing(call: Call) -> Response:
    """Lists targets."""
    return reply(TargetList(await with_timeout(call.service.shop.targets.list())))


async def one(call: Call) -> Response:
    """Shows a target."""
    return reply(await with_timeout(call.service.shop.targets.get(call.path["name"])))


async def receipts(call: Call) -> Response:
    """Shows the receipts of a SKU."""
    return reply(ReceiptList(await with_timeout(call.service.shop.targets.receipts(call.path["sku"]))))


async def pausing(call: Call) -> Response:
    """Pauses a target, under the name of the caller's token."""
    name, decision = call.path["name"], await read_decision(call, Decision)
    await call.service.shop.targets.pause(name, by=call.grant.name, reason=decision.reason)
    return await one(call)


async def resuming(call: Call) -> Response:
    """Resumes a target, under the name of the caller's token."""
    name, decision = call.path["name"], await read_decision(call, Decision)
    await call.service.shop.targets.resume(name, by=call.grant.name, reason=decision.reason)
    return await one(call)


async def delivering(call: Call) -> Response:
    """Delivers pages again, under the name of the caller's token."""
    wanted = await read_decision(call, DeliverRequest)
    if sum([wanted.all, wanted.since is not None, bool(wanted.skus)]) != 1:
        raise invalid("all", "give all, since or skus, and only one of them")
    targets, name, by = call.service.shop.targets, call.path["name"], call.grant.name
    if wanted.skus:
        return reply(Delivering((await targets.deliver_skus(name, wanted.skus, by=by, reason=wanted.reason)).pages))
    if wanted.expect is None:
        raise invalid("expect", "give the number of the target's pages, as its `pages` says")
    since = None if wanted.since is None else _moment(wanted.since)
    found = await targets.deliver_all(name, by=by, reason=wanted.reason, since=since, expected=wanted.expect)
    return reply(Delivering(found.pages))


def _moment(at: datetime) -> str:
    if at.tzinfo is None:
        raise invalid("since", "needs its offset, such as 2026-12-01T08:00:00Z")
    return format_timestamp(at)


async def verifying(call: Call) -> Response:
    """Asks for a verification, under the name of the caller's token: it reads every page, which takes a worker."""
    wanted = await read_decision(call, TargetVerifyRequest)
    verify = RequestService(call.service.shop).verify_target
    found = await verify(call.path["name"], wanted.sample, by=call.grant.name, reason=wanted.reason)
    return reply(RequestDocument.of(found), 202)


NO_TARGET = {404: "Unknown target"}

ROUTES = (
    read_route(
        "/v1/targets",
        listing,
        "listTargets",
        "List targets: how each is doing, and what it holds",
        ResponseSpec(200, "All of them", TargetList),
    ),
    decision_route(
        "/v1/targets/{name}:pause",
        pausing,
        "pauseTarget",
        "Send nothing to a target until it is resumed",
        ResponseSpec(200, "The target; what is under way ends", TargetStatus),
        body=Decision,
        problems=NO_TARGET,
    ),
    decision_route(
        "/v1/targets/{name}:resume",
        resuming,
        "resumeTarget",
        "Deliver again to a target that is paused, disabled or down: the next delivery is the probe",
        ResponseSpec(200, "The target", TargetStatus),
        body=Decision,
        problems=NO_TARGET | {409: "It is neither paused, disabled nor down"},
    ),
    decision_route(
        "/v1/targets/{name}:deliver",
        delivering,
        "deliverToTarget",
        "Deliver pages again, whatever their receipts say",
        ResponseSpec(200, "Workers make them due, and deliver them", Delivering),
        body=DeliverRequest,
        problems=NO_TARGET | {409: "The target has another number of pages than expected: nothing was changed"},
    ),
    decision_route(
        "/v1/targets/{name}:verify",
        verifying,
        "verifyTarget",
        "Ask for a comparison of receipts with pages, and of some pages with what the target holds",
        ACCEPTED,
        body=TargetVerifyRequest,
        problems=NO_TARGET | ASKED,
    ),
    read_route(
        "/v1/targets/{name}",
        one,
        "getTarget",
        "Show a target: why it is down, what it holds, and what was counted",
        ResponseSpec(200, "The target", TargetStatus),
        problems=NO_TARGET,
    ),
    read_route(
        "/v1/skus/{sku}/receipts",
        receipts,
        "getReceipts",
        "Show what each target has acknowledged of the pages of a SKU, and is to get",
        ResponseSpec(200, "The receipts; none if no target was to have it", ReceiptList),
    ),
)
