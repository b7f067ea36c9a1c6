"""Sagas over HTTP, for operators: how pages are doing, and what is decided about them."""

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Decision, Reason, decision_route, read_decision, read_route
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.sagas.saga_service import MAX_LISTED, SagaPage, SagaService, SagaStatus

UNKNOWN = {404: "There is no such saga, or it has no record of the page"}
CONFLICT = UNKNOWN | {409: "The state of the page's saga does not allow this, or a worker was faster"}
PAGE = "/v1/sagas/{saga}/pages/{channel}/{sku}"


class SagasDocument(msgspec.Struct, frozen=True):
    """All sagas of the configuration."""

    sagas: list[SagaStatus]


class SagaPagesDocument(msgspec.Struct, frozen=True):
    """Pages of a saga that are not completed, those that need a person first."""

    pages: list[SagaPage]


class SagaPagesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages."""

    state: Literal["waiting", "refused", "person"] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100


class SettlementDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a page's saga is ended; `taken`: all targets hold its version."""

    reason: Reason
    taken: bool = False


async def listing(call: Call) -> Response:
    """Lists all sagas."""
    return reply(SagasDocument(list(await with_timeout(call.service.shop.sagas.list()))))


async def page_listing(call: Call) -> Response:
    """Lists the pages of a saga that are not completed."""
    query = call.query(SagaPagesQuery)
    service = call.service.shop.sagas
    return reply(
        SagaPagesDocument(list(await with_timeout(service.pages(call.path["saga"], query.state, query.limit))))
    )


async def one(call: Call) -> Response:
    """Shows a page."""
    return reply(await _page(call))


async def resuming(call: Call) -> Response:
    """Has it tried again, under the name of the caller's token."""
    decision = await read_decision(call, Decision)
    await _service(call).resume(*_name(call), by=call.grant.name, reason=decision.reason)
    return reply(await _page(call))


async def compensating(call: Call) -> Response:
    """Has a version taken back, under the name of the caller's token."""
    decision = await read_decision(call, Decision)
    await _service(call).compensate(*_name(call), by=call.grant.name, reason=decision.reason)
    return reply(await _page(call))


async def settling(call: Call) -> Response:
    """Ends it, under the name of the caller's token."""
    decision = await read_decision(call, SettlementDocument)
    await _service(call).settle(*_name(call), by=call.grant.name, reason=decision.reason, taken=decision.taken)
    return reply(await _page(call))


def _service(call: Call) -> SagaService:
    return call.service.shop.sagas


def _name(call: Call) -> tuple[str, str, str]:
    return call.path["saga"], call.path["sku"], call.path["channel"]


async def _page(call: Call) -> SagaPage:
    return await with_timeout(_service(call).page(*_name(call)))


DECIDED = ResponseSpec(200, "It is recorded; a worker does the rest within seconds", SagaPage)

ROUTES = (
    read_route(
        "/v1/sagas",
        listing,
        "listSagas",
        "Sagas, and how many of their pages are in which state",
        ResponseSpec(200, "All sagas of the configuration", SagasDocument),
    ),
    read_route(
        "/v1/sagas/{saga}/pages",
        page_listing,
        "listSagaPages",
        "The pages of a saga that are not completed",
        ResponseSpec(200, "Those that need a person first", SagaPagesDocument),
        query=SagaPagesQuery,
        problems=UNKNOWN,
    ),
    decision_route(
        f"{PAGE}:compensate",
        compensating,
        "compensateSagaPage",
        "Have a version taken back that not all targets have",
        DECIDED,
        body=Decision,
        problems=CONFLICT,
    ),
    decision_route(
        f"{PAGE}:settle",
        settling,
        "settleSagaPage",
        "End it, with the targets as they are",
        DECIDED,
        body=SettlementDocument,
        problems=CONFLICT,
    ),
    decision_route(
        f"{PAGE}:resume",
        resuming,
        "resumeSagaPage",
        "Have what a target has refused tried again",
        DECIDED,
        body=Decision,
        problems=CONFLICT,
    ),
    read_route(PAGE, one, "getSagaPage", "A page of a saga", ResponseSpec(200, "The page", SagaPage), problems=UNKNOWN),
)
