"""For those who run the server: is it alive, is it ready, what does it do, and what can it be asked."""

from typing import Literal

import msgspec
from starlette.responses import Response

from engine.errors import StoreError
from engine.http.metrics import CONTENT_TYPE, exposition
from engine.http.routes import Answer, Call, Route, reply
from engine.http.service import Service


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether requests should be sent here, and if not, every reason."""

    status: Literal["ready", "not ready"]
    reasons: list[str] = []


async def healthz(_call: Call) -> Response:
    """The process lives; nothing else is asked."""
    return reply(Health())


async def readyz(call: Call) -> Response:
    """The store answers, its schema is this program's, and pages are not too far behind the log."""
    reasons = await not_ready(call.service)
    return reply(Readiness("not ready", reasons), 503) if reasons else reply(Readiness("ready"))


async def not_ready(service: Service) -> list[str]:
    """Every reason not to send requests here. Says what is wrong, and nothing of where the store is."""
    limit = service.config.http.lag_seconds
    try:
        await service.shop.store.check()
        domains = (await service.lag.standing()).domains
    except StoreError as error:
        return [f"the store cannot be used: {type(error).__name__}"]
    return [
        f"{each.domain} is {each.lag_seconds:.0f} s behind, more than {limit:g} s"
        for each in domains
        if each.lag_seconds > limit
    ]


async def metrics(call: Call) -> Response:
    """Numbers for Prometheus."""
    answer = reply(await exposition(call.service))
    answer.headers["content-type"] = CONTENT_TYPE
    return answer


async def openapi(call: Call) -> Response:
    """What the server can be asked."""
    return reply(call.service.description)


ROUTES = (
    Route(
        "GET", "/healthz", healthz, "getHealth", "Whether the process lives", answers=[Answer(200, "It does", Health)]
    ),
    Route(
        "GET",
        "/readyz",
        readyz,
        "getReadiness",
        "Whether requests should be sent here",
        answers=[Answer(200, "They should", Readiness), Answer(503, "They should not, and why", Readiness)],
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "getMetrics",
        "Numbers for Prometheus",
        scope="operate",
        answers=[Answer(200, "All of them", str, "text/plain")],
    ),
    Route(
        "GET",
        "/openapi.json",
        openapi,
        "getDescription",
        "This document",
        answers=[Answer(200, "OpenAPI 3.1", dict[str, object])],
    ),
)
