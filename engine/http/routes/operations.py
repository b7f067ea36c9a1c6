"""Operations: health, readiness, status, metrics and the OpenAPI document."""

from collections.abc import Collection
from typing import Literal

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.metrics import CONTENT_TYPE, exposition
from pagefold.engine.http.operator_routes import read_route
from pagefold.engine.http.routing import Call, Handler, ResponseSpec, Route
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.reading.check_results import INGEST, PURPOSES, READS, CheckResult, Purpose, are_ready
from pagefold.engine.reading.status import Status


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReadinessAnswer(msgspec.Struct, frozen=True):
    """Whether requests should be sent here: the result of every relevant check."""

    status: Literal["ready", "not ready"]
    checks: list[CheckResult]


async def healthz(_call: Call) -> Response:
    """Reports that the process lives, without checking anything else."""
    return reply(Health())


async def readyz(call: Call) -> Response:
    """Reports whether pages can be read and changes be sent here."""
    return await _readiness(call.service, PURPOSES)


async def readyz_reads(call: Call) -> Response:
    """Reports whether pages can be read here, up to date or not."""
    return await _readiness(call.service, READS)


async def readyz_ingest(call: Call) -> Response:
    """Reports whether changes can be sent here, and are folded soon."""
    return await _readiness(call.service, INGEST)


async def _readiness(service: ServerContext, purposes: Collection[Purpose]) -> Response:
    checks = await service.readiness.results(purposes)
    ready = are_ready(checks)
    return reply(ReadinessAnswer("ready" if ready else "not ready", checks), 200 if ready else 503)


async def status(call: Call) -> Response:
    """What `pagefold status` shows. It counts all pages: for a figure every few seconds, there are the metrics."""
    return reply(await call.service.shop.status())


async def metrics(call: Call) -> Response:
    """Numbers for Prometheus."""
    service = call.service
    processes = service.reported.beside(service.counters())
    answer = reply(await exposition(service.shop, processes, await service.readiness.results()))
    answer.headers["content-type"] = CONTENT_TYPE
    return answer


async def openapi(call: Call) -> Response:
    """What the server can be asked."""
    return reply(call.service.description)


def _route_of(path: str, handler: Handler, name: str, summary: str) -> Route:
    answers = [
        ResponseSpec(200, "They should", ReadinessAnswer),
        ResponseSpec(503, "They should not, and why", ReadinessAnswer),
    ]
    return Route("GET", path, handler, name, summary, answers=answers)


ROUTES = (
    Route(
        "GET",
        "/healthz",
        healthz,
        "getHealth",
        "Whether the process lives",
        answers=[ResponseSpec(200, "It lives", Health)],
    ),
    _route_of("/readyz", readyz, "getReadiness", "Whether requests should be sent here"),
    _route_of("/readyz/reads", readyz_reads, "getReadinessForReads", "Whether pages should be read here"),
    _route_of("/readyz/ingest", readyz_ingest, "getReadinessForIngest", "Whether changes should be sent here"),
    read_route(
        "/v1/status",
        status,
        "getStatus",
        "Checkpoints, lag of domains and of sources, and what needs a person",
        ResponseSpec(200, "The status", Status),
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "getMetrics",
        "Metrics for Prometheus",
        scope="operate",
        answers=[ResponseSpec(200, "All metrics", str, "text/plain")],
    ),
    Route(
        "GET",
        "/openapi.json",
        openapi,
        "getDescription",
        "This document",
        answers=[ResponseSpec(200, "OpenAPI 3.1", dict[str, object])],
    ),
)
