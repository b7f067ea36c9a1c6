"""The completeness of a channel's pages."""

from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem, no_channel
from pagefold.engine.http.routing import Call, ResponseSpec, Route
from pagefold.engine.reading.completeness import CompletenessReport


async def completeness(call: Call) -> Response:
    """What `pagefold completeness` shows. All pages are counted, unless they were some seconds ago."""
    channel = call.path["channel"]
    channels = call.service.shop.applied.config.channels
    if channel not in channels:
        raise no_channel()
    settings = channels[channel]
    if settings.contract is None and not settings.requirements:
        raise Problem(404, "this channel has neither requirements nor a contract")
    await call.service.check_store_answers()
    return reply(await call.service.shop.completeness.recent(channel))


ROUTES = (
    Route(
        "GET",
        "/v1/channels/{channel}/completeness",
        completeness,
        "getCompleteness",
        "How complete the pages of a channel are, by family and attribute, and what to fill first",
        scope="read",
        private=True,
        answers=[ResponseSpec(200, "The counts", CompletenessReport)],
        problems={404: "Unknown channel, or one with neither requirements nor a contract"},
    ),
)
